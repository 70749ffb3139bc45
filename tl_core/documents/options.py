"""The options of a training run, one row each: name, type, range, default, title, help, and when it has an effect.

A row is a field of `RunOptions` or `Recipe` with an `Option` beside its type. The command line, the widgets of the Train
page, the messages about wrong values, the table in docs/command-line.md and the arguments of `tl_core.train` are made from these rows
(`OPTIONS`), the last two by `make options`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType, NoneType
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from tl_core.documents.base import Record
from tl_core.errors import SpecError, UnknownName
from tl_core.table import Table

DEFAULT_NETWORK = "efficientnet_lite0"
BATCH_SIZE = 32
STAGES = 2
"""Default number of last stages that learn; a network with fewer stages trains all of them."""

Solver = Literal["logistic", "adam"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Optimizer = Literal["adamw", "sgd"]
Schedule = Literal["cosine", "constant"]
Level = Literal["none", "light", "medium", "strong"]
Count = Annotated[int, Field(ge=1, le=1000)]
ImageSize = Annotated[int, Field(ge=16, le=1024)]
Rate = Annotated[float, Field(gt=0, le=10)]

Condition = Literal[
    "always", "head alone", "gradient steps", "trained stages", "last stages", "several stages", "LoRA", "AdamW", "SGD", "batch norm"
]  # fmt: skip
"""When an option has an effect; `runs.start.training_spec.conditions` says which conditions a run meets."""
OF_STRATEGY = "the strategy's own"


@dataclass(frozen=True, kw_only=True)
class Option:
    """One row. The attributes before `name` are written beside the type of a field; from `name` on, they are read from the field."""

    title: str
    """The label on the page."""
    help: str
    """One or two sentences for the command line, the page and docs/command-line.md."""
    when: Condition = "always"
    """The condition under which it has an effect."""
    noun: str = ""
    """What messages call it; empty: its name."""
    unset: str | None = None
    """What stands for None, in words; None where the field's default does."""
    words: Mapping[Any, str] | None = None
    """What the page calls each choice, where it does not call it by its name."""
    tiny: bool = False
    """Whether usual values are so small that they are written as 3e-4."""
    folded: bool = True
    """Whether the command line lists it under "Advanced"."""
    name: str = ""
    kind: type[bool] | type[int] | type[float] | type[str] = str
    default: bool | int | float | str | None = None
    choices: tuple[str, ...] = ()
    annotation: Any = None
    """The type with its range, without None."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Smallest and largest number, by `ge` and `le` if they belong to the range, by `gt` and `lt` if they do not."""

    def of(self, name: str, declared: FieldInfo) -> Self:
        """This row, completed from the pydantic field `declared`, which is called `name`."""
        optional = NoneType in get_args(declared.annotation)
        plain = FieldInfo.from_annotation(get_args(declared.annotation)[0]) if optional else declared
        kind: Any = plain.annotation
        choices: tuple[str, ...] = get_args(kind) if get_origin(kind) is Literal else ()
        limits = {
            key: getattr(each, key) for each in plain.metadata for key in ("ge", "gt", "le", "lt") if hasattr(each, key)
        }
        if kind in (int, float) and tuple(limits) not in _RANGES:
            raise ValueError(f"The option {name} needs a smallest and a largest value: {', '.join(map(str, _RANGES))}.")
        return replace(
            self,
            name=name,
            noun=self.noun or name.replace("_", " "),
            kind=str if choices else kind,
            default=None if self.unset else declared.default,
            choices=choices,
            limits=limits,
            annotation=Annotated[kind, self, *plain.metadata],
        )

    @property
    def takes(self) -> str:
        """Its values, in words."""
        if self.choices:
            return ", ".join(self.choices[:-1]) + f" or {self.choices[-1]}"
        span = _RANGES[tuple(self.limits)].format(*self.limits.values()) if self.limits else ""
        example = ", such as 3e-4" if self.tiny else ""
        return f"{_KINDS[self.kind]}{span}{example}"

    def read(self, value: Any) -> bool | int | float | str:
        """`value` as the option's type.

        Raises:
            UnknownName: it is none of the choices.
            SpecError: it is of another type or out of range.
        """
        if self.choices and value not in self.choices:
            raise UnknownName.among(self.noun, value, self.choices)
        try:
            # Python counts true as 1, and nobody means that. Fractions are typed as text on the page.
            strict = isinstance(value, bool) or (isinstance(value, str) and self.kind is not float)
            taken: bool | int | float | str = TypeAdapter(self.annotation).validate_python(value, strict=strict)
        except ValidationError:
            raise SpecError(f"The {self.noun} is {value}; it takes {self.takes}.") from None
        return taken


