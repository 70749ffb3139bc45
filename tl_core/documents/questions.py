"""The kinds of small questions: what each is asked, how it is to be treated as a job, and the document that answers it.

A question needs torch or the device, so a worker answers it. A new kind is a class here, named in `QuestionSpec`, and a
function in `tl_core.runs.questions.answers`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple, Self

from pydantic import Field

from tl_core.documents.base import Document, Record
from tl_core.documents.judged_slice import JudgedBy, Slice
from tl_core.documents.learning_curve import Growth
from tl_core.documents.options import BATCH_SIZE, DEFAULT_NETWORK, STAGES, Device, Recipe
from tl_core.documents.report import Accuracy
from tl_core.documents.spec import Precision, Queue, TrainSpec
from tl_core.documents.suspect_label import Lookalikes, SuspectLabel


class Answer(Document):
    """A question's answer, `result.json` in its folder."""

    @property
    def complete(self) -> bool:
        """Whether the same question would be answered in the same way today; where not, it is answered again."""
        return True


class About(NamedTuple):
    """The data set that a question is about."""

    workspace: str
    """Token of the workspace that holds the data set."""
    dataset: str
    """Id of the data set."""
    version: int = 1
    """Number of its version."""
    images: tuple[int, ...] = ()
    """Indices into the manifest's images, where the question is about some of them."""
    run: str | None = None
    """Id of the run that the question is about, which learned from this data set; None where it is about no run."""


class Handling(NamedTuple):
    """How a question is handled as a job."""

    title: str
    """What the job does, for the user."""
    about: About | None = None
    """The data set that is held while the question is answered; None where it needs none."""
    waits_for: Queue = "questions"
    """The queue that the job joins: that of the device that it needs, or that of the questions, which need none."""
    lasting: bool = False
    """Whether it takes so long that every page shows how far it is."""
    pretrained: tuple[tuple[str, str | None], ...] = ()
    """Backbone and set of weights (None: the default one) of every pretrained file that the answer depends on."""
    describes: str | None = None
    """Name of the network that the answer adds to those of the workspace; the answer is valid while the workspace lists it."""


class Question(Document):
    """What a question is asked; its class says how it is handled."""

    answer: ClassVar[type[Answer] | None] = None
    """The document in `result.json`; None where the answer consists of other files."""

    @property
    def handling(self) -> Handling:
        raise NotImplementedError

    def canonical(self, resolve: Callable[[str], Device]) -> Self:
        """The question without what makes no difference to its answer, and with the device that `resolve` finds for it."""
        return self


class RunQuestion(Question):
    """What a question about a finished run is asked: the run, and the data set that it learned from, in that version.

    `tl_core.runs.questions.about_run` makes such a question and opens what it names.
    """

    workspace: str
    """Token of the workspace that holds both."""
    run: str
    """Id of the run."""
    made: float
    """When the run's bundle was made, seconds since the epoch; a run with another bundle gets another answer."""
    dataset: str
    version: int = 1

    def about(self, *images: int) -> About:
        """What the question is about, for its `handling`; `images` are indices into the manifest's images."""
        return About(self.workspace, self.dataset, self.version, images, self.run)


class DescribeSpec(Question):
    """Add a network of timm to the registry. The answer is its row, in the store's folder `networks/`."""

    job: Literal["describe"] = "describe"
    network: str
    """timm's own name, with or without the set of weights: `convnextv2_nano.fcmae_ft_in1k`."""

    @property
    def handling(self) -> Handling:
        return Handling(f"Looking up {self.network}", describes=self.network)


class Measurement(Answer):
    """Speeds and memory of one network and strategy on this machine. Speeds are seconds per image."""

    backbone: str
    strategy: str
    device: str
    frozen_seconds: float
    """Seconds per image through the whole frozen network (features), computed as a run computes them."""
    prefix_seconds: float
    """Seconds per image through the frozen prefix whose output is kept; 0 where no prefix is kept."""
    step_seconds: float
    """Seconds per image of a training step (forward and backward) of what learns; 0 for the fitted head."""
    score_seconds: float
    """Seconds per image that is scored during training (forward only); 0 for the fitted head."""
    start_seconds: float
    """Seconds for starting the worker, importing and building, once per run."""
    export_seconds: float
    """Seconds for exporting the trained graph; 0 where the exported backbone is used as it is."""
    memory_mb: float
    """Peak memory, megabytes: resident memory of the worker, or on a GPU that of the device."""
    peak_parameters: int = 0
    """Largest number of parameters that learn at the same time."""


