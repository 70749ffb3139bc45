"""Small questions that need torch or the device, asked as jobs: the same question is the same folder.

Knows which of them hold a data set and which wait for a device. Knows nothing of how they are answered.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

from tl_core.documents.questions import (
    DescribeSpec,
    LookSpec,
    MeasureSpec,
    PreviewSpec,
    QuestionSpec,
    Ranking,
    RankSpec,
    RateSpec,
)
from tl_core.documents.spec import TrainSpec
from tl_core.errors import GraftError, NotFound
from tl_core.models.registry import network, networks
from tl_core.models.weights.obtain import identity
from tl_core.runs.process.devices import resolve_device
from tl_core.runs.process.executors import Executor, Processes
from tl_core.runs.process.queue import take_ticket
from tl_core.runs.process.run_job import Held
from tl_core.runs.store import locks
from tl_core.runs.store.folders import DatasetFolder, QuestionFolder
from tl_core.runs.store.job_folder import keep_reserve
from tl_core.runs.store.new_folder import identifier, make, say_disk_full, swept
from tl_core.runs.store.store import Store, Workspace

_PROCESSES = Processes()
_KEPT = frozenset({"lock", "spec.json"})
"""Of a task that is asked again."""
_WAIT: frozenset[str] = frozenset({"rank", "rate"})
"""Jobs that take their turn on the device; the others are too short to wait behind somebody's training."""


def ask(workspace: Workspace, spec: QuestionSpec, *, executor: Executor = _PROCESSES) -> QuestionFolder:
    """The task that answers `spec`: the one that did or does so already, else a new one.

    One that failed, was cancelled or was interrupted starts again, in the same folder; so does a ranking that lacks
    backbones, for what they failed for may be mended, and a look-up whose row is gone.

    Raises:
        NotFound: there is no such data set in this workspace, or no such picture in it.
        SpecError: the data set was not read to the end.
        UnknownName, DeviceError: a device that is not here.
        DiskFull: not even the job's folder could be written.
    """
    spec = _resolved(spec)
    dataset = _dataset(workspace, spec)
    task = QuestionFolder(workspace.path / "tasks" / identifier(_question(spec)))
    if _answers(task, spec) and _used(task):
        return task
    workspace.make()
    store = swept(workspace)
    uses = None if dataset is None else dataset.hold()
    lock: int | None = None
    try:
        while lock is None:
            _, lock = make(task.path, lambda fresh: QuestionFolder(fresh).write_spec(spec))
            if lock is None:
                lock = _taken_again(task, spec)
            if lock is None and _answers(task, spec):
                break
    except BaseException:
        locks.release([] if uses is None else [uses])
        raise
    if lock is None:
        locks.release([] if uses is None else [uses])
    else:
        _start(task, spec, Held(lock=lock, dataset=uses), store, executor)
    return task


def _question(spec: QuestionSpec) -> str:
    """`spec`, and of which weights it is asked: the operator may put another file in the place of one."""
    match spec:
        case RankSpec(backbones=names):
            asked: list[tuple[str, str | None]] = [(name, None) for name in names]
        case LookSpec(backbone=name, weights=weights) | RateSpec(train=TrainSpec(backbone=name, weights=weights)):
            asked = [(name, weights)]
        case _:
            asked = []
    parts = [spec.model_dump_json()]
    for backbone, of in asked:
        # What is wrong with the name or the operator's folder, the job says.
        with suppress(GraftError):
            parts.append(identity(network(backbone), of))
    return "\n".join(parts)


def _answers(task: QuestionFolder, spec: QuestionSpec) -> bool:
    """Whether it has answered or is at work."""
    return task.exists and (task.alive() or _answered(task, spec))


def _used(task: QuestionFolder) -> bool:
    """Note that it was asked for; False where it was cleared away meanwhile."""
    try:
        os.utime(task.path)
    except FileNotFoundError:
        return False
    return True


def _answered(task: QuestionFolder, spec: QuestionSpec) -> bool:
    """Whether its answer is there and would be no other today."""
    if task.status().state != "succeeded":
        return False
    match spec:
        case DescribeSpec(network=name):
            return name in networks()
        case RankSpec():
            with suppress(GraftError):
                ranking = task.answer(Ranking)
                return ranking is not None and not ranking.failed
            return False
        case _:
            return True


def _start(task: QuestionFolder, spec: QuestionSpec, held: Held, store: Store, executor: Executor) -> None:
    """Start `task`; its locks pass to the executor, or are let go where that fails."""
    if spec.job in _WAIT:
        try:
            held = held.model_copy(update={"ticket": take_ticket(store.queue, _device(spec))})
        except BaseException:
            locks.release(held.descriptors())
            raise
    try:
        executor.start(task, held, store=store.root)
    except OSError:
        if held.ticket is not None:
            held.ticket.path.unlink(missing_ok=True)
        raise


def _taken_again(task: QuestionFolder, spec: QuestionSpec) -> int | None:
    """The lock of a task that ended without an answer that stands, emptied for another try; None where it answered or is at work."""
    try:
        lock = locks.take(task.lock)
    except FileNotFoundError:
        # Somebody deleted it meanwhile.
        return None
    if lock is None:
        return None
    try:
        if not task.exists or _answered(task, spec):
            locks.release([lock])
            return None
        for path in task.path.iterdir():
            if path.name not in _KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        say_disk_full(lambda: keep_reserve(task.reserve))
    except BaseException:
        locks.release([lock])
        raise
    return lock


def _resolved(spec: QuestionSpec) -> QuestionSpec:
    """`spec` with the real device, and without what makes no difference to its answer."""
    match spec:
        case MeasureSpec() | RankSpec():
            return spec.model_copy(update={"device": resolve_device(spec.device)})
        case RateSpec(train=train):
            same = {
                "name": "",
                "chosen_by": "user",
                "reason": None,
                "estimated_seconds": None,
                "device": resolve_device(train.device),
            }
            return RateSpec(train=train.model_copy(update=same))
        case _:
            return spec


def _device(spec: QuestionSpec) -> str:
    match spec:
        case RankSpec(device=device) | RateSpec(train=TrainSpec(device=device)):
            return device
        case _:
            return "cpu"


def _dataset(workspace: Workspace, spec: QuestionSpec) -> DatasetFolder | None:
    """The data set that `spec` asks about, if it asks about one. Raises NotFound."""
    asked = spec.train if isinstance(spec, RateSpec) else spec
    if isinstance(asked, DescribeSpec | MeasureSpec):
        return None
    if asked.workspace != workspace.token:
        raise NotFound("The data set of this question lies in another workspace.")
    dataset = workspace.dataset(asked.dataset)
    rows: tuple[int, ...] = ()
    if isinstance(asked, PreviewSpec):
        rows = asked.rows
    elif isinstance(asked, LookSpec):
        rows = (asked.row,)
    if rows and not all(0 <= row < len(dataset.manifest().images) for row in rows):
        raise NotFound("There is no such picture in this data set.")
    return dataset
