"""Small questions that need torch or the device, asked as jobs: what each is asked, and what it answers in result.json."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tl_core.documents.base import Document, Record
from tl_core.documents.spec import Device, Precision, TrainSpec


class DescribeSpec(Document):
    """Make the registry's row of a timm network that somebody typed by hand. Answer: the row, in the store's `networks/`."""

    job: Literal["describe"] = "describe"
    network: str
    """timm's own name, with or without the set of weights: `convnextv2_nano.fcmae_ft_in1k`."""


class MeasureSpec(Document):
    """Time two batches and note the memory, for an estimate. Answer: `Measurement`."""

    job: Literal["measure"] = "measure"
    backbone: str
    weights: str
    strategy: str
    stages: int = 2
    image_size: int
    classes: int
    device: Device
    precision: Precision = "float32"
    batch_size: int = 32
    micro_batch: int = 32
    lora_rank: int = 8


class Measurement(Document):
    """Speeds of one network and strategy on this machine."""

    backbone: str
    strategy: str
    device: str
    frozen_seconds: float
    """A picture through the whole frozen network (features), in the way that a run takes: seconds."""
    prefix_seconds: float
    """A picture through the frozen prefix that is cached; 0 where nothing is."""
    step_seconds: float
    """A picture in a training step, forward and backward, of what learns; 0 for the fitted head."""
    score_seconds: float
    """A picture scored while training, forward only; 0 for the fitted head."""
    start_seconds: float
    """Starting, importing and building, once a run."""
    export_seconds: float
    """Writing the graph anew after training; 0 where the exported backbone is used."""
    memory_mb: float
    """Largest resident memory of the worker; on a GPU that of the device."""
    peak_parameters: int = 0
    """That learned at the same time."""


class RankSpec(Document):
    """Score backbones on the frozen features of a data set. Answer: `Ranking`."""

    job: Literal["rank"] = "rank"
    workspace: str
    dataset: str
    backbones: tuple[str, ...] = Field(min_length=1)
    seed: int = 0
    device: Device = "cpu"


class RankedBackbone(Record):
    backbone: str
    weights: str
    accuracy: float
    """Of the logistic head, cross-validated on the training images."""
    interval: tuple[float, float]
    """95 % Wilson interval of it."""
    logme: float
    """LogME (arXiv 2102.11005), natural log evidence per sample and class; higher is better, also below 0."""
    similar: bool
    """Whether these pictures count as similar to what the backbone learned before."""
    seconds: float
    """For the features of all images here, were none cached."""


class Ranking(Document):
    images: int
    """That were scored: those of the training split."""
    classes: int
    rows: tuple[RankedBackbone, ...]
    """The best first."""
    failed: dict[str, str] = Field(default_factory=dict)
    """Backbones that could not be scored, and why."""


class RateSpec(Document):
    """Find a learning rate for a run as it would be trained. Answer: `RateCurve`."""

    job: Literal["rate"] = "rate"
    train: TrainSpec


class RateCurve(Document):
    """The learning-rate range test (arXiv 1506.01186) of the head's rate; the stages' follow in proportion."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Smoothed training loss at each rate."""
    suggested: float
    """Where the loss fell fastest, on the safe side."""


class PreviewSpec(Document):
    """Show what each level of augmentation does to some pictures. Answer: JPEG files `LEVEL-ROW-COPY.jpg` in the folder."""

    job: Literal["preview"] = "preview"
    workspace: str
    dataset: str
    rows: tuple[int, ...] = Field(min_length=1, max_length=8)
    """Of the manifest."""
    copies: int = Field(default=4, ge=1, le=8)
    image_size: int = 224


class LookSpec(Document):
    """What a backbone sees in one picture. Answer: `Look`, and the files that it names."""

    job: Literal["look"] = "look"
    workspace: str
    dataset: str
    row: int = Field(ge=0)
    backbone: str
    weights: str
    image_size: int


class FeatureMap(Record):
    """Where one channel of one stage answers, as a grey picture: the brighter, the stronger."""

    stage: str
    channel: int
    file: str
    """`STAGE-CHANNEL.png`, in the task's folder."""
    height: int
    width: int
    """Positions of the map; the file has several pixels for each."""


class Look(Document):
    """What a backbone made of one picture."""

    picture: str
    """The picture as the backbone saw it, squashed: `picture.png`."""
    filters: str | None
    """The filters of the first layer in one picture, `filters.png`; None where that layer is no convolution of colours."""
    filter_count: int = 0
    """That are shown; the strongest."""
    filter_size: int = 0
    """Pixels, the side of one."""
    maps: tuple[FeatureMap, ...]
    """Of a shallow, a middle and a deep stage, in this order, of each the strongest first."""


QuestionSpec = DescribeSpec | MeasureSpec | RankSpec | RateSpec | PreviewSpec | LookSpec
