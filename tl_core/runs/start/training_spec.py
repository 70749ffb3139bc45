"""From the options that a user asks for to the spec of a run: what is wrong with them together, and what they come to."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args

from tl_core.data.cache import Cache
from tl_core.documents.options import OPTIONS, STAGES, Condition, TrainingOptions
from tl_core.documents.spec import TrainSpec
from tl_core.documents.tasks import FindRateSpec
from tl_core.errors import GraftError, SpecError, UnknownName
from tl_core.models.graphs.export import backbone_key
from tl_core.models.registry import Network, WeightsRow, network
from tl_core.models.weights.obtain import require_obtainable
from tl_core.runs.process.devices import expected_device
from tl_core.runs.process.executor import known_device
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.train.plan import settled
from tl_core.table import covering
from tl_core.training.strategies.strategies import AUTO, DEFAULT, HEAD_ONLY, Setup, Strategy, misfit, strategies

_Found = TypeVar("_Found")
_CHOSEN_BY: Mapping[str | None, Literal["default", "auto"]] = MappingProxyType({None: "default", AUTO: "auto"})
"""Strategies that are found where the run runs, and who chooses them."""


def problems(
    options: TrainingOptions, *, find: Callable[[str], Network] = network, cache: Cache | None = None
) -> list[GraftError]:
    """Everything that is wrong with the combination of `options`, or with using them on this machine; ranges were checked before.

    `find` gives a backbone's row or raises GraftError. With `cache`, pretrained weights that can be had nowhere are wrong, too.
    """
    wrong: list[GraftError] = []
    attempt(lambda: known_device(options.device), wrong)
    backbone = attempt(lambda: find(options.backbone), wrong)
    chosen = strategies().get(options.strategy or AUTO)
    if chosen is None and options.strategy not in (None, AUTO):
        wrong.append(UnknownName.among("strategy", options.strategy, (*strategies(), AUTO)))
    elif chosen is not None and chosen.takes_steps and options.solver != "logistic":
        wrong.append(
            SpecError(
                f"The solver {options.solver} finds the head alone, and {chosen.name} trains more than the head. "
                f"Leave the solver out, or choose {HEAD_ONLY}."
            )
        )
    if backbone is None:
        return wrong
    total = len(backbone.stages)
    if options.stages is not None and options.stages > total:
        wrong.append(
            SpecError(
                f"The number of last stages of {backbone.name} is {options.stages}; it takes a whole number from 1 to {total}."
            )
        )
    elif chosen is not None:
        reason = misfit(chosen, backbone, min(options.stages or STAGES, total))
        wrong += [SpecError(reason)] if reason else []
    weights = attempt(lambda: backbone.weights_row(options.weights), wrong)
    if options.image_size is not None:
        wrong += _refused_sizes(backbone, options.image_size, (weights,) if weights else backbone.weights)
    if cache is not None and weights is not None and (chosen is None or chosen.pretrained):
        attempt(partial(_require_weights, backbone, weights, options, chosen, cache), wrong)
    return wrong


def training_options(named: Mapping[str, Any]) -> TrainingOptions:
    """The options in `named`, by the names of the command line.

    Raises:
        SpecError: with everything that is wrong; a problem that is alone is raised as what it is (UnknownName, DeviceError).
    """
    options, wrong = TrainingOptions.read(named)
    raise_all([*wrong, *problems(options)])
    return options


def attempt(check: Callable[[], _Found], wrong: list[GraftError]) -> _Found | None:
    """What `check` gives, or None, with the reason added to `found`."""
    try:
        return check()
    except GraftError as error:
        wrong.append(error)
        return None


def raise_all(wrong: list[GraftError]) -> None:
    """Raise one error for all that were found, or none."""
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise SpecError.of(problem.message for problem in wrong)


def setup_of(options: TrainingOptions, dataset: DatasetFolder, *, name: str | None = None) -> Setup:
    """What a run with `options` on `dataset`, which was read to the end, is set up with, as it is submitted. `name`: display text.

    The options were checked (`problems`). What depends on the machine that runs it (`settled`) is still as it was asked for.
    """
    backbone = network(options.backbone)
    weights = backbone.weights_row(options.weights)
    spec = TrainSpec.model_validate(
        {
            **options.model_dump(exclude={"recipe"}, exclude_none=True),
            "name": " ".join((name or dataset.name).split())[:200] or "Untitled",
            "workspace": dataset.workspace_folder.name,
            "dataset": dataset.id,
            "version": dataset.number,
            "weights": weights.name,
            "strategy": options.strategy or DEFAULT,
            "chosen_by": _CHOSEN_BY.get(options.strategy, "user"),
            "stages": min(options.stages or STAGES, len(backbone.stages)),
            "image_size": options.image_size or weights.input_size,
            "changes": options.changes,
        }
    )
    setup = Setup.of(spec)
    return setup if setup.row is None else setup.trained_as(spec.strategy)


def require_strategy(options: TrainingOptions) -> None:
    """Raises SpecError where the strategy is `auto`, which has no recipe before a run has found what it stands for."""
    if options.strategy == AUTO:
        raise SpecError("A learning rate is found for one strategy: choose one in place of auto.")


def rate_task(options: TrainingOptions, dataset: DatasetFolder) -> FindRateSpec:
    """What to ask to find a learning rate for a run with `options`; the head alone is then found by gradient steps.

    The options were checked (`problems`). The strategy that the default stands for is settled here, because the answer is one
    for that strategy; where jobs run elsewhere and the device is `auto`, it is the strategy of this machine's device.

    Raises:
        SpecError: `auto`, which has no recipe yet.
        DeviceError: the device is not on this machine, on which jobs run.
    """
    require_strategy(options)
    device = known_device(options.device)
    setup = settled(setup_of(options, dataset), dataset, device=expected_device(device))
    solver = setup.spec.solver if setup.strategy.takes_steps else "adam"
    return FindRateSpec(train=setup.changed(solver=solver, device=device).spec)


def without_effect(setup: Setup) -> list[str]:
    """Names of options that the user set and that have no effect on this run, so that it can say so; none for `auto`."""
    if setup.row is None:
        return []
    spec = setup.spec
    met = conditions(setup.row, setup.network, solver=spec.solver, optimizer=spec.recipe.optimizer)
    return [name for name in spec.changes if OPTIONS[name].when not in met]


def conditions(chosen: Strategy, backbone: Network, *, solver: str, optimizer: str) -> frozenset[Condition]:
    """The conditions that a run meets; an option has an effect on it only if the option's own condition is among them."""
    steps = chosen.takes_steps or solver == "adam"
    holds: Mapping[Condition, bool] = {
        "always": True,
        "head alone": not chosen.takes_steps,
        "gradient steps": steps,
        "trained stages": chosen.takes_steps,
        "last stages": chosen.learns == "last",
        "several stages": chosen.takes_steps and chosen.learns != "one",
        "LoRA": chosen.parameters.low_rank,
        "AdamW": steps and optimizer == "adamw",
        "SGD": steps and optimizer == "sgd",
        "batch norm": chosen.takes_steps and backbone.layout.batch_norm,
    }
    return frozenset(condition for condition, met in covering("conditions", get_args(Condition), holds).items() if met)


