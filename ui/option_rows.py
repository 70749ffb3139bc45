"""The settings of a run that need no touching, as rows: what each is called, what it does, when it applies. Draws nothing.

What the user left alone is None, which stands for the strategy's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tl_core.documents.recipe import Recipe
from tl_core.models.registry import Network
from tl_core.training.strategies.strategies import Strategy

Kind = Literal["whole", "number", "rate", "choice", "switch"]
TABS = ("Training", "Rates", "Regularisation", "Augmentation")


@dataclass(frozen=True)
class Case:
    """What the settings are for."""

    network: Network
    weights: str
    row: Strategy
    solver: str = "logistic"
    optimizer: str = "adamw"
    decided: bool = True
    """False: which strategy it will be is found out later, so only what fits any of them can be set."""

    @property
    def steps(self) -> bool:
        """Whether anything is learned by gradient steps."""
        return self.row.takes_steps or self.solver == "adam"

    def own(self, name: str) -> Any:
        """The value that stands for None."""
        if name == "image_size":
            return self.network.weights_row(self.weights).input_size
        fixed = {"epochs": self.row.epochs, "stages": min(2, len(self.network.stages)), "batch_size": 32, "seed": 0}
        return {"solver": "logistic", **fixed}.get(name, getattr(self.row.recipe, name, None))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One of them."""

    name: str
    """As the recipe, the command line and `tl_core.train` call it."""
    label: str
    help: str
    tab: str
    kind: Kind
    low: float = 0
    high: float = 1
    step: float = 1
    options: Mapping[Any, str] | None = None
    """Value -> words, of a choice."""
    when: Callable[[Case], bool] = lambda case: case.steps


def _stages(case: Case) -> bool:
    return case.row.takes_steps


