"""How gradient steps are taken: optimizer, rates, schedule, what is done to pictures and labels. Part of a run's spec."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from tl_core.documents.base import Record
from tl_core.errors import SpecError

Level = Literal["none", "light", "medium", "strong"]
Rate = Annotated[float, Field(gt=0, le=10)]


class Recipe(Record):
    """Everything of a training run that is neither the network, the strategy nor the pictures. A strategy's row has its own."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """AdamW (arXiv 1711.05101), or stochastic gradient descent with `momentum`."""
    head_rate: Rate = 3e-3
    """Learning rate of the head at its peak."""
    stage_rate: Rate = 3e-4
    """Learning rate, at its peak, of the last stage that learns."""
    rate_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor of the learning rate from one stage to the one below it, towards the stem; 1: all the same."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of `sgd`."""
    weight_decay: float = Field(default=1e-2, ge=0, le=1)
    """Of weights; biases and the scales of norm layers do not decay."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """After the warm-up: half a cosine down to almost nothing, or as it is."""
    warm_up: float = Field(default=0.1, ge=0, lt=1)
    """Share of all steps in which the learning rate rises."""
    label_smoothing: float = Field(default=0.0, ge=0, le=0.5)
    mixup: float = Field(default=0.0, ge=0, le=10)
    """Alpha of mixup (arXiv 1710.09412); 0: none."""
    cutmix: float = Field(default=0.0, ge=0, le=10)
    """Alpha of CutMix (arXiv 1905.04899); 0: none. With both, each batch takes one of them by lot. Needs pixels."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay, a step, of the exponential moving average of the weights that is judged and kept; 0: none."""
    patience: int = Field(default=0, ge=0, le=1000)
    """Epochs without a better validation loss after which training stops; 0: never."""
    clip: float = Field(default=1.0, ge=0, le=1000)
    """Norm that gradients are clipped to; 0: not clipped."""
    class_weights: bool = False
    """Whether a class counts the more the rarer it is, so that all classes count alike."""
    augmentation: Level = "none"
    views: int = Field(default=4, ge=1, le=16)
    """Differently augmented copies of each picture that are kept where training reads cached activations."""
    norm_learns: bool = True
    """Whether batch norm of the learning stages follows the batch; frozen stages always keep their statistics."""
    lora_rank: int = Field(default=8, ge=1, le=256)
    """Of the low-rank updates (arXiv 2106.09685)."""

    def changed(self, values: Mapping[str, Any]) -> Recipe:
        """This recipe with `values` in place of its own; None keeps its own.

        Raises:
            SpecError: unknown names and values out of range, all of them at once.
        """
        wanted = {name: value for name, value in values.items() if value is not None}
        try:
            return Recipe.model_validate({**self.model_dump(), **wanted})
        except ValidationError as error:
            raise SpecError.of(_in_words(problem) for problem in error.errors()) from None


_WORDS = MappingProxyType(
    {
        "head_rate": "learning rate",
        "stage_rate": "learning rate of the stages",
        "rate_decay": "decay of the learning rate from stage to stage",
        "ema": "decay of the moving average (EMA)",
        "clip": "norm for clipping",
        "lora_rank": "rank of the low-rank updates",
        "views": "number of views",
    }
)
"""What a setting is called in a sentence, where its name alone does not say it."""


def _in_words(problem: Any) -> str:
    setting = str(problem["loc"][0]) if problem["loc"] else "recipe"
    name = _WORDS.get(setting, setting.replace("_", " "))
    if problem["type"] == "extra_forbidden":
        return f"There is no setting called {setting!r}. Choose among: {', '.join(Recipe.model_fields)}."
    wanted = problem["msg"].replace("Input should be ", "").replace("'", "")
    return f"The {name} is {problem['input']!r}; it must be {wanted}."