_KINDS: Mapping[type, str] = MappingProxyType(
    {bool: "true or false", int: "a whole number", float: "a number", str: "a name"}
)
_RANGES: Mapping[tuple[str, ...], str] = MappingProxyType(
    {
        ("ge", "le"): " from {} to {}",
        ("gt", "le"): " above {}, at most {}",
        ("ge", "lt"): " from {} to below {}",
    }
)
"""A range in words, by whether its ends belong to it."""


class RunOptions(Record):
    """The network, the strategy and how they are used; None stands for Graft's own choice."""

    backbone: Annotated[
        str,
        Option(
            title="Backbone",
            help="The pretrained network: a name that `backbones` lists, or that of any other network of timm.",
            folded=False,
        ),
    ] = DEFAULT_NETWORK
    weights: Annotated[
        str | None,
        Option(
            title="Weights",
            help="The backbone's set of pretrained weights.",
            unset="its default set",
            folded=False,
        ),
    ] = None
    strategy: Annotated[
        str | None,
        Option(
            title="Strategy",
            help="How much of the network to re-train: a name that `strategies` lists, or auto, which looks at the pictures first.",
            unset="by the device and the number of pictures",
            folded=False,
        ),
    ] = None
    stages: Annotated[
        Count | None,
        Option(
            title="Last stages that learn",
            help="How many of the last stages adapt; all before them stay frozen.",
            when="last stages",
            noun="number of last stages",
            unset=str(STAGES),
        ),
    ] = None
    solver: Annotated[
        Solver,
        Option(
            title="How the head is found",
            help="How the head alone is found: logistic fits it exactly, in seconds; adam takes gradient steps and shows learning curves.",
            when="head alone",
            words={"logistic": "fitted exactly (logistic)", "adam": "step by step (adam)"},
        ),
    ] = "logistic"
    epochs: Annotated[
        Count | None,
        Option(
            title="Epochs",
            help="Passes over the training pictures; each strategy has its own number.",
            when="gradient steps",
            noun="number of epochs",
            unset=OF_STRATEGY,
            folded=False,
        ),
    ] = None
    image_size: Annotated[
        ImageSize | None,
        Option(
            title="Image size, pixels",
            help="Side of the network's square input, in pixels; larger shows finer detail and takes longer.",
            unset="that of the weights",
        ),
    ] = None
    batch_size: Annotated[
        int,
        Field(ge=1, le=4096),
        Option(
            title="Pictures a step (batch)",
            help="Pictures in each step of the optimizer; more make each step steadier, and fewer steps.",
            when="gradient steps",
        ),
    ] = BATCH_SIZE
    seed: Annotated[
        int,
        Field(ge=0, le=2**32 - 1),
        Option(
            title="Seed",
            help="The same seed gives the same split. On the same processor, with the same versions and number of threads, it also gives the same result; on a GPU, results may differ slightly.",
        ),
    ] = 0
    device: Annotated[
        Device,
        Option(
            title="Device",
            help="Where to train; auto takes the fastest device that is here.",
            folded=False,
        ),
    ] = "auto"


