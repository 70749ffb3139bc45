"""The tasks: everything small that can be asked of a worker, with the document that answers it.

Each kind is a class below: its fields are what is asked, its class variables how the job is treated. `tl_core.runs.tasks` has a module
for each `job`, whose `answer` carries it out.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from tl_core.documents.base import Document, Record
from tl_core.documents.options import DEFAULT_NETWORK, Device
from tl_core.documents.report import SIGNIFICANT, Accuracy, Growth, JudgedBy, Lookalikes, Slice, SuspectLabel
from tl_core.documents.spec import About, IngestSpec, Job, OfDataset, Queue, RaceSpec, TrainSpec


class Answer(Document):
    """The answer to a task, `result.json` in its folder."""

    @property
    def complete(self) -> bool:
        """Whether the same task would be answered in the same way today; where not, it is answered again."""
        return True


class Task(Job):
    """What is asked; the class says how the job is treated."""

    answer: ClassVar[type[Answer] | None] = None
    """The document in `result.json`; None where the answer consists of other files."""
    title: ClassVar[str]
    """What the job does, for the user."""
    lasting: ClassVar[bool] = False
    """Whether it takes so long that every page shows how far it is."""

    def canonical(self, resolve: Callable[[str], Device]) -> Self:
        """The task without what makes no difference to its answer, and with the device that `resolve` finds for it."""
        return self


class DatasetTask(Task, OfDataset):
    """A task about the pictures of a data set."""


class RunTask(DatasetTask):
    """What is asked about a finished run and the data set that it learned from, in that version.

    `tl_core.runs.tasks.subject` makes such a task and opens what it names.
    """

    run: str
    """Id of the run."""
    made: float
    """When the run's bundle was made, seconds since the epoch; a run with another bundle gets another answer."""

    @property
    def about(self) -> About | None:
        return About(self.workspace, self.dataset, self.version, self.run)


class DescribeSpec(Task):
    """Add a network of timm to the registry. The answer is its row, in the store's folder `networks/`, and lasts while the workspace lists it."""

    job: Literal["describe"] = "describe"
    title = "Looking up a network"
    network: str
    """timm's own name, with or without the set of weights: `convnextv2_nano.fcmae_ft_in1k`."""


class RankedBackbone(Record):
    """The scores of one backbone on one data set."""

    backbone: str
    weights: str
    accuracy: float
    """Accuracy of the logistic head, cross-validated on the training images."""
    interval: tuple[float, float]
    """95 % Wilson interval of `accuracy`."""
    logme: float
    """LogME (arXiv 2102.11005), natural log evidence per sample and class; higher is better, also below 0."""
    similar: bool
    """Whether these images count as similar to those that the backbone was trained on."""
    seconds: float
    """Seconds for the features of all images on this machine, with nothing cached."""


class Ranking(Answer):
    """Backbones compared on one data set."""

    images: int
    """Number of scored images, all of the training split."""
    classes: int
    rows: tuple[RankedBackbone, ...]
    """The best backbone first."""
    failed: dict[str, str] = Field(default_factory=dict)
    """Backbones that could not be scored, each with the reason."""

    @property
    def complete(self) -> bool:
        """False where a backbone failed: the reason may have gone."""
        return not self.failed


class RankSpec(DatasetTask):
    """Which backbone suits a data set? Each is scored on its frozen features."""

    job: Literal["rank"] = "rank"
    title = "Comparing backbones"
    answer = Ranking
    lasting = True
    backbones: tuple[str, ...] = Field(min_length=1)
    seed: int = 0
    device: Device = "cpu"

    @property
    def queue(self) -> Queue:
        return self.device

    @property
    def pretrained(self) -> tuple[tuple[str, str | None], ...]:
        return tuple((backbone, None) for backbone in self.backbones)

    def canonical(self, resolve: Callable[[str], Device]) -> Self:
        return self.model_copy(update={"device": resolve(self.device)})


class RateCurve(Answer):
    """The learning-rate range test (arXiv 1506.01186) of the head's rate; the rates of the stages follow in proportion."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Smoothed training loss at each rate."""
    suggested: float
    """The rate at which the loss fell fastest, moved to the safe side."""


class FindRateSpec(Task):
    """Which learning rate suits a run? The answer is the curve of a range test."""

    job: Literal["find_rate"] = "find_rate"
    title = "Finding a learning rate"
    answer = RateCurve
    lasting = True
    train: TrainSpec

    @property
    def about(self) -> About | None:
        return About(self.train.workspace, self.train.dataset, self.train.version)

    @property
    def queue(self) -> Queue:
        return self.train.device

    @property
    def pretrained(self) -> tuple[tuple[str, str | None], ...]:
        return ((self.train.backbone, self.train.weights),)

    def canonical(self, resolve: Callable[[str], Device]) -> Self:
        # How the device computes is found again where the task is worked on, maybe on another card.
        irrelevant = ("chosen_by", "reason", "estimated_seconds", "expected", "precision", "micro_batch")
        defaults = {field: TrainSpec.model_fields[field].default for field in irrelevant}
        train = self.train.model_copy(update={**defaults, "name": "", "device": resolve(self.train.device)})
        return self.model_copy(update={"train": train})


