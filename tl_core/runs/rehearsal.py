"""The rehearsal of a demonstration: the walk of "Show me" is gone through twice, in workspaces that are removed again.

The first time prepares what can be prepared: the exported backbone, and the pixels and features of the sample, which the cache keeps by
content for whoever asks next. The second time is what people will see. Nothing here knows whether there is a camera: only a browser does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from tl_core import locks
from tl_core.data.guarded import Pool
from tl_core.data.samples import Sample, smallest_photos, to_show
from tl_core.disk import size_of
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.rehearsed import Rehearsal, RehearsedStep
from tl_core.errors import DiskFull, GraftError, InUse, UnreadableImage, WorkerDied
from tl_core.models.weights.obtain import here_now_sentence
from tl_core.runs.process.devices import detect_device, machine_of, unusable_gpu
from tl_core.runs.process.executor import chosen, works_here
from tl_core.runs.process.queue import LINES, crowd
from tl_core.runs.start import jobs
from tl_core.runs.store.budgets import require_free
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.serving.predictor import Predictor
from tl_core.training.strategies.strategies import HEAD_ONLY
from tl_core.wording import duration, plural

LONGEST_WALK = 90.0
"""Seconds of waiting that people sit through."""
_PICTURES = 3
"""Held-out pictures that the last step answers, as many as Predict does in the tour."""
_DECODERS = 2
_VISITORS = 10
"""Number of walks for which the disk has to have room: people try it themselves afterwards."""
_LOG = 2_000
"""Bytes of the end of a log that are kept."""


def rehearse(
    store: Store,
    *,
    on_event: Callable[[Event], object] = lambda event: None,
    meanwhile: Callable[[], object] = lambda: None,
) -> Rehearsal:
    """Read the sample that the tour shows, train on it and answer held-out pictures, twice; what that took, and what is missing.

    `on_event` is called with each event as it comes, `meanwhile` many times a second while a job is followed. If either raises, or the
    call is interrupted, the job is cancelled; the workspaces are removed in any case. A step that fails is told, and
    raises nothing. Jobs of others that wait or work make the times longer, which `missing` says.

    Raises:
        UnknownName, SpecError: the setting GRAFT_EXECUTOR cannot be used.
        StoreError: the store cannot be written to.
        InUse: another rehearsal in this store is at work.
    """
    chosen()
    store.make()
    with _alone(store):
        sample, before = to_show(), _others(store)
        pool = Pool(_DECODERS)
        try:
            first, size = _walked(store, sample, pool, on_event, meanwhile)
            again = Walked() if first.problem else _walked(store, sample, pool, partial(_anew, on_event), meanwhile)[0]
        finally:
            pool.close()
    steps = tuple(_step(place, first, again) for place in range(len(_STEPS)))
    found = Rehearsal(
        sample=sample.name,
        title=sample.title,
        machine=machine_of(detect_device()),
        steps=steps,
        problems=(),
        missing=(),
    )
    return found.model_copy(
        update={"problems": tuple(_problems(found, store, size)), "missing": tuple(_missing(sample, before))}
    )


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """Two rehearsals at once would measure one another, also one of the app and one of the command line."""
    lock = locks.take(store.root / "rehearsing")
    if lock is None:
        raise InUse("Another rehearsal is at work here, and two at once would slow one another. Try again in a minute.")
    try:
        yield
    finally:
        locks.release([lock])


class Walked(NamedTuple):
    """One time through the walk."""

    seconds: tuple[float, ...] = ()
    """Of each step that was done to its end."""
    problem: str | None = None
    """Why the step after these failed."""
    log: str = ""


def _walked(
    store: Store, sample: Sample, pool: Pool, on_event: Callable[[Event], object], meanwhile: Callable[[], object]
) -> tuple[Walked, int]:
    """Go through the walk once in a workspace of its own; what came of it, and the bytes that it took on the disk."""
    seconds: list[float] = []
    problem, log = None, ""
    with store.passing_workspace() as place:
        walk = _Walk(place, sample, pool, on_event, meanwhile)
        try:
            for _, step in _STEPS:
                started = time.monotonic()
                step(walk)
                seconds.append(time.monotonic() - started)
        except GraftError as error:
            problem, log = walk.told(error)
        return Walked(tuple(seconds), problem, log), size_of(place.path)


@dataclass
class _Walk:
    """The walk in `place`, as far as it has come."""

    place: Workspace
    sample: Sample
    pool: Pool
    on_event: Callable[[Event], object]
    meanwhile: Callable[[], object]
    made: list[JobFolder] = field(default_factory=list)

    def read(self) -> None:
        dataset = jobs.submit_ingest(self.place, source_kind="sample", source=self.sample.name, name=self.sample.title)
        self._finish(dataset)

    def train(self) -> None:
        self._finish(jobs.submit_training(self.place, self._dataset, strategy=HEAD_ONLY))

    def answer(self) -> None:
        self.on_event(StageStarted(stage="evaluation", title="Answering test pictures"))
        run, images = self.made[-1], self._dataset.manifest().images
        assert isinstance(run, RunFolder)
        held_out = [images[answer.row] for answer in run.report().answers[:_PICTURES]]
        model = Predictor(run.bundle)
        for answer in model.answers([self._dataset.image(image) for image in held_out], read=self.pool.read_input):
            if "error" in answer:
                raise UnreadableImage(answer["error"]["message"])
            self.meanwhile()

    def told(self, error: GraftError) -> tuple[str, str]:
        """The sentence of `error`, and the end of the log where a worker ended without a word."""
        if not isinstance(error, WorkerDied):
            return error.message, ""
        # The text of `error` names a log that is removed with the workspace.
        failure = self.made[-1].status().failure
        return (failure.message if failure else "Its worker ended."), chosen().log(self.made[-1], _LOG)

    @property
    def _dataset(self) -> DatasetFolder:
        dataset = self.made[0]
        assert isinstance(dataset, DatasetFolder)
        return dataset

    def _finish(self, job: JobFolder) -> None:
        self.made.append(job)
        jobs.finish(job, self.on_event, meanwhile=self.meanwhile)


_STEPS: tuple[tuple[str, Callable[[_Walk], None]], ...] = (
    ("Read the pictures", _Walk.read),
    ("Train", _Walk.train),
    ("First answers", _Walk.answer),
)


def _anew(on_event: Callable[[Event], object], event: Event) -> None:
    if isinstance(event, StageStarted):
        event = event.model_copy(update={"title": f"{event.title}, the second time"})
    on_event(event)


def _step(place: int, first: Walked, again: Walked) -> RehearsedStep:
    failed = next((walked for walked in (first, again) if walked.problem and len(walked.seconds) == place), Walked())
    return RehearsedStep(
        title=_STEPS[place][0],
        first=_of(first, place),
        again=_of(again, place),
        problem=failed.problem,
        log=failed.log,
    )


def _of(walked: Walked, place: int) -> float | None:
    return round(walked.seconds[place], 3) if place < len(walked.seconds) else None


def _problems(found: Rehearsal, store: Store, size: int) -> list[str]:
    """What stands in the way. `size`: bytes that one walk takes on the disk."""
    problems = [f"{step.title}: {step.problem}" for step in found.steps if step.problem]
    walk = found.walk_seconds
    if walk is not None and walk > LONGEST_WALK:
        problems.append(
            f"The tour takes {duration(walk)} here, and people wait for {duration(LONGEST_WALK)} at most. Open a finished run "
            "instead of training before them."
        )
    try:
        require_free(store, _VISITORS * size)
    except DiskFull as error:
        problems.append(f"For {_VISITORS} people who try it: {error.message}")
    return list(dict.fromkeys(problems))


def _missing(sample: Sample, before: int) -> list[str]:
    """What is not here. `before`: jobs of others that waited or worked when the rehearsal began."""
    found = []
    if before:
        found.append(
            f"{plural(before, 'other job')} waited or worked here meanwhile, so it may be faster than this. Rehearse again "
            "once no other is at work."
        )
    unused = unusable_gpu() if works_here() else None
    if unused:
        found.append(unused)
    photos = smallest_photos()
    if not sample.photos:
        found.append(
            f"Photographs are not here, so the sample is {sample.title}: python -m tl_core prepare --photos brings "
            f"{photos.title} ({photos.how})."
        )
    found.append(f"{here_now_sentence()} While there is a network, python -m tl_core weights fetch NAME brings others.")
    return found


def _others(store: Store) -> int:
    """Number of jobs that wait or work on this machine."""
    return sum(crowd(store.queue, name) for name in LINES)
