"""The options of a training run: as they are asked for, what is wrong with them, and the spec that they come to.

One spelling for `tl_core.train`, the command line and the pages. Knows tables of rows; knows no job and no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Integral
from types import MappingProxyType
from typing import Any, Literal, TypeGuard, TypeVar, cast, get_args

from tl_core.data.cache import Cache
from tl_core.documents.questions import LearningRateSpec
from tl_core.documents.recipe import Recipe
from tl_core.documents.spec import Device, Solver, TrainSpec
from tl_core.errors import GraftError, SpecError, UnknownName
from tl_core.models.graphs.export import backbone_key
from tl_core.models.registry import DEFAULT_NETWORK, Network, WeightsRow, network
from tl_core.models.weights.obtain import require_obtainable
from tl_core.runs.process.devices import resolve_device
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.train.resolve import settled, with_strategy
from tl_core.training.strategies.strategies import AUTO, DEFAULT, Strategy, misfit, strategies, strategy

STAGES = 2
"""Last stages that learn, where nobody said how many."""
LARGEST_BATCH = 4096
_Found = TypeVar("_Found")
_PASSES, _LAST = "epochs", "stages"
_CHOSEN_BY: Mapping[str | None, Literal["default", "auto"]] = MappingProxyType({None: "default", AUTO: "auto"})
"""Strategies that are found where the run runs, and who chooses them."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What a user may choose of a run; None stands for Graft's own choice."""

    backbone: str = DEFAULT_NETWORK
    weights: str | None = None
    """None: the network's default set."""
    strategy: str | None = None
    """A row of the table, or `auto`; None: the default for the device and the number of pictures."""
    solver: str = "logistic"
    stages: int | None = None
    """Last stages that learn, for strategies that ask for a number."""
    epochs: int | None = None
    """None: the strategy's own."""
    image_size: int | None = None
    """Pixels; None: that of the weights."""
    seed: int = 0
    device: str = "auto"
    batch_size: int = 32
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `Recipe` in place of the strategy's own; None keeps those."""

    @property
    def changes(self) -> dict[str, Any]:
        """What was set of that which the strategy's row would say."""
        wanted = {**self.recipe, _PASSES: self.epochs, _LAST: self.stages}
        return {name: value for name, value in wanted.items() if value is not None}


def problems(
    options: TrainingOptions, *, find: Callable[[str], Network] = network, cache: Cache | None = None
) -> list[GraftError]:
    """Everything that is wrong with `options`, each as what it is.

    `find` gives a backbone's row or raises GraftError. With `cache`, pretrained weights that can be had nowhere are wrong, too.
    """
    found: list[GraftError] = []
    attempt(lambda: resolve_device(options.device), found)
    row = attempt(lambda: find(options.backbone), found)
    found += _out_of_range(options, len(row.stages) if row else None)
    weights: WeightsRow | None = None
    if row is not None:
        weights = attempt(lambda: row.weights_row(options.weights), found)
        if _whole(options.image_size) and 16 <= options.image_size <= 1024:
            found += _refused_sizes(row, options.image_size, (weights,) if weights else row.weights)
    chosen: Strategy | None = None
    if options.strategy not in (None, AUTO):
        chosen = attempt(lambda: _strategy(str(options.strategy)), found)
    if options.solver not in get_args(Solver):
        found.append(UnknownName.among("solver", options.solver, get_args(Solver)))
    elif chosen is not None and chosen.takes_steps and options.solver != "logistic":
        found.append(
            SpecError(
                f"The solver {options.solver} finds the head alone, and {chosen.name} trains more than the head. "
                "Leave the solver out, or choose feature_extraction."
            )
        )
    if row is not None and chosen is not None:
        stages = options.stages if _whole(options.stages) else STAGES
        reason = misfit(chosen, row, min(stages, len(row.stages)))
        found += [SpecError(reason)] if reason else []
    if cache is not None and row is not None and weights is not None and (chosen is None or chosen.pretrained):
        attempt(partial(_require_weights, row, weights, options, chosen, cache), found)
    attempt(lambda: Recipe().changed(options.recipe), found)
    return found


def check_training(options: TrainingOptions | None = None, **named: Any) -> None:
    """Find everything that is wrong with the options at once; `named` are fields of `TrainingOptions`.

    Raises:
        SpecError: with all problems; a problem that is alone is raised as what it is (UnknownName, DeviceError).
    """
    raise_all(problems(replace(options or TrainingOptions(), **named)))


def attempt(check: Callable[[], _Found], found: list[GraftError]) -> _Found | None:
    """What `check` gives, or None, with the reason added to `found`."""
    try:
        return check()
    except GraftError as error:
        found.append(error)
        return None


def raise_all(found: list[GraftError]) -> None:
    """Raise one error for all that were found, or none."""
    if len(found) == 1:
        raise found[0]
    if found:
        raise SpecError.of(problem.message for problem in found)