class PreviewSpec(DatasetTask):
    """What does each level of augmentation do to some images? The answer is JPEG files `LEVEL-ROW-COPY.jpg` in the folder."""

    job: Literal["preview"] = "preview"
    title = "Showing the augmentation"
    rows: tuple[int, ...] = Field(min_length=1, max_length=8)
    """Indices into the manifest's images."""
    copies: int = Field(default=4, ge=1, le=8)
    image_size: int = 224


class BackboneTask(DatasetTask):
    """What is asked about what one backbone makes of the pictures of a data set."""

    backbone: str = DEFAULT_NETWORK
    weights: str | None = None
    """Name of the set of weights; None: the default one."""

    @property
    def pretrained(self) -> tuple[tuple[str, str | None], ...]:
        return ((self.backbone, self.weights),)


class FeatureMap(Record):
    """One channel of one stage's output as a grey picture; brighter means a stronger response."""

    stage: str
    channel: int
    file: str
    """`STAGE-CHANNEL.png`, in the task's folder."""
    height: int
    width: int
    """Positions of the map, vertically and horizontally; in the file each has several pixels."""


class FeatureMaps(Answer):
    """What a backbone makes of one picture; the files lie in the task's folder."""

    picture: str
    """File of the picture at the backbone's input size: `picture.png`."""
    filters: str | None
    """File with the filters of the first layer, `filters.png`; None where that layer is no convolution of colours."""
    filter_count: int = 0
    """Number of filters shown, the strongest."""
    filter_size: int = 0
    """Side of a filter, pixels."""
    maps: tuple[FeatureMap, ...]
    """Maps of a shallow, a middle and a deep stage, in this order; the strongest of each stage first."""


class FeatureMapsSpec(BackboneTask):
    """What does a backbone see in one picture?"""

    job: Literal["feature_maps"] = "feature_maps"
    title = "Looking into a backbone"
    answer = FeatureMaps
    row: int = Field(ge=0)
    """Index into the manifest's images."""
    image_size: int


class LabelReview(Answer):
    """What cross-validated heads on frozen features say of a data set's labels and of its size."""

    accuracy: float
    """Share of the pictures that were answered as they are labelled, each by a head that had not seen it."""
    suspects: tuple[SuspectLabel, ...]
    """The least likely labels first; their rows are those of the manifest."""
    lookalikes: tuple[Lookalikes, ...]
    """For each of `suspects`, in their order."""
    growth: Growth


class LabelReviewSpec(BackboneTask):
    """Which labels of a data set are probably wrong, and what would more pictures bring?"""

    job: Literal["label_review"] = "label_review"
    title = "Looking for wrong labels"
    answer = LabelReview


class PictureMap(Answer):
    """Pictures of a data set on a plane, similar ones near each other."""

    rows: tuple[int, ...]
    """The pictures on it, as rows of the manifest: all, or a sample."""
    x: tuple[float, ...]
    """Where each of them lies; the unit means nothing."""
    y: tuple[float, ...]
    other: tuple[int, ...]
    """For each of them the index of the class of the most similar picture with another label."""
    lookalikes: tuple[Lookalikes, ...]
    """For each of them the most similar pictures of its class and of `other`."""


class PictureMapSpec(BackboneTask):
    """How do the pictures of a data set lie to each other?"""

    job: Literal["picture_map"] = "picture_map"
    title = "Drawing a map of the pictures"
    answer = PictureMap
    lasting = True


class RunSlices(Answer):
    """On which of its pictures a run errs more than elsewhere."""

    judged_by: JudgedBy
    """Whose answers are judged: those of nested cross-validation to all pictures, or those of the bundle to the test pictures."""
    images: int
    """Number of judged pictures."""
    accuracy: float
    """Of all of them."""
    slices: tuple[Slice, ...]
    """Every slice that was looked at, the one that chance explains least first."""

    @property
    def findings(self) -> tuple[Slice, ...]:
        """The slices on which it errs more than chance explains. Of those of one kind with mostly the same pictures, the first."""
        findings: list[Slice] = []
        for candidate in filter(lambda each: each.found, self.slices):
            rows = {answer.row for answer in candidate.answers}
            shared = (
                len(rows & {answer.row for answer in other.answers}) / min(candidate.images, other.images)
                for other in findings
                if other.kind == candidate.kind
            )
            if all(share < 0.5 for share in shared):
                findings.append(candidate)
        return tuple(findings)


