"""Transfer-learning strategies, one row each: what learns, how fast, from which head, with how much augmentation.

Knows no network and no torch: stages are counted, not named. What a strategy does is read from its row; code that
trains asks the row and never the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from tl_core.errors import UnknownName

Learns = Literal["head", "last", "all"]
HeadStart = Literal["fitted", "new"]
Level = Literal["none", "light", "strong"]

FEW_IMAGES_A_GPU = 200
"""Below this many images, fine-tuning has too little to learn from, whatever the device."""
MANY_IMAGES_A_GPU = 2_000
"""From here on the whole network has enough to learn from."""


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One way to reuse a pretrained backbone."""

    name: str
    title: str
    description: str
    """Plain words, then the field's term."""
    learns: Learns
    """`head`: the head alone, fitted in closed form on cached features; `last`: the last N stages too; `all`: every stage."""
    head_start: HeadStart
    """`fitted`: from the logistic head on frozen features; `new`: from random weights."""
    head_rate: float = 0.0
    """Learning rate of the head at its peak; 0 where no gradient step is taken."""
    stage_rate: float = 0.0
    """Learning rate of the stages that learn, at its peak."""
    weight_decay: float = 0.0
    epochs: int = 0
    """Default number of passes over the training images; 0 for the fitted head."""
    augmentation: Level = "none"
    norm_learns: bool = True
    """Whether batch norm of the *learning* stages follows the batch; frozen stages always keep their statistics."""

    @property
    def takes_steps(self) -> bool:
        """Whether it trains by gradient steps; the others fit the head alone."""
        return self.learns != "head"


_ROWS = (
    Strategy(
        name="feature_extraction",
        title="Head only",
        description=(
            "Keeps the pretrained network as it is and fits only the last layer to your classes: seconds on any machine, "
            "and hard to beat with few pictures (feature extraction, a linear probe)."
        ),
        learns="head",
        head_start="fitted",
    ),
    Strategy(
        name="partial_fine_tuning",
        title="Last stages",
        description=(
            "Starts from the fitted last layer, then lets the last stages of the network adapt to your pictures while "
            "the earlier ones stay frozen: minutes (partial fine-tuning)."
        ),
        learns="last",
        head_start="fitted",
        head_rate=1e-4,
        stage_rate=1e-4,
        weight_decay=1e-2,
        epochs=6,
        augmentation="none",
        norm_learns=False,
    ),
    Strategy(
        name="full_fine_tuning",
        title="Whole network",
        description=(
            "Puts a new last layer on and trains the whole network with a small learning rate, as most courses teach it: "
            "slow without a GPU, and it wants more pictures (full fine-tuning)."
        ),
        learns="all",
        head_start="new",
        head_rate=3e-3,
        stage_rate=3e-4,
        weight_decay=1e-2,
        epochs=10,
        augmentation="light",
        norm_learns=True,
    ),
)


def _table(rows: tuple[Strategy, ...]) -> Mapping[str, Strategy]:
    table = {row.name: row for row in rows}
    if len(table) != len(rows):
        raise ValueError("Two strategies have the same name.")
    return MappingProxyType(table)


_TABLE = _table(_ROWS)


def strategies() -> Mapping[str, Strategy]:
    """All strategies by name, the quickest first."""
    return _TABLE


def strategy(name: str) -> Strategy:
    """The row of that name.

    Raises:
        UnknownName: there is none; lists the valid names.
    """
    try:
        return _TABLE[name]
    except KeyError:
        raise UnknownName.among("strategy", name, _TABLE) from None


def frozen_stages(row: Strategy, total: int, last: int) -> int:
    """How many stages, from the stem on, stay frozen, of a backbone with `total` stages (the head not counted).

    `last` is the number of stages that learn where the row says `last`; more than there are means all of them.
    """
    learning = {"head": 0, "last": min(last, total), "all": total}[row.learns]
    return total - learning


@dataclass(frozen=True)
class Choice:
    """The strategy that Graft proposes, and why, in one sentence for the user."""

    name: str
    reason: str
    longer: str | None
    """Name of a slower strategy that may do better; None where none is likely to."""
    longer_reason: str | None
    """What it may buy, a sentence; how long it would take is for `estimate`."""


def default_strategy(device: Literal["cpu", "cuda", "mps"], images: int) -> Choice:
    """What to propose for `images` training images on `device`: the fitted head on a CPU, by the number of images on a GPU."""
    tuned = "Letting the last stages adapt often gains a few points where the pictures look unlike everyday photos."
    if device == "cpu":
        return Choice(
            "feature_extraction",
            "On a processor, without a GPU, a fitted head on frozen features takes seconds.",
            "partial_fine_tuning",
            tuned,
        )
    if images < FEW_IMAGES_A_GPU:
        return Choice(
            "feature_extraction",
            f"With {images} pictures to learn from, a fitted head on frozen features is the safest choice.",
            "partial_fine_tuning",
            tuned,
        )
    if images < MANY_IMAGES_A_GPU:
        return Choice(
            "partial_fine_tuning",
            f"A GPU is here, and {images} pictures are enough for the last stages to adapt.",
            "full_fine_tuning",
            "Training the whole network may gain a little more; with this many pictures it can also lose a little.",
        )
    return Choice(
        "full_fine_tuning",
        f"A GPU is here, and {images} pictures are enough to train the whole network.",
        None,
        None,
    )
