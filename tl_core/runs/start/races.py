"""Starts a race: several runs on one split, which one worker trains one after the other within a time budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import product
from typing import Any

from tl_core import locks, settings
from tl_core.disk import remove, write_atomically
from tl_core.documents.job import Outlook
from tl_core.documents.options import DEFAULT_NETWORK, TrainingOptions
from tl_core.documents.racing import Contestant, RaceSpec
from tl_core.documents.spec import TrainSpec
from tl_core.errors import GraftError, LimitReached, SpecError
from tl_core.runs.process.executor import hand_over
from tl_core.runs.process.queue import in_words, require_room
from tl_core.runs.standings import leaderboard
from tl_core.runs.start.jobs import note_resumed, reached
from tl_core.runs.start.training_spec import attempt, raise_all, spec_of, training_options
from tl_core.runs.store.budgets import require_free, room_for
from tl_core.runs.store.folders import DatasetFolder, RaceFolder, RunFolder
from tl_core.runs.store.job_folder import keep_reserve
from tl_core.runs.store.new_folder import identifier, make, swept
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.store.usage import expected_bytes
from tl_core.runs.train.resolve import outlook

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
    found = [{**options, "backbone": backbone, "strategy": way} for backbone, way in product(networks, ways)]
    if not 2 <= len(found) <= MOST:
        raise SpecError(
            f"A race is of 2 to {MOST} runs, and this would be {len(found)}. Name strategies, backbones, or several of both."
        )
    return found


def require_budget(seconds: float) -> float:
    """`seconds`, the budget of a race.

    Raises:
        SpecError: it is not positive, or longer than a job may work here.
    """
    most = most_seconds()
    if not 0 < seconds <= most:
        known = "" if most == float("inf") else f" and at most {in_words(most)}, since one job may not work longer here"
        raise SpecError(f"The budget of a race is {in_words(seconds)}; it takes more than none{known}.")
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
        LimitReached: too many jobs wait or work here, or a run needs far more memory than one job may have.
        OverBudget: the workspace has no room for the runs.
        DiskFull: the disk has no room for them.
    """
    from tl_core.data.checks import require_trainable

    asked = contestants(options, strategies, backbones)
    require_budget(budget)
    store = swept(workspace)
    dataset.require_read()
    dataset = dataset.at(dataset.number)
    manifest = dataset.manifest()
    require_trainable(manifest)
    specs = [spec_of(one, dataset, name=name) for one in asked]
    expected = _expected(specs, dataset, budget)
    require_room(store.queue)
    race = RaceFolder(workspace.path / RaceFolder.stored_in / identifier(key))
    runs = [
        RunFolder(workspace.path / RunFolder.stored_in / identifier(None if key is None else f"{key} {number}"))
        for number in range(len(specs))
    ]
    spec = RaceSpec(
        name=specs[0].name,
        workspace=workspace.token,
        dataset=dataset.id,
        version=dataset.number,
        seed=specs[0].seed,
        device=specs[0].device,
        budget=budget,
        contestants=tuple(
            Contestant(run=run.id, backbone=one.backbone, weights=one.weights, strategy=one.strategy)
            for run, one in zip(runs, specs, strict=True)
        ),
    )
    made: list[RunFolder] = []

    def undo() -> None:
        for job in (*made, race):
            with suppress(OSError):
                job.discard()

    promised = 0 if race.path.is_dir() else sum(expected_bytes(one, len(manifest.images)) for one in specs)
    with room_for(workspace, promised=promised):
        _, claim = make(race.path, spec)
        if claim is None:
            return race
        try:
            for run, one in zip(runs, specs, strict=True):
                _, own = make(run.path, one)
                made.append(run)
                if own is not None:
                    run.wait_in(race.id, own)
        except BaseException:
            undo()
            locks.release([claim])
            raise
    hand_over(race, claim, store=store.root, expected=expected, undo=undo)
    return race


