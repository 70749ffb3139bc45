"""What a job is asked to do. Written by whoever starts it; the worker writes it again with what it resolved."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from tl_core.documents.base import Document
from tl_core.documents.recipe import Recipe

ClassesFrom = Literal["first", "innermost"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["float32", "bfloat16"]
Solver = Literal["logistic", "adam"]


class IngestSpec(Document):
    """Read a folder, a zip or a sample into a data set."""

    job: Literal["ingest"] = "ingest"
    name: str
    """Display text."""
    source_kind: Literal["folder", "zip", "sample"]
    source: str
    """Absolute path of the folder or zip, or the sample's name."""
    classes_from: ClassesFrom = "first"
    remove_source: bool = False
    """An upload staged in the store: removed when it was read."""


class TrainSpec(Document):
    """Train one classifier on one data set."""

    job: Literal["train"] = "train"
    name: str
    workspace: str
    """Token of the workspace that holds the data set."""
    dataset: str
    """Id of the data set."""
    backbone: str = "efficientnet_lite0"
    weights: str
    """Name of the set of weights, from the network's row."""
    strategy: str = "feature_extraction"
    """A row of the table. Until the run runs, it may be `default` (found from the device and the number of images) or `auto`
    (found from the images); then the row that was found is written here."""
    chosen_by: Literal["user", "default", "auto"] = "user"
    """Who chose the strategy."""
    reason: str | None = None
    """Why, a sentence for the user, where it was not the user who chose."""
    solver: Solver = "logistic"
    """How the head alone is found: fitted in closed form, or by gradient steps on the features (`adam`)."""
    stages: int = Field(default=2, ge=1)
    """How many of the last stages learn (`partial_fine_tuning`)."""
    learning_stages: tuple[int, ...] | None = None
    """Stages that learn, 0 is the stem, where only the worker can find out which (`surgical`); None: the strategy's rule."""
    epochs: int = Field(default=10, ge=1, le=1000)
    """Not used by the fitted head."""
    image_size: int = Field(ge=16, le=1024)
    """Pixels, the side of the square."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: Device = "auto"
    """As it was asked for until the run runs; then the device that it runs on. So for `micro_batch` and `precision`."""
    batch_size: int = Field(default=32, ge=1)
    """Images a step of the optimizer."""
    micro_batch: int = Field(default=32, ge=1)
    """Images that go through the network together; `batch_size` is reached by accumulation."""
    precision: Precision = "float32"
    channels_last: bool | None = None
    """None: chosen by a short trial, then written here."""
    views_kept: dict[int, int] = Field(default_factory=dict)
    """By number of frozen stages: in how many views of each picture their output is kept, 0 where it is computed again in each
    epoch. What is not here is decided by what both cost, and then written here."""
    recipe: Recipe = Recipe()
    """The strategy's own, with what the user changed."""
    changes: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """What the user set of the recipe, and `epochs` and `stages` as they were asked for, so that it can be set again where
    `auto` finds another row, and what plays no part can be named."""
    estimated_seconds: tuple[float, float] | None = None
    """How long the whole run is expected to take, from and to; written when it starts to run."""

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, values: Any) -> Any:
        """Take the spec of a run from before there were recipes, which had one rate: the head's."""
        if not isinstance(values, dict) or "learning_rate" not in values:
            return values
        values = dict(values)
        rate = values.pop("learning_rate")
        return values if rate is None or "recipe" in values else {**values, "recipe": {"head_rate": rate}}


class Label(Document):
    """label.json: the name that a user gave to a data set or run afterwards."""

    name: str