class Recipe(Record):
    """How gradient steps are taken: optimizer, rates, schedule, what is done to pictures and labels. Each strategy has its own."""

    optimizer: Annotated[
        Optimizer,
        Option(
            title="Optimizer",
            help="AdamW (arXiv 1711.05101) adapts its step to each weight; SGD takes the plain gradient and wants larger rates.",
            when="gradient steps",
            words={"adamw": "AdamW", "sgd": "SGD with momentum"},
        ),
    ] = "adamw"
    learning_rate: Annotated[
        Rate,
        Option(
            title="Learning rate of the head",
            help="Learning rate of the head at its peak: too large, and the loss jumps; too small, and it hardly falls. The command find-rate, or the button Find a learning rate, suggests one.",
            when="gradient steps",
            tiny=True,
        ),
    ] = 3e-3
    stage_rate: Annotated[
        Rate,
        Option(
            title="Learning rate of the last stage",
            help="Learning rate, at its peak, of the last stage that learns; usually smaller than the head's.",
            when="trained stages",
            noun="learning rate of the stages",
            tiny=True,
        ),
    ] = 3e-4
    rate_decay: Annotated[
        float,
        Field(gt=0, le=1),
        Option(
            title="Rate from stage to stage",
            help="Factor of the learning rate from a stage to the one before it, towards the stem; 1 means all alike.",
            when="several stages",
            noun="decay of the learning rate from stage to stage",
        ),
    ] = 1.0
    momentum: Annotated[
        float,
        Field(ge=0, lt=1),
        Option(
            title="Momentum",
            help="Share of the last step that is kept in the next one, with SGD.",
            when="SGD",
        ),
    ] = 0.9
    weight_decay: Annotated[
        float,
        Field(ge=0, le=1),
        Option(
            title="Pull towards zero (weight decay)",
            help="How strongly weights are pulled towards zero, against overfitting; biases and norm layers are left alone.",
            when="gradient steps",
            tiny=True,
        ),
    ] = 1e-2
    schedule: Annotated[
        Schedule,
        Option(
            title="Schedule",
            help="What the learning rate does after the warm-up: fall in half a cosine down to almost nothing, or stay constant.",
            when="gradient steps",
            words={"cosine": "falls in a cosine", "constant": "stays the same"},
        ),
    ] = "cosine"
    warm_up: Annotated[
        float,
        Field(ge=0, lt=1),
        Option(
            title="Warm-up, share of all steps",
            help="Share of all steps in which the learning rate rises, so that the first ones do not spoil what is there.",
            when="gradient steps",
        ),
    ] = 0.1
    label_smoothing: Annotated[
        float,
        Field(ge=0, le=0.5),
        Option(
            title="Label smoothing",
            help="Share of certainty taken from each label, which helps where some labels are wrong.",
            when="gradient steps",
        ),
    ] = 0.0
    mixup: Annotated[
        float,
        Field(ge=0, le=10),
        Option(
            title="Mixup",
            help="Blends pairs of pictures and their labels (arXiv 1710.09412). The alpha of mixup: 0.2 is usual, 0 is off.",
            when="gradient steps",
        ),
    ] = 0.0
    cutmix: Annotated[
        float,
        Field(ge=0, le=10),
        Option(
            title="CutMix",
            help=(
                "Pastes a piece of one picture into another, and of its label (arXiv 1905.04899). The alpha of CutMix: 1 is "
                "usual, 0 is off. Beside mixup, each batch takes one of the two at random."
            ),
            when="trained stages",
        ),
    ] = 0.0
    ema: Annotated[
        float,
        Field(ge=0, lt=1),
        Option(
            title="Averaged weights (EMA)",
            help="Judges and keeps a moving average of the weights in place of the last step's. Its decay a step: 0.99 is usual, 0 is off.",
            when="gradient steps",
            noun="decay of the moving average (EMA)",
        ),
    ] = 0.0
    patience: Annotated[
        int,
        Field(ge=0, le=1000),
        Option(
            title="Stop early after",
            help="Epochs without a better loss on the pictures to choose by (validation) after which training stops; 0 is never.",
            when="gradient steps",
        ),
    ] = 0
    clip: Annotated[
        float,
        Field(ge=0, le=1000),
        Option(
            title="Clip gradients at",
            help="Norm to which longer gradients are cut, so that one odd batch cannot do harm; 0 is off.",
            when="gradient steps",
            noun="norm for clipping",
        ),
    ] = 1.0
    class_weights: Annotated[
        bool,
        Option(
            title="Rare classes count as much as common ones",
            help="Weights each class in the loss by how rare it is, for classes with very different numbers of pictures.",
        ),
    ] = False
    norm_learns: Annotated[
        bool,
        Option(
            title="Batch norm",
            help=(
                "Whether batch norm of the stages that learn follows the pictures; keeping its statistics is steadier with few "
                "pictures. Frozen stages always keep theirs."
            ),
            when="batch norm",
            words={True: "follows my pictures", False: "stays as it was trained"},
        ),
    ] = True
    augmentation: Annotated[
        Level,
        Option(
            title="Level",
            help="How far each picture is changed at random every time, so that the network learns the thing and not the photo.",
            when="trained stages",
        ),
    ] = "none"
    views: Annotated[
        int,
        Field(ge=1, le=16),
        Option(
            title="Views of each picture",
            help="Changed copies of each picture that are drawn once and kept where stages are frozen; the whole network sees new ones.",
            when="trained stages",
            noun="number of views",
        ),
    ] = 4
    lora_rank: Annotated[
        int,
        Field(ge=1, le=256),
        Option(
            title="Rank of the updates",
            help="Rank of the low-rank updates (arXiv 2106.09685), which is how much each can express; 4 to 16 is usual.",
            when="LoRA",
            noun="rank of the low-rank updates",
        ),
    ] = 8

    def changed(self, values: Mapping[str, Any]) -> Self:
        """This recipe with `values` in place of its own; None keeps its own.

        Raises:
            SpecError: unknown names and values out of range, all of them at once.
        """
        right, wrong = read(values, Recipe.model_fields)
        if wrong:
            raise SpecError.of(problem.message for problem in wrong)
        return self.model_copy(update=right)


