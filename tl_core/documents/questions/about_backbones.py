"""Questions about backbones: what timm has by a name, how fast one is here, which suits a data set, and what one sees in a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field

from tl_core.documents.base import Record
from tl_core.documents.options import BATCH_SIZE, STAGES, Device, Recipe
from tl_core.documents.questions.question import Answer, DatasetQuestion, Handling, Question
from tl_core.documents.spec import Precision


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


class RankSpec(DatasetQuestion):
    """Which backbone suits a data set? Each is scored on its frozen features."""

    answer = Ranking
    job: Literal["rank"] = "rank"
    backbones: tuple[str, ...] = Field(min_length=1)
    seed: int = 0
    device: Device = "cpu"

    @property
    def handling(self) -> Handling:
        return Handling(
            f"Comparing {len(self.backbones)} backbones",
            about=self.about(),
            waits_for=self.device,
            lasting=True,
            pretrained=tuple((backbone, None) for backbone in self.backbones),
        )

    def canonical(self, resolve: Callable[[str], Device]) -> Self:
        return self.model_copy(update={"device": resolve(self.device)})


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


class FeatureMapsSpec(DatasetQuestion):
    """What does a backbone see in one picture?"""

    answer = FeatureMaps
    job: Literal["look"] = "look"
    row: int = Field(ge=0)
    """Index into the manifest's images."""
    backbone: str
    weights: str
    image_size: int

    @property
    def handling(self) -> Handling:
        return Handling(
            f"Looking into {self.backbone}",
            about=self.about(self.row),
            pretrained=((self.backbone, self.weights),),
        )
