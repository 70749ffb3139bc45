"""The table of transfer-learning strategies: what learns, how fast, from which head, with how much augmentation. No torch.

What a strategy does is read from the fields of its row and never decided by its name, so a new strategy is a new
row in `_ROWS`. A run's `Setup` is its spec with the rows that the spec names; what comes after the options reads it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, Self, get_args

from tl_core.documents.options import Recipe
from tl_core.documents.spec import TrainSpec
from tl_core.models.families.family import held
from tl_core.models.registry import Network, WeightsRow, network
from tl_core.table import Table, covering

Learns = Literal["head", "last", "one", "all"]
HeadStart = Literal["fitted", "new"]
Shape = tuple[int, ...]

WITHOUT_BATCH_NORM = 0.1
"""Factor of the stages' learning rates in networks without batch norm: published recipes fine-tune vision transformers and
ConvNeXt with AdamW at 1e-5 to 1e-4, and EfficientNets at 1e-3."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What learns in the stages that do."""

    name: str
    words: str
    """The words before a list of the library's modules, which hold what learns."""
    learns: Callable[[str, Shape], bool]
    """Whether a parameter learns, by its name in the library's network and its shape."""
    few: bool = False
    """Whether these are few of a stage's parameters."""
    low_rank: bool = False
    """Whether they are low-rank updates, which training adds to the weights of linear layers."""


ALL = Parameters(name="all", words="the parameters of these modules", learns=lambda name, shape: True)
BIASES_AND_NORMS = Parameters(
    name="bias_and_norm",
    words="the biases and norm layers of these modules, and the whole head",
    # Of weights, only those of norm layers have one dimension.
    learns=lambda name, shape: name.endswith("bias") or (name.endswith("weight") and len(shape) == 1),
    few=True,
)
LOW_RANK = Parameters(
    name="lora",
    words="low-rank updates of the linear layers of these modules, and the whole head",
    learns=lambda name, shape: name.endswith((".0.down", ".0.up")),
    few=True,
    low_rank=True,
)


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One way to reuse a pretrained backbone."""

    name: str
    title: str
    description: str
    """What it does in plain words, then the field's term."""
    learns: Learns
    """Stages that learn besides the head. `head`: none; `last`: the last N; `one`: the one with the largest gradient relative to its
    weights; `all`."""
    parameters: Parameters = ALL
    pretrained: bool = True
    """Whether the backbone starts from pretrained weights, else from random ones."""
    thaws: bool = False
    """Whether the head learns alone at first and the stages join one by one, the last one first."""
    head_start: HeadStart
    """`fitted`: from the logistic head on frozen features; `new`: from random weights."""
    epochs: int = 0
    """Default number of passes over the training images; 0 for the fitted head."""
    recipe: Recipe = field(default_factory=Recipe)
    """How gradient steps are taken unless the user chooses otherwise."""

    @property
    def takes_steps(self) -> bool:
        """Whether stages are trained by gradient steps; other strategies find the head alone."""
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
        epochs=30,
        recipe=Recipe(learning_rate=1e-3),
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
        epochs=6,
        recipe=Recipe(learning_rate=1e-4, stage_rate=1e-4, norm_learns=False),
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
        epochs=6,
        recipe=Recipe(learning_rate=3e-3, stage_rate=1e-3, augmentation="light"),
    ),
    Strategy(
        name="lp_ft",
        title="Fitted head, then whole network",
        description=(
            "Fits the last layer first and then trains the whole network from there, so that a random head does not spoil "
            "what the network knows (LP-FT, arXiv 2202.10054)."
        ),
        learns="all",
        head_start="fitted",
        epochs=5,
        recipe=Recipe(learning_rate=3e-4, stage_rate=3e-4, augmentation="light", norm_learns=False),
    ),
    Strategy(
        name="discriminative_lr",
        title="Whole network, slower towards the stem",
        description=(
            "Trains everything, each stage slower than the one after it, because early layers hold what all pictures share "
            "(discriminative learning rates, arXiv 1801.06146)."
        ),
        learns="all",
        head_start="fitted",
        epochs=5,
        recipe=Recipe(learning_rate=5e-4, stage_rate=5e-4, rate_decay=0.7, augmentation="light", norm_learns=False),
    ),
    Strategy(
        name="gradual_unfreezing",
        title="Stage by stage",
        description=(
            "Trains the last layer first and lets the stages join one by one, the last one first "
            "(gradual unfreezing, arXiv 1801.06146)."
        ),
        learns="all",
        thaws=True,
        head_start="fitted",
        epochs=8,
        recipe=Recipe(learning_rate=3e-4, stage_rate=3e-4, rate_decay=0.8, norm_learns=False),
    ),
    Strategy(
        name="surgical",
        title="The one stage that needs it",
        description=(
            "Looks which stage your pictures pull at hardest and trains that one and the last layer "
            "(surgical fine-tuning, arXiv 2210.11466)."
        ),
        learns="one",
        head_start="fitted",
        epochs=6,
        recipe=Recipe(learning_rate=1e-4, stage_rate=3e-4, norm_learns=False),
    ),
    Strategy(
        name="bias_and_norm",
        title="Biases and norms",
        description=(
            "Trains only biases and normalisation layers, about one parameter in a hundred, next to the last layer "
            "(BitFit, arXiv 2106.10199)."
        ),
        learns="all",
        parameters=BIASES_AND_NORMS,
        head_start="fitted",
        epochs=5,
        recipe=Recipe(learning_rate=1e-3, stage_rate=1e-3, weight_decay=0.0, norm_learns=False),
    ),
    Strategy(
        name="lora",
        title="Low-rank updates",
        description=(
            "Adds small low-rank updates to the linear layers of a transformer and trains those alone "
            "(LoRA, arXiv 2106.09685). For transformers."
        ),
        learns="all",
        parameters=LOW_RANK,
        head_start="fitted",
        epochs=6,
        recipe=Recipe(learning_rate=1e-3, stage_rate=1e-3, weight_decay=0.0),
    ),
    Strategy(
        name="from_scratch",
        title="From scratch",
        description=(
            "Starts from random weights, to see what the pretrained ones are worth. It takes long and wants many thousands "
            "of pictures."
        ),
        learns="all",
        pretrained=False,
        head_start="new",
        epochs=8,
        recipe=Recipe(learning_rate=2e-3, stage_rate=2e-3, weight_decay=0.05, augmentation="medium"),
    ),
)