class MeasureSpec(Question):
    """How fast is one strategy on one network here, and how much memory does it take? Two batches are timed.

    The JSON of this document is part of a cache key.
    """

    answer = Measurement
    job: Literal["measure"] = "measure"
    backbone: str
    weights: str
    strategy: str
    stages: int = STAGES
    image_size: int
    classes: int
    device: Device
    precision: Precision = "float32"
    batch_size: int = BATCH_SIZE
    micro_batch: int = 32
    lora_rank: int = Recipe().lora_rank

    @property
    def handling(self) -> Handling:
        return Handling(f"Timing {self.backbone}", waits_for=self.device)

    def canonical(self, resolve: Callable[[str], Device]) -> Self:
        return self.model_copy(update={"device": resolve(self.device)})


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


class RankSpec(Question):
    """Which backbone suits a data set? Each is scored on its frozen features."""

    answer = Ranking
    job: Literal["rank"] = "rank"
    workspace: str
    dataset: str
    version: int = 1
    backbones: tuple[str, ...] = Field(min_length=1)
    seed: int = 0
    device: Device = "cpu"

    @property
    def handling(self) -> Handling:
        return Handling(
            f"Comparing {len(self.backbones)} backbones",
            about=About(self.workspace, self.dataset, self.version),
            waits_for=self.device,
            lasting=True,
            pretrained=tuple((backbone, None) for backbone in self.backbones),
        )

    def canonical(self, resolve: Callable[[str], Device]) -> Self:
        return self.model_copy(update={"device": resolve(self.device)})


class RateCurve(Answer):
    """The learning-rate range test (arXiv 1506.01186) of the head's rate; the rates of the stages follow in proportion."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Smoothed training loss at each rate."""
    suggested: float
    """The rate at which the loss fell fastest, moved to the safe side."""


class LearningRateSpec(Question):
    """Which learning rate suits a run? The answer is the curve of a range test."""

    answer = RateCurve
    job: Literal["rate"] = "rate"
    train: TrainSpec

    @property
    def handling(self) -> Handling:
        return Handling(
            "Finding a learning rate",
            about=About(self.train.workspace, self.train.dataset, self.train.version),
            waits_for=self.train.device,
            lasting=True,
            pretrained=((self.train.backbone, self.train.weights),),
        )

    def canonical(self, resolve: Callable[[str], Device]) -> Self:
        # How the device computes is found again where the question is answered, maybe on another card.
        same = ("name", "chosen_by", "reason", "estimated_seconds", "expected", "precision", "micro_batch")
        own = {name: "" if name == "name" else TrainSpec.model_fields[name].default for name in same}
        train = self.train.model_copy(update={**own, "device": resolve(self.train.device)})
        return self.model_copy(update={"train": train})


class PreviewSpec(Question):
    """What does each level of augmentation do to some images? The answer is JPEG files `LEVEL-ROW-COPY.jpg` in the folder."""

    job: Literal["preview"] = "preview"
    workspace: str
    dataset: str
    version: int = 1
    rows: tuple[int, ...] = Field(min_length=1, max_length=8)
    """Indices into the manifest's images."""
    copies: int = Field(default=4, ge=1, le=8)
    image_size: int = 224

    @property
    def handling(self) -> Handling:
        return Handling("Showing the augmentation", about=About(self.workspace, self.dataset, self.version, self.rows))


class FeatureMap(Record):
    """One channel of one stage's output as a grey picture; brighter means a stronger response."""

    stage: str
    channel: int
    file: str
    """`STAGE-CHANNEL.png`, in the question's folder."""
    height: int
    width: int
    """Positions of the map, vertically and horizontally; in the file each has several pixels."""


class FeatureMaps(Answer):
    """What a backbone makes of one picture; the files lie in the question's folder."""

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


class FeatureMapsSpec(Question):
    """What does a backbone see in one picture?"""

    answer = FeatureMaps
    job: Literal["look"] = "look"
    workspace: str
    dataset: str
    version: int = 1
    row: int = Field(ge=0)
    """Index into the manifest's images."""
    backbone: str
    weights: str
    image_size: int

    @property
    def handling(self) -> Handling:
        return Handling(
            f"Looking into {self.backbone}",
            about=About(self.workspace, self.dataset, self.version, (self.row,)),
            pretrained=((self.backbone, self.weights),),
        )