def contestants(
    options: Mapping[str, Any], strategies: Sequence[str], backbones: Sequence[str]
) -> list[TrainingOptions]:
    """The options of each run, checked.

    Raises:
        SpecError: everything that is wrong with any of them, each problem once.
    """
    problems: list[GraftError] = []
    found = [attempt(partial(training_options, one), problems) for one in named(options, strategies, backbones)]
    raise_all(list({problem.message: problem for problem in problems}.values()))
    return [one for one in found if one is not None]


def expected_seconds(asked: Sequence[TrainingOptions], dataset: DatasetFolder) -> float | None:
    """Seconds that runs with the options `asked` are expected to take in sum; None where that is not known of one of them.

    Raises:
        LimitReached: a run needs far more memory than one job may have here.
    """
    dataset = dataset.at(dataset.number)
    return _sum([outlook(spec_of(one, dataset), dataset) for one in asked])


def go_on(race: RaceFolder, *, workspace: Workspace | None = None) -> RaceFolder:
    """Let a race that has ended go on with its runs that were interrupted or not begun, with its whole budget again.

    An interrupted one goes on from its checkpoint, or begins anew where it has none. A race that is alive is left alone.

    Raises:
        SpecError: no run is missing.
        NotFound: its data set is gone.
        LimitReached: too many jobs wait or work here.
        OverBudget: the workspace has no room for the runs.
        DiskFull: the disk has no room for them.
    """
    spec = race.spec()
    workspace = workspace or Store.default().workspace(spec.workspace)
    store = swept(workspace)
    require_free(store)
    dataset = workspace.dataset(spec.dataset, spec.version)
    dataset.require_read()
    images = len(dataset.manifest().images)
    claim = race.claim()
    if claim is None:
        return race
    taken: dict[RunFolder, int] = {}
    record: dict[Any, bytes | None] = {}

    def undo() -> None:
        remove(race.reserve)
        for file, content in record.items():
            remove(file) if content is None else write_atomically(file, content)

    try:
        require_room(store.queue)
        left = [run for run in race.parts() if run.exists and run.id in missing(race)]
        if not left:
            raise SpecError("No run of this race is missing: each has ended, or was stopped.")
        with room_for(workspace, promised=sum(expected_bytes(run.spec(), images) for run in left)):
            for run in left:
                own = run.claim()
                taken |= {} if own is None else {run: own}
            for job in (race, *taken):
                files = (job.status_file, job.cancel_file, job.submitted)
                record |= {file: file.read_bytes() if file.exists() else None for file in files}
                keep_reserve(job.reserve)
            race.status_file.unlink()
            for job in (race, *taken):
                job.cancel_file.unlink(missing_ok=True)
            for run in taken:
                note_resumed(run, _reached(run))
            while taken:
                run, own = taken.popitem()
                run.wait_in(race.id, own)
    except BaseException:
        undo()
        locks.release([claim, *taken.values()])
        raise
    hand_over(race, claim, store=store.root, undo=undo)
    return race


def _reached(run: RunFolder) -> int | None:
    """The epoch from whose checkpoint `run` can go on; None where it cannot."""
    try:
        return reached(run)
    except GraftError:
        return None


def missing(race: RaceFolder) -> set[str]:
    """Ids of the runs with which `race`, which has ended, can go on."""
    return {row.run for row in leaderboard(race).rows if row.state in ("interrupted", "not_begun")}


def _expected(specs: Sequence[TrainSpec], dataset: DatasetFolder, budget: float) -> Outlook:
    """What the race is expected to take. Raises LimitReached where a run needs far more memory than it may have."""
    found = []
    for spec in specs:
        try:
            found.append(outlook(spec, dataset))
        except LimitReached as error:
            raise LimitReached(f"{spec.strategy} on {spec.backbone}: {error.message}") from None
    memory = [one.memory_mb for one in found if one.memory_mb is not None]
    return Outlook(seconds=min(budget, _sum(found) or budget), memory_mb=max(memory, default=None))


def _sum(found: Sequence[Outlook]) -> float | None:
    seconds = [one.seconds for one in found if one.seconds is not None]
    return sum(seconds) if len(seconds) == len(found) else None