DEFAULT = "default"
"""Stands for the strategy that `advice.default_strategy` names for the device of the run and its number of pictures."""
AUTO = "auto"
"""Stands for the strategy that the rule of `strategies.advice` takes after it has looked at the pictures."""
HEAD_ONLY, LAST_STAGES, WHOLE_NETWORK = "feature_extraction", "partial_fine_tuning", "full_fine_tuning"
"""The strategies that are proposed without looking at the pictures. The first one fits every backbone."""


_TABLE = Table("strategy", _ROWS)
if not _TABLE.keys() >= {HEAD_ONLY, LAST_STAGES, WHOLE_NETWORK}:
    raise ValueError("A strategy that is proposed is not in the table.")


_LEARNING: Mapping[Learns, Callable[[int, int], range]] = covering(
    "choices of stages that learn",
    get_args(Learns),
    {
        "head": lambda total, last: range(total, total),
        "last": lambda total, last: range(max(0, total - last), total),
        "one": lambda total, last: range(total),
        "all": lambda total, last: range(total),
    },
)
"""The stages that may learn, of `total`; `last`: how many the user asked for."""


def strategies() -> Mapping[str, Strategy]:
    """All strategies by name, the quickest first."""
    return MappingProxyType(_TABLE)


def strategy(name: str) -> Strategy:
    """The strategy called `name`.

    Raises:
        UnknownName: there is no such strategy; the message lists the valid names.
    """
    return _TABLE.named(name)


def tuned(strategy: Strategy, network: Network) -> Strategy:
    """`strategy` with the recipe for `network`: without batch norm, whole stages learn at a smaller rate."""
    if network.layout.batch_norm or not strategy.takes_steps or strategy.parameters.few:
        return strategy
    rate = strategy.recipe.stage_rate * WITHOUT_BATCH_NORM
    return replace(strategy, recipe=strategy.recipe.changed({"stage_rate": rate}))


def continued(strategy: Strategy) -> Strategy:
    """`strategy` for a run that trains on from what another one delivered: all its stages learn at once, and no head is fitted first."""
    return replace(strategy, thaws=False, head_start="new")


def frozen_stages(strategy: Strategy, total: int, last: int) -> int:
    """How many of `total` stages, from the stem up, are frozen when training starts; the head is not counted.

    0 for a strategy that has yet to find its one stage. `last` is the number of stages that learn where `strategy.learns` is
    `last`; a number above `total` means all.
    """
    return total if strategy.thaws else min(_LEARNING[strategy.learns](total, last), default=total)


def stage_rates(
    strategy: Strategy,
    total: int,
    last: int,
    *,
    recipe: Recipe | None = None,
    learning: Collection[int] | None = None,
) -> tuple[float | None, ...]:
    """The peak learning rate of each of `total` stages from the stem up; None where a stage never learns.

    The last stage that learns has the recipe's `stage_rate`, each stage below it `rate_decay` times the rate of the one above.
    `recipe` None: the strategy's own. `learning`: the stages that were found to learn, for a strategy that trains one stage;
    without it, all may learn.
    """
    used = recipe or strategy.recipe
    stages: Collection[int] = _LEARNING[strategy.learns](total, last)
    if strategy.learns == "one" and learning is not None:
        stages = learning
    top = max(stages, default=0)
    return tuple(
        used.stage_rate * used.rate_decay ** (top - stage) if stage in stages else None for stage in range(total)
    )


