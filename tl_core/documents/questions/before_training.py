"""Questions before a run: which learning rate suits it, and what augmentation does to its pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field

from tl_core.documents.options import Device
from tl_core.documents.questions.question import About, Answer, DatasetQuestion, Handling, Question
from tl_core.documents.spec import TrainSpec


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


class PreviewSpec(DatasetQuestion):
    """What does each level of augmentation do to some images? The answer is JPEG files `LEVEL-ROW-COPY.jpg` in the folder."""

    job: Literal["preview"] = "preview"
    rows: tuple[int, ...] = Field(min_length=1, max_length=8)
    """Indices into the manifest's images."""
    copies: int = Field(default=4, ge=1, le=8)
    image_size: int = 224

    @property
    def handling(self) -> Handling:
        return Handling("Showing the augmentation", about=self.about(*self.rows))
