"""Starts a race: several runs on one split, which one worker trains one after the other within a time budget."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from tl_core import settings
from tl_core.data.split import assign, group_keys
from tl_core.documents.events import Outlook
from tl_core.documents.options import DEFAULT_NETWORK, TrainingOptions
from tl_core.documents.spec import Contestant, RaceSpec, TrainSpec
from tl_core.errors import GraftError, LimitReached, SpecError
from tl_core.runs.start.jobs import submit
from tl_core.runs.start.training_spec import attempt, raise_all, setup_of, training_options
from tl_core.runs.store.budgets import expected_bytes
from tl_core.runs.store.folders import DatasetFolder, RaceFolder
from tl_core.runs.store.job_folder import identifier, make
from tl_core.runs.store.store import Workspace
from tl_core.runs.train.plan import outlook
from tl_core.wording import duration

STRATEGIES = ("feature_extraction", "partial_fine_tuning", "bias_and_norm", "lp_ft", "full_fine_tuning")
"""The strategies of a race that names neither strategies nor backbones. They fit every backbone of two stages and more, and differ
most: the head alone, the last stages, few parameters of all stages, and the whole network from a fitted and from a new head."""
BUDGET = 600.0
"""Seconds of a race that names no budget."""
MOST = 20
"""Most runs of one race."""
_OF_A_JOB = 0.9
"""Share of the time that one job may take here, which a race may plan with; the rest is for writing what its last run learned."""


def named(options: Mapping[str, Any], strategies: Sequence[str], backbones: Sequence[str]) -> list[dict[str, Any]]:
    """The options of each run of a race, by their names: each of `strategies` on each of `backbones`, with `options` beside.

    Without strategies, several backbones run with the strategy that a single run would have, and one backbone, or none, with `STRATEGIES`.

    Raises:
        SpecError: fewer than two runs, or more than `MOST`.
    """
    networks = list(dict.fromkeys(backbones)) or [DEFAULT_NETWORK]
    ways: list[str | None] = list(dict.fromkeys(strategies))
    if not ways:
        ways = [None] if len(networks) > 1 else list(STRATEGIES)
    runs = [{**options, "backbone": backbone, "strategy": way} for backbone, way in product(networks, ways)]
    if not 2 <= len(runs) <= MOST:
        raise SpecError(
            f"A race is of 2 to {MOST} runs, and this would be {len(runs)}. Name strategies, backbones, or several of both."
        )
    return runs


def require_budget(seconds: float) -> float:
    """`seconds`, the budget of a race.

    Raises:
        SpecError: it is not positive, or longer than a job may work here.
    """
    most = most_seconds()
    if not 0 < seconds <= most:
        limit = "" if most == float("inf") else f" and at most {duration(most)}, since one job may not work longer here"
        raise SpecError(f"The budget of a race is {duration(seconds)}; it takes more than none{limit}.")
    return seconds


def most_seconds() -> float:
    """The longest budget of a race on this server, seconds; infinite where the operator sets no limit."""
    return _OF_A_JOB * settings.current().job_hours * 3600 or float("inf")


def submit_race(
    workspace: Workspace,
    dataset: DatasetFolder,
    *,
    strategies: Sequence[str] = (),
    backbones: Sequence[str] = (),
    budget: float = BUDGET,
    name: str | None = None,
    key: str | None = None,
    **options: Any,
) -> RaceFolder:
    """Start a race on the current version of `dataset`; `options` are those of every run, by the names of the command line.

    Its runs lie in the workspace from the start, as runs that wait. `strategies` and `backbones`: see `named`; `budget`: seconds from the
    turn of the race on. `name`: display text. A second call with the same `key` finds the race of the first.

    Raises:
        SpecError: with all problems of the options; classes that nothing can be trained on; a budget that cannot be had.
        LimitReached, OverBudget, DiskFull: as for `jobs.submit`; also where a run needs far more memory than one job may have.
    """
    from tl_core.data.checks import require_trainable

    asked = contestants(options, strategies, backbones)
    require_budget(budget)
    dataset.require_read()
    dataset = dataset.at(dataset.number)
    manifest = dataset.manifest()
    require_trainable(manifest)
    specs = [setup_of(each, dataset, name=name).spec for each in asked]
    outlooks = [_outlook(spec, dataset) for spec in specs]
    ids = [identifier(None if key is None else f"{key} {number}") for number in range(len(specs))]
    splits = assign(manifest, specs[0].seed)
    race_spec = RaceSpec(
        name=specs[0].name,
        workspace=workspace.token,
        dataset=dataset.id,
        version=dataset.number,
        seed=specs[0].seed,
        device=specs[0].device,
        budget=budget,
        contestants=tuple(
            Contestant(run=run, backbone=spec.backbone, weights=spec.weights, strategy=spec.strategy)
            for run, spec in zip(ids, specs, strict=True)
        ),
        val_images=int((splits == "val").sum()),
        val_draws=len(np.unique(group_keys(manifest)[splits == "val"])),
        test_images=int((splits == "test").sum()),
    )

    def fill(race: RaceFolder) -> None:
        for run, spec, expected in zip(race.parts(), specs, outlooks, strict=True):
            _, claim = make(run.path, spec)
            if claim is not None:
                run.wait_in(race.id, claim)
                expected.write(run.expected_file)

    race, _ = submit(
        workspace,
        RaceFolder,
        race_spec,
        key=key,
        promised=sum(expected_bytes(spec, len(manifest.images)) for spec in specs),
        expected=Outlook(
            seconds=min(budget, _in_sum(outlooks) or budget),
            memory_mb=max((each.memory_mb for each in outlooks if each.memory_mb is not None), default=None),
        ),
        fill=fill,
    )
    return race


def contestants(
    options: Mapping[str, Any], strategies: Sequence[str], backbones: Sequence[str]
) -> list[TrainingOptions]:
    """The options of each run, checked.

    Raises:
        SpecError: everything that is wrong with any of them, each problem once.
    """
    problems: list[GraftError] = []
    asked = [attempt(partial(training_options, each), problems) for each in named(options, strategies, backbones)]
    raise_all(list({problem.message: problem for problem in problems}.values()))
    return [each for each in asked if each is not None]


def expected_seconds(asked: Sequence[TrainingOptions], dataset: DatasetFolder) -> float | None:
    """Seconds that runs with the options `asked` are expected to take in sum; None where that is not known of one of them.

    Raises:
        LimitReached: a run needs far more memory than one job may have here.
    """
    dataset = dataset.at(dataset.number)
    return _in_sum([_outlook(setup_of(each, dataset).spec, dataset) for each in asked])


def _outlook(spec: TrainSpec, dataset: DatasetFolder) -> Outlook:
    """What a run is expected to take. Raises LimitReached, which names it."""
    try:
        return outlook(spec, dataset)
    except LimitReached as error:
        raise LimitReached(f"{spec.strategy} on {spec.backbone}: {error.message}") from None


def _in_sum(outlooks: Sequence[Outlook]) -> float | None:
    seconds = [each.seconds for each in outlooks if each.seconds is not None]
    return sum(seconds) if len(seconds) == len(outlooks) else None