def misfit(strategy: Strategy, network: Network, stages: int) -> str | None:
    """Why `strategy` does not fit `network`, a sentence for the user; None where it fits.

    `stages` is the number of last stages that shall learn, where the strategy asks for one.
    """
    total, named = len(network.stages), f"{strategy.title} ({strategy.name})"
    if strategy.parameters.low_rank and not network.layout.transformer:
        return f"{named} needs a transformer, as ViT or Swin, and {network.name} is none. Choose another."
    if (strategy.learns == "one" or strategy.thaws) and total < 2:
        return f"{named} works stage by stage, and {network.name} is seen as one. Choose another."
    if strategy.learns == "last" and stages > total:
        return f"The number of stages is {stages}, and {network.name} has {total}. Choose 1 to {total}."
    return None


def learning_paths(
    network: Network, strategy: Strategy, stages: int, learning: Collection[int] | None = None
) -> list[str]:
    """Paths of the library's modules, and of parameters outside them, that may learn, from the stem up, the head last.

    `stages`: how many last ones, where the strategy asks; `learning` as for `stage_rates`. Modules without parameters are among them.
    """
    rates = stage_rates(strategy, len(network.stages), stages, learning=learning)
    trained = [stage for stage, rate in zip(network.layout.stages, rates, strict=True) if rate is not None]
    tail = network.layout.tail if rates[-1] is not None and not strategy.parameters.low_rank else ()
    paths = [*(path for stage in trained for path in stage.modules), *tail]
    return [*(parameter for path in paths for parameter in held(path)), network.head]


def learning_parameters(
    network: Network,
    strategy: Strategy,
    stages: int,
    shapes: Mapping[str, Shape],
    *,
    classes: int,
    rank: int,
    learning: Collection[int] | None = None,
) -> dict[str, Shape]:
    """Names and shapes of the parameters that may learn, in the library's network with a head for `classes` classes.

    `shapes` are those of all parameters, with or without the head; `rank` is that of low-rank updates (LoRA); `learning` as for
    `stage_rates`. `what_learns` finds the same in a network that was built.
    """
    *paths, head = learning_paths(network, strategy, stages, learning)
    if strategy.parameters.low_rank:
        shapes = _updates(shapes, rank)
    below = {
        name: shape
        for path in paths
        for name, shape in shapes.items()
        if (name == path or name.startswith(f"{path}.")) and strategy.parameters.learns(name, shape)
    }
    return {**below, f"{head}.weight": (classes, network.embedding_size), f"{head}.bias": (classes,)}


def _updates(shapes: Mapping[str, Shape], rank: int) -> dict[str, Shape]:
    """The low-rank updates that training adds to a network whose parameters have these `shapes`."""
    added: dict[str, Shape] = {}
    for name, shape in shapes.items():
        # Of weights, only those of linear layers have two dimensions.
        if name.endswith("weight") and len(shape) == 2:
            module, _, weight = name.rpartition(".")
            used = min(rank, *shape)
            added[f"{module}.parametrizations.{weight}.0.down"] = (used, shape[1])
            added[f"{module}.parametrizations.{weight}.0.up"] = (shape[0], used)
    return added


@dataclass(frozen=True)
class Setup:
    """The spec of a run with the rows that it names, which are looked up once."""

    spec: TrainSpec
    network: Network
    row: Strategy | None
    """The strategy's row; None while it is open which one that is (`default`, `auto`)."""

    @classmethod
    def of(cls, spec: TrainSpec) -> Self:
        """Raises UnknownName: the spec names a network or strategy that is in no table."""
        row = None if spec.strategy in (AUTO, DEFAULT) else strategy(spec.strategy)
        return cls(spec, network(spec.backbone), continued(row) if row and spec.continues else row)

    @property
    def strategy(self) -> Strategy:
        """Raises UnknownName while it is open."""
        return self.row or strategy(self.spec.strategy)

    @property
    def weights(self) -> WeightsRow:
        """The set of weights; where training starts from random weights, it still says how pictures are prepared."""
        return self.network.weights_row(self.spec.weights)

    def changed(self, **values: object) -> Self:
        """This setup with `values` in its spec; the network and the strategy are no such values."""
        return replace(self, spec=self.spec.model_copy(update=values))

    def trained_as(self, chosen: str, *, reason: str | None = None) -> Self:
        """This setup with the strategy called `chosen`: its epochs and recipe, with what the user changed. `reason`: why this one.

        Whether it fits the network is not checked (`misfit`). Raises UnknownName.
        """
        row = tuned(strategy(chosen), self.network)
        wanted = {name: value for name, value in self.spec.changes.items() if name != "stages"}
        epochs = int(wanted.pop("epochs", None) or row.epochs or 1)
        values = {"strategy": row.name, "reason": reason, "epochs": epochs, "recipe": row.recipe.changed(wanted)}
        return self.of(self.spec.model_copy(update=values))