def spec_of(options: TrainingOptions, dataset: DatasetFolder, *, name: str | None = None) -> TrainSpec:
    """The spec of a run with `options` on `dataset`, which was read to the end, as it is submitted. `name`: display text.

    What depends on the machine that runs it (`resolve.settled`) is still as it was asked for.

    Raises:
        SpecError: options that are wrong, all at once.
    """
    check_training(options)
    spec = draft(options, dataset, name=name)
    return spec if options.strategy in _CHOSEN_BY else with_strategy(spec, spec.strategy)


def draft(options: TrainingOptions, dataset: DatasetFolder, *, name: str | None = None) -> TrainSpec:
    """The spec that `options` come to before its strategy is settled; they are not checked."""
    on = network(options.backbone)
    weights = on.weights_row(options.weights)
    return TrainSpec(
        name=" ".join((name or dataset.name).split())[:200] or "Untitled",
        workspace=dataset.path.parents[1].name,
        dataset=dataset.id,
        backbone=on.name,
        weights=weights.name,
        strategy=options.strategy or DEFAULT,
        chosen_by=_CHOSEN_BY.get(options.strategy, "user"),
        solver=_solver(options.solver),
        stages=min(options.stages or STAGES, len(on.stages)),
        image_size=options.image_size or weights.input_size,
        seed=options.seed,
        device=cast(Device, options.device),
        batch_size=options.batch_size,
        changes=options.changes,
    )


def require_row(options: TrainingOptions) -> None:
    """Raises SpecError where the strategy is `auto`, which has no recipe before a run has found what it stands for."""
    if options.strategy == AUTO:
        raise SpecError("A learning rate is found for one strategy: choose one in place of auto.")


def rate_question(options: TrainingOptions, dataset: DatasetFolder) -> LearningRateSpec:
    """What to ask to find a learning rate for a run with `options`; the head alone is then found by gradient steps.

    Raises:
        SpecError: options that are wrong, all at once; `auto`, which has no recipe yet.
    """
    require_row(options)
    spec = settled(spec_of(options, dataset), dataset)
    if not strategy(spec.strategy).takes_steps:
        spec = spec.model_copy(update={"solver": "adam"})
    return LearningRateSpec(train=spec)


def without_effect(spec: TrainSpec) -> list[str]:
    """Names of settings that the user changed and that play no part in this run, so that it can say so; none for `auto`."""
    if spec.strategy == AUTO:
        return []
    row = strategy(spec.strategy)
    idle = set() if row.parameters == "lora" else {"lora_rank"}
    if spec.recipe.optimizer != "sgd":
        idle.add("momentum")
    if row.learns == "one":
        idle.add("rate_decay")
    if row.learns != "last":
        idle.add(_LAST)
    if not row.takes_steps:
        idle |= {"stage_rate", "rate_decay", "cutmix", "augmentation", "views", "norm_learns"}
        if spec.solver == "logistic":
            idle |= {_PASSES, *Recipe.model_fields} - {"class_weights"}
    return [name for name in spec.changes if name in idle]


def _require_weights(
    row: Network, weights: WeightsRow, options: TrainingOptions, chosen: Strategy | None, cache: Cache
) -> None:
    """Raises WeightsUnavailable, unless the head alone is wanted and the backbone was exported before."""
    key = backbone_key(row, weights.name, options.image_size or weights.input_size)
    if (chosen is not None and chosen.takes_steps) or cache.get("backbones", key) is None:
        require_obtainable(row, weights.name)


def _strategy(name: str) -> Strategy:
    try:
        return strategies()[name]
    except KeyError:
        raise UnknownName.among("strategy", name, (*strategies(), AUTO)) from None


def _solver(name: str) -> Solver:
    return "adam" if name == "adam" else "logistic"


def _out_of_range(options: TrainingOptions, stages: int | None) -> list[GraftError]:
    of = f" of {options.backbone}" if stages else ""
    ranges = [
        (f"number of last stages{of}", options.stages, 1, stages or 1000),
        ("number of epochs", options.epochs, 1, 1000),
        ("image size", options.image_size, 16, 1024),
    ]
    wanted = [entry for entry in ranges if entry[1] is not None]
    wanted += [("seed", options.seed, 0, 2**32 - 1), ("batch size", options.batch_size, 1, LARGEST_BATCH)]
    return [
        SpecError(f"The {what} is {value}; it takes a whole number from {low} to {high}.")
        for what, value, low, high in wanted
        if not (_whole(value) and low <= value <= high)
    ]


def _whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number; a caller from Python may hand over anything."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def _refused_sizes(row: Network, image_size: int, sets: tuple[WeightsRow, ...]) -> list[GraftError]:
    """Why the network takes no such size with any of `sets`, once; empty where it does with one of them."""
    refused: list[GraftError] = []
    for known in sets:
        attempt(partial(row.check_image_size, image_size, known.name), refused)
    return refused[:1] if len(refused) == len(sets) else []