class TrainingOptions(RunOptions):
    """What a user asks for of a run."""

    recipe: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Settings of `Recipe` in place of the strategy's own."""

    @classmethod
    def read(cls, named: Mapping[str, Any]) -> tuple[Self, list[SpecError]]:
        """The options in `named`, by the names in `OPTIONS`, and what is wrong with those that cannot be used."""
        right, wrong = read(named)
        recipe = {name: right.pop(name) for name in Recipe.model_fields if name in right}
        return cls(**right, recipe=recipe), wrong

    @property
    def changes(self) -> dict[str, bool | int | float | str]:
        """The values that the user set of options for which each strategy has its own."""
        wanted = {**self.recipe, "epochs": self.epochs, "stages": self.stages}
        return {name: value for name, value in wanted.items() if value is not None}


def read(
    named: Mapping[str, Any], names: Iterable[str] | None = None
) -> tuple[dict[str, bool | int | float | str], list[SpecError]]:
    """The values in `named` that can be used, by the name of their option, and what is wrong with the others.

    None leaves an option alone where None has a meaning; elsewhere it is wrong. `names`: the options that are allowed; None: all.
    """
    allowed = list(OPTIONS if names is None else names)
    right: dict[str, bool | int | float | str] = {}
    wrong: list[SpecError] = []
    for name, value in named.items():
        try:
            if name not in allowed:
                raise UnknownName.among("option", name, allowed)
            if value is not None or OPTIONS[name].default is not None:
                right[name] = OPTIONS[name].read(value)
        except SpecError as error:
            wrong.append(error)
    return right, wrong


def _rows() -> Iterator[Option]:
    for model, unset in ((RunOptions, None), (Recipe, OF_STRATEGY)):
        for name, declared in model.model_fields.items():
            (row,) = (beside for beside in declared.metadata if isinstance(beside, Option))
            yield replace(row, unset=row.unset or unset).of(name, declared)


OPTIONS = Table("option", _rows())
"""Every option of a run by its name."""