class LabelReview(Answer):
    """What cross-validated heads on frozen features say of a data set's labels and of its size."""

    accuracy: float
    """Share of the pictures that were answered as they are labelled, each by a head that had not seen it."""
    suspects: tuple[SuspectLabel, ...]
    """The least likely labels first; their rows are those of the manifest."""
    lookalikes: tuple[Lookalikes, ...] = ()
    """For each of `suspects`, in their order."""
    growth: Growth

    @property
    def complete(self) -> bool:
        """False in answers from before the lookalikes were named."""
        return len(self.lookalikes) == len(self.suspects)


class LabelReviewSpec(Question):
    """Which labels of a data set are probably wrong, and what would more pictures bring?"""

    answer = LabelReview
    job: Literal["review"] = "review"
    workspace: str
    dataset: str
    version: int = 1
    backbone: str = DEFAULT_NETWORK

    @property
    def handling(self) -> Handling:
        return Handling(
            "Looking for wrong labels",
            about=About(self.workspace, self.dataset, self.version),
            pretrained=((self.backbone, None),),
        )


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


class PictureMapSpec(Question):
    """How do the pictures of a data set lie to each other?"""

    answer = PictureMap
    job: Literal["map"] = "map"
    workspace: str
    dataset: str
    version: int = 1
    backbone: str = DEFAULT_NETWORK

    @property
    def handling(self) -> Handling:
        return Handling(
            "Drawing a map of the pictures",
            about=About(self.workspace, self.dataset, self.version),
            lasting=True,
            pretrained=((self.backbone, None),),
        )


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
        kept: list[Slice] = []
        for one in self.slices:
            rows = {answer.row for answer in one.answers}
            if one.found and not any(
                other.kind == one.kind
                and 2 * len(rows & {answer.row for answer in other.answers}) >= min(one.images, other.images)
                for other in kept
            ):
                kept.append(one)
        return tuple(kept)


class SlicesSpec(RunQuestion):
    """On which of its pictures does a run fail?"""

    answer = RunSlices
    job: Literal["slices"] = "slices"

    @property
    def handling(self) -> Handling:
        return Handling("Looking where it fails", about=self.about())


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


class RobustnessSpec(RunQuestion):
    """When does a classifier break? Its test pictures are changed, and its bundle is asked again."""

    answer = Robustness
    job: Literal["robustness"] = "robustness"
    corruptions: dict[str, tuple[float, float, float]] = Field(min_length=1)
    """The strengths of each corruption by its name, as the table `evaluation.corruptions` has them; with others the answer is another."""

    @property
    def handling(self) -> Handling:
        return Handling("Trying changed pictures", about=self.about(), lasting=True)


class ClassEvidence(Record):
    """How much each position of a picture speaks for one class, in comparison with the mean of all classes."""

    label: int
    """Index of the class."""
    positions: tuple[tuple[float, ...], ...]
    """Rows from the top, each from the left, of one number a position; below 0 it speaks against the class."""


class PictureEvidence(Answer):
    """Where in one picture the evidence for some classes lies, by gradients through the run's network."""

    classes: tuple[ClassEvidence, ...]


class EvidenceSpec(RunQuestion):
    """Where in one picture does the evidence for some classes lie, in a network whose logits are not linear in its map?

    The picture is one of the data set, or one that somebody brought, which is not kept.
    """

    answer = PictureEvidence
    job: Literal["evidence"] = "evidence"
    classes: tuple[int, ...] = Field(min_length=1, max_length=20)
    """Indices of the classes."""
    row: int | None = Field(default=None, ge=0)
    """Index into the manifest's images; None where somebody brought the picture."""
    brought: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
    """Name of the folder in the workspace's `staging` with the network's input, `BROUGHT`; the job that answers removes it."""

    @property
    def handling(self) -> Handling:
        about = None if self.row is None else self.about(self.row)
        return Handling("Looking for the evidence in a picture", about=about)


BROUGHT = "input.png"
"""File of a picture that somebody brought, at the network's input size, in a folder of the workspace's `staging`."""


QuestionSpec = (
    DescribeSpec
    | MeasureSpec
    | RankSpec
    | LearningRateSpec
    | PreviewSpec
    | FeatureMapsSpec
    | LabelReviewSpec
    | PictureMapSpec
    | SlicesSpec
    | RobustnessSpec
    | EvidenceSpec
)
"""Every kind of question; `job` in the JSON tells which."""