SETTINGS = (
    Setting(
        name="stages", label="Last stages that learn", tab="Training", kind="whole", low=1, high=100,
        help="How many of the last stages adapt; all before them stay frozen.",
        when=lambda case: case.row.learns == "last",
    ),
    Setting(
        name="solver", label="How the head is found", tab="Training", kind="choice",
        options={"logistic": "fitted exactly (logistic)", "adam": "step by step (adam)"},
        help="Fitting exactly takes seconds and needs no settings; step by step shows learning curves to watch.",
        when=lambda case: not case.row.takes_steps,
    ),
    Setting(
        name="epochs", label="Epochs", tab="Training", kind="whole", low=1, high=1000,
        help="How often every picture is learned from.",
    ),
    Setting(
        name="image_size", label="Image size, pixels", tab="Training", kind="whole", low=16, high=1024, step=32,
        help="Larger shows finer detail and takes longer.", when=lambda case: True,
    ),
    Setting(
        name="batch_size", label="Pictures a step (batch)", tab="Training", kind="whole", low=1, high=1024, step=8,
        help="More make each step steadier, and fewer steps.",
    ),
    Setting(
        name="lora_rank", label="Rank of the updates", tab="Training", kind="whole", low=1, high=256,
        help="How much each low-rank update can express; 4 to 16 is usual.",
        when=lambda case: case.row.parameters == "lora",
    ),
    Setting(
        name="seed", label="Seed", tab="Training", kind="whole", low=0, high=2**32 - 1,
        help="The same seed gives the same split and the same result.", when=lambda case: True,
    ),
    Setting(
        name="optimizer", label="Optimizer", tab="Rates", kind="choice",
        options={"adamw": "AdamW", "sgd": "SGD with momentum"},
        help="AdamW suits its step to each weight; SGD takes the plain gradient and wants larger rates.",
    ),
    Setting(
        name="head_rate", label="Learning rate of the head", tab="Rates", kind="rate",
        help="How far each step goes in the new last layer; too large and it jumps about, too small and it crawls.",
    ),
    Setting(
        name="stage_rate", label="Learning rate of the last stage", tab="Rates", kind="rate",
        help="How far each step goes in the pretrained layers; usually smaller than the head's.",
        when=_stages,
    ),
    Setting(
        name="rate_decay", label="Rate from stage to stage", tab="Rates", kind="number", low=0.05, high=1, step=0.05,
        help="Each stage towards the stem learns this much slower than the one after it; 1 means all alike.",
        when=lambda case: _stages(case) and case.row.learns != "one",
    ),
    Setting(
        name="momentum", label="Momentum", tab="Rates", kind="number", low=0, high=0.99, step=0.05,
        help="How much of the last step goes on in the next one.",
        when=lambda case: case.steps and case.optimizer == "sgd",
    ),
    Setting(
        name="weight_decay", label="Weight decay", tab="Rates", kind="rate",
        help="Pulls weights gently towards nothing, against learning by heart; 0 is allowed.",
    ),
    Setting(
        name="schedule", label="Schedule", tab="Rates", kind="choice",
        options={"cosine": "falls in a cosine", "constant": "stays the same"},
        help="What becomes of the learning rate after the warm-up.",
    ),
    Setting(
        name="warm_up", label="Warm-up, share of all steps", tab="Rates", kind="number", low=0, high=0.9, step=0.05,
        help="The rate rises over the first steps, so that they do not spoil what is there.",
    ),
    Setting(
        name="label_smoothing", label="Label smoothing", tab="Regularisation", kind="number", low=0, high=0.5, step=0.05,
        help="Asks for a little less than full certainty, which helps where some labels are wrong.",
    ),
    Setting(
        name="mixup", label="Mixup", tab="Regularisation", kind="number", low=0, high=10, step=0.1,
        help="Blends pairs of pictures and their labels; 0.2 is usual, 0 is off.",
    ),
    Setting(
        name="cutmix", label="CutMix", tab="Regularisation", kind="number", low=0, high=10, step=0.1,
        help="Pastes a piece of one picture into another, and of its label; 1 is usual, 0 is off.",
        when=_stages,
    ),
    Setting(
        name="ema", label="Averaged weights (EMA)", tab="Regularisation", kind="number", low=0, high=0.9999, step=0.01,
        help="Keeps a moving average of the weights, which is steadier than the last step; 0.99 is usual, 0 is off.",
    ),
    Setting(
        name="patience", label="Stop early after", tab="Regularisation", kind="whole", low=0, high=1000,
        help="Passes without a better validation loss after which training stops; 0 is never.",
    ),
    Setting(
        name="clip", label="Clip gradients at", tab="Regularisation", kind="number", low=0, high=1000, step=0.5,
        help="Longer gradients are cut to this length, so that one odd batch cannot do harm; 0 is off.",
    ),
    Setting(
        name="class_weights", label="Rare classes count as much as common ones", tab="Regularisation", kind="switch",
        help="For classes with very different numbers of pictures (class weights).",
    ),
    Setting(
        name="augmentation", label="Level", tab="Augmentation", kind="choice",
        options={"none": "none", "light": "light", "medium": "medium", "strong": "strong"},
        help="Shows each picture a little changed every time, so that it learns the thing and not the photo.",
        when=_stages,
    ),
    Setting(
        name="views", label="Views of each picture", tab="Augmentation", kind="whole", low=1, high=16,
        help="Where stages are frozen, so many changed copies are drawn once and kept; the whole network sees new ones.",
        when=_stages,
    ),
    Setting(
        name="norm_learns", label="Batch norm", tab="Regularisation", kind="choice",
        options={True: "follows my pictures", False: "stays as it was trained"},
        help="Whether the running averages of the learning stages move; leaving them is steadier with few pictures.",
        when=lambda case: _stages(case) and case.network.layout.batch_norm,
    ),
)  # fmt: skip


def applicable(case: Case, tab: str) -> list[Setting]:
    """The settings of `tab` that mean something for `case`."""
    return [
        setting
        for setting in SETTINGS
        if setting.tab == tab and setting.when(case) and (case.decided or setting.name in _ANY)
    ]


_ANY = ("image_size", "seed")


@dataclass
class Changed:
    """What the user set; everything else is the strategy's own."""

    options: dict[str, Any] = field(default_factory=dict)
    """Of the run: epochs, image size, seed and so on."""
    recipe: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What cannot be read as a value, in words."""

    def take(self, name: str, value: Any) -> None:
        if value is not None:
            (self.recipe if name in Recipe.model_fields else self.options)[name] = value
