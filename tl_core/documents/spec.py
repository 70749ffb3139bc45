"""What a job is asked to do. Whoever starts it writes this; the worker writes it again with what it resolved."""

from typing import Literal, NamedTuple

from pydantic import Field

from tl_core.documents.base import Document, Record
from tl_core.documents.options import STAGES, Count, Device, ImageSize, Recipe, RunOptions

ClassesFrom = Literal["first", "innermost"]
Precision = Literal["float32", "bfloat16", "float16"]
Queue = Device | Literal["reading", "questions"]
"""What a job waits for: a device, which one job has at a time, or a place among the smaller jobs of one kind."""


class About(NamedTuple):
    """The data set that a job is about, in a version, and the run that learned from it."""

    workspace: str
    """Token of the workspace that holds both."""
    dataset: str
    """Id of the data set."""
    version: int = 1
    run: str | None = None
    """Id of the run; None where the job is about no run."""


class Job(Document):
    """What a job is asked to do."""

    @property
    def about(self) -> About | None:
        """The data set that is held while the job works; None where it needs none."""
        return None

    @property
    def queue(self) -> Queue:
        """The queue that the job joins: that of the device that it needs, or that of the small ones that need none."""
        return "questions"

    @property
    def pretrained(self) -> tuple[tuple[str, str | None], ...]:
        """Backbone and set of weights (None: the default one) of every pretrained file that the job reads."""
        return ()


class OfDataset(Job):
    """What is asked about the pictures of a data set."""

    workspace: str
    """Token of the workspace that holds the data set, and the runs that learn from it."""
    dataset: str
    """Id of the data set."""
    version: int = Field(default=1, ge=1)
    """Number of its version."""

    @property
    def about(self) -> About | None:
        return About(self.workspace, self.dataset, self.version)


class IngestSpec(Job):
    """Read a folder, a zip or a sample into a data set, or more pictures into one that is there."""

    job: Literal["ingest"] = "ingest"
    name: str
    """The name of the data set, display text."""
    source_kind: Literal["folder", "zip", "sample"]
    source: str
    """Absolute path of the folder or zip, or the sample's name."""
    classes_from: ClassesFrom = "first"
    remove_source: bool = False
    """Whether `source` is an upload in the staging folder, which is removed after reading."""
    onto: int | None = None
    """Number of the version of the data set that the pictures are added to, which makes its next version; None: they are version 1."""
    groups: bool = True
    """Whether pictures that show the same thing are looked for, which needs the embedded backbone."""
    groups_file: str | None = None
    """Absolute path of a CSV of groups that the user gives (`data/given_groups`); None: one beside the pictures is taken, where there is one."""
    judged: bool = True
    """Whether the labels are judged, too, which takes seconds; not where nobody is shown what is found."""

    @property
    def queue(self) -> Queue:
        return "reading"


class Expected(Record):
    """What a run was expected to take by the table of speeds, before that was scaled by what earlier runs took."""

    machine: str
    """The machine and device, as `hardware.machine` names them."""
    seconds: dict[str, float]
    """Seconds by stage, named as in `Status.seconds`."""
    memory_mb: float
    """Peak memory, megabytes: of the worker, or of the GPU."""


class TrainSpec(RunOptions, OfDataset):
    """Train one classifier on one data set: the options of the run with what they come to.

    `device`, `precision` and `micro_batch` are as they were asked for until the run runs, then what it runs with.
    """

    job: Literal["train"] = "train"
    name: str
    continues: str | None = None
    """Id of the run that it trains on: it starts from what that one delivered, which lies in its own folder as start.safetensors."""
    weights: str
    strategy: str = "feature_extraction"
    """A row of the table. Until the run runs, it may be `default` (found from the device and the number of images) or `auto`
    (found from the images); then the row that was found is written here."""
    chosen_by: Literal["user", "default", "auto"] = "user"
    """Who chose the strategy."""
    reason: str | None = None
    """Why this strategy, a sentence for the user, where the user did not choose it."""
    stages: Count = STAGES
    learning_stages: tuple[int, ...] | None = None
    """Stages that learn, 0 is the stem, where only the worker can find out which (`surgical`); None: the strategy's rule."""
    epochs: Count = 10
    """Passes over the training images; the fitted head has none."""
    image_size: ImageSize
    micro_batch: int = Field(default=32, ge=1)
    """Images that go through the network together in a training step; the gradients of several such parts are added up to that of
    `batch_size`. When the device's memory runs out, a smaller number is written here."""
    precision: Precision = "float32"
    """Precision in which training computes what needs no more; float32 is written here where values are too large for float16."""
    channels_last: bool = False
    """Memory layout of activations: that of the family for the device, which is written here when the run runs."""
    views_kept: dict[int, int] = Field(default_factory=dict)
    """For each number of frozen stages, in how many views of each picture their output is kept; 0 where it is computed again in
    each epoch. A number of stages that is missing is decided by what there is room for, and then written here."""
    recipe: Recipe = Recipe()
    """The recipe of the strategy, with what the user changed."""
    changes: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """The user's own values for the recipe, `epochs` and `stages`. They are applied again when `auto` has found a strategy, and
    the run names those without effect."""
    estimated_seconds: tuple[float, float] | None = None
    """How long the whole run is expected to take, from and to; written when it starts to run."""
    expected: Expected | None = None
    """The sum from which `estimated_seconds` were made; written with them."""

    @property
    def queue(self) -> Queue:
        return self.device

    @property
    def pretrained(self) -> tuple[tuple[str, str | None], ...]:
        return ((self.backbone, self.weights),)


class Contestant(Record):
    """One run of a race, as it was asked for."""

    run: str
    """Id of its run."""
    backbone: str
    weights: str
    strategy: str
    """A row of the table of strategies, `default` or `auto`."""


class RaceSpec(OfDataset):
    """Train several classifiers on one split of one data set, one after the other, within a time budget.

    Each contestant is an ordinary run with a folder, a spec and a report of its own.
    """

    job: Literal["race"] = "race"
    name: str
    """Display text."""
    seed: int
    """The seed of every run, which gives all of them the same split."""
    device: Device
    budget: float = Field(gt=0)
    """Seconds from the turn of the race on, after which no run is begun and the one at work ends with its best state."""
    contestants: tuple[Contestant, ...] = Field(min_length=1)
    val_images: int
    """Validation pictures of the split, which choose: they order the runs, and who cannot win on them is stopped."""
    val_draws: int
    """How many of them show different things."""
    test_images: int
    """Test pictures, which judge, and choose nothing."""

    @property
    def queue(self) -> Queue:
        return self.device

    @property
    def pretrained(self) -> tuple[tuple[str, str | None], ...]:
        return tuple(dict.fromkeys((each.backbone, each.weights) for each in self.contestants))


class Label(Document):
    """label.json: the name that a user gave to a data set or run afterwards."""

    name: str