class SlicesSpec(RunTask):
    """On which of its pictures does a run fail?"""

    job: Literal["slices"] = "slices"
    title = "Looking where it fails"
    answer = RunSlices


class Corrupted(Record):
    """How many of the test pictures were answered rightly after a corruption at one strength."""

    strength: str
    """The strength in words, with its unit: "JPEG quality 20"."""
    accuracy: float
    interval: tuple[float, float]
    """95 % interval of `accuracy`, fractions; over groups where pictures form groups."""
    drop: float
    """The accuracy without the corruption minus `accuracy`, fractions; below 0 where more were answered rightly."""


class Effect(Record):
    """What one corruption does to the answers."""

    corruption: str
    """Name of the row in `evaluation.corruptions`."""
    strengths: tuple[Corrupted, ...]
    """The weakest first."""
    p_value: float
    """Of the drop at the strongest: that of the exact paired test, corrected for the number of corruptions (Holm 1979)."""
    example: int
    """A picture, as a row of the manifest: the first that is answered rightly as it is, and wrongly at the weakest strength that changes any
    answer so; where there is none, the first of all."""
    said: tuple[int, ...]
    """The class that the example is taken for as it is, and at each strength."""

    @property
    def costly(self) -> bool:
        """Whether it costs something at its strongest that chance does not explain."""
        return self.p_value < SIGNIFICANT and self.strengths[-1].drop > 0


class Robustness(Answer):
    """How a classifier answers its test pictures once they are changed."""

    images: int
    """How many pictures were asked about, at each strength."""
    of_images: int
    """How many there are; of many, a sample is asked about."""
    clean: Accuracy
    """Of the same pictures as they are."""
    effects: tuple[Effect, ...]
    """One for each corruption, in the order of the table."""
    hurt_most: tuple[str, ...]
    """The corruptions that cost the most at their strongest, the worst first: that with the largest drop, and those that a paired test
    cannot tell from it. Empty where chance explains every drop."""

    def effect(self, corruption: str) -> Effect:
        """What the corruption of that name does."""
        return next(effect for effect in self.effects if effect.corruption == corruption)


class RobustnessSpec(RunTask):
    """When does a classifier break? Its test pictures are changed, and its bundle is asked again."""

    job: Literal["robustness"] = "robustness"
    title = "Trying changed pictures"
    answer = Robustness
    lasting = True
    corruptions: dict[str, tuple[float, float, float]] = Field(min_length=1)
    """The strengths of each corruption by its name, as the table `evaluation.corruptions` has them; with others the answer is another."""


class ClassEvidence(Record):
    """How much each position of a picture speaks for one class, in comparison with the mean of all classes."""

    label: int
    """Index of the class."""
    positions: tuple[tuple[float, ...], ...]
    """Rows from the top, each from the left, of one number a position; below 0 it speaks against the class."""


class PictureEvidence(Answer):
    """Where in one picture the evidence for some classes lies, by gradients through the run's network."""

    classes: tuple[ClassEvidence, ...]


BROUGHT = "input.png"
"""File of a picture that somebody brought, at the network's input size, in a folder of the workspace's `staging`."""


class EvidenceSpec(RunTask):
    """Where in one picture does the evidence for some classes lie, in a network whose logits are not linear in its map?

    The picture is one of the data set, or one that somebody brought, which is not kept.
    """

    job: Literal["evidence"] = "evidence"
    title = "Looking for the evidence in a picture"
    answer = PictureEvidence
    classes: tuple[int, ...] = Field(min_length=1, max_length=20)
    """Indices of the classes."""
    row: int | None = Field(default=None, ge=0)
    """Index into the manifest's images; None where somebody brought the picture."""
    brought: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
    """Name of the folder in the workspace's `staging` with the network's input, `BROUGHT`; the job that answers removes it."""

    @property
    def about(self) -> About | None:
        return None if self.row is None else super().about


TaskSpec = (
    DescribeSpec
    | RankSpec
    | FindRateSpec
    | PreviewSpec
    | FeatureMapsSpec
    | LabelReviewSpec
    | PictureMapSpec
    | SlicesSpec
    | RobustnessSpec
    | EvidenceSpec
)
"""Every kind of task; `job` in the JSON tells which."""

JobSpec = IngestSpec | TrainSpec | RaceSpec | TaskSpec


class SpecFile(Document):
    """spec.json: the spec of any kind of job."""

    spec: Annotated[JobSpec, Field(discriminator="job")]