def unchanged(chosen: Strategy, backbone: Network, weights: str) -> dict[str, Any]:
    """The value of each option where the user leaves it alone, with the strategy `chosen` on `backbone`."""
    of_the_row = {
        "stages": min(STAGES, len(backbone.stages)),
        "epochs": chosen.epochs,
        "image_size": backbone.weights_row(weights).input_size,
    }
    return {**{name: option.default for name, option in OPTIONS.items()}, **of_the_row, **chosen.recipe.model_dump()}


def _require_weights(
    backbone: Network, weights: WeightsRow, options: TrainingOptions, chosen: Strategy | None, cache: Cache
) -> None:
    """Raises WeightsUnavailable, unless the head alone is wanted and the backbone was exported before."""
    key = backbone_key(backbone, weights.name, options.image_size or weights.input_size)
    if (chosen is not None and chosen.takes_steps) or cache.get("backbones", key) is None:
        require_obtainable(backbone, weights.name)


def _refused_sizes(backbone: Network, image_size: int, sets: tuple[WeightsRow, ...]) -> list[GraftError]:
    """The first reason, if the network refuses the size with each of `sets`; else empty."""
    refused: list[GraftError] = []
    for weights in sets:
        attempt(partial(backbone.check_image_size, image_size, weights.name), refused)
    return refused[:1] if len(refused) == len(sets) else []
