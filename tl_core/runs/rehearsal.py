"""The rehearsal of a demonstration: the walk of "Show me" is gone through twice, in workspaces that are removed again.

The first time prepares what can be prepared: the exported backbone, and the pixels and features of the sample, which the cache keeps by
content for whoever asks next. The second time is what people will see. Nothing here knows whether there is a camera: only a browser does.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial

from pydantic import computed_field

from tl_core import locks
from tl_core.data.guarded import Pool
from tl_core.data.samples import Sample, smallest_photos, to_show
from tl_core.disk import size_of
from tl_core.documents.base import Record
from tl_core.documents.events import Event, StageStarted
from tl_core.errors import DiskFull, GraftError, InUse, UnreadableImage, WorkerDied
from tl_core.models.weights.obtain import here_now_sentence
from tl_core.runs.process.devices import detect_device, machine_of, unusable_gpu
from tl_core.runs.process.executor import chosen, works_here
from tl_core.runs.process.queue import crowd
from tl_core.runs.start import jobs
from tl_core.runs.store.budgets import require_free
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


class RehearsedStep(Record):
    """One step of the walk. Without `problem` and `again`, it was not tried, because a step before it failed."""

    title: str
    """For the user: "Train"."""
    first: float | None = None
    """Seconds that it took the first time, which prepares what can be prepared; None where it was not done to its end."""
    again: float | None = None
    """Seconds that it took the second time, as it will before people; None where it was not done to its end."""
    problem: str | None = None
    """Why it failed, a sentence for the user."""
    log: str = ""
    """The end of the log of a worker that ended without a word."""


class Rehearsal(Record):
    """The walk of "Show me", gone through twice."""

    sample: str
    """Name of the sample."""
    title: str
    """The sample, for the user: "Handwritten digits"."""
    machine: str
    """Processor or GPU on which it trained."""
    steps: tuple[RehearsedStep, ...]
    """In the order of the walk."""
    problems: tuple[str, ...]
    """What stands in the way of showing it, each a sentence that says what was found and what to do."""
    missing: tuple[str, ...]
    """What is not here, though it is not needed for the walk, each a sentence as in `problems`."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def walk_seconds(self) -> float | None:
        """Seconds that all steps took the second time; None where one was not done to its end."""
        times = [step.again for step in self.steps if step.again is not None]
        return sum(times) if len(times) == len(self.steps) else None

    def table(self) -> list[tuple[str, str, str]]:
        """Each step as a row of text: what it is, how long it took the first time, and the next time or why it did not get so far."""
        return [
            (step.title, _seconds(step.first), _seconds(step.again) or ("failed" if step.problem else "not tried"))
            for step in self.steps
        ]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ready(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.problems


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


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
    steps = [RehearsedStep(title=title) for title in _STEPS]
    with locks.holding(store.root / "rehearsing") as alone, closing(Pool(_DECODERS)) as pool:
        if not alone:
            raise InUse(
                "Another rehearsal is at work here, and two at once would slow one another. Try again in a minute."
            )
        sample, others = to_show(), crowd(store.queue)
        for turn, hear in (("first", on_event), ("again", partial(_anew, on_event))):
            with store.passing_workspace() as place:
                walk = _walk(place, sample, pool, hear, meanwhile)
                for number, step in enumerate(steps):
                    steps[number] = _timed(walk, place, step, turn)
                    if steps[number].problem:
                        break
                size = size_of(place.path)
            if any(step.problem for step in steps):
                break
    machine, missing = machine_of(detect_device()), _missing(sample, others)
    report = Rehearsal(
        sample=sample.name, title=sample.title, machine=machine, steps=tuple(steps), problems=(), missing=tuple(missing)
    )
    return report.model_copy(update={"problems": tuple(_problems(report, store, size))})


_STEPS = ("Read the pictures", "Train", "First answers")


def _walk(
    place: Workspace,
    sample: Sample,
    pool: Pool,
    on_event: Callable[[Event], object],
    meanwhile: Callable[[], object],
) -> Iterator[None]:
    """Go through the `_STEPS` in `place`; yields when one is done."""
    dataset = jobs.submit_ingest(place, source_kind="sample", source=sample.name, name=sample.title)
    jobs.wait(dataset, on_event, meanwhile=meanwhile)
    yield
    run = jobs.submit_training(place, dataset, strategy=HEAD_ONLY)
    jobs.wait(run, on_event, meanwhile=meanwhile)
    yield
    on_event(StageStarted(stage="evaluation", title="Answering test pictures"))
    images = dataset.manifest().images
    held_out = [dataset.image(images[answer.row]) for answer in run.report().answers[:_PICTURES]]
    for answer in Predictor(run.bundle).answers(held_out, read=pool.read_input):
        if "error" in answer:
            raise UnreadableImage(answer["error"]["message"])
        meanwhile()
    yield


def _timed(walk: Iterator[None], place: Workspace, step: RehearsedStep, turn: str) -> RehearsedStep:
    """`step`, the next one of `walk`, with the seconds that it takes this time (`turn`), or with why it fails."""
    started = time.monotonic()
    try:
        next(walk)
    except WorkerDied:
        # The text of the error names a log that is removed with the workspace.
        job = [*place.datasets(), *place.runs()][-1]
        failure = job.status().failure
        problem = failure.message if failure else "Its worker ended."
        return step.model_copy(update={"problem": problem, "log": chosen().log(job, _LOG)})
    except GraftError as error:
        return step.model_copy(update={"problem": error.message})
    return step.model_copy(update={turn: round(time.monotonic() - started, 3)})


def _anew(on_event: Callable[[Event], object], event: Event) -> None:
    if isinstance(event, StageStarted):
        event = event.model_copy(update={"title": f"{event.title}, the second time"})
    on_event(event)


def _problems(report: Rehearsal, store: Store, size: int) -> list[str]:
    """What stands in the way. `size`: bytes that one walk takes on the disk."""
    problems = [f"{step.title}: {step.problem}" for step in report.steps if step.problem]
    walk = report.walk_seconds
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


def _missing(sample: Sample, others: int) -> list[str]:
    """What is not here. `others`: jobs of others that waited or worked when the rehearsal began."""
    missing = []
    if others:
        missing.append(
            f"{plural(others, 'other job')} waited or worked here meanwhile, so it may be faster than this. Rehearse again "
            "once no other is at work."
        )
    unused = unusable_gpu() if works_here() else None
    if unused:
        missing.append(unused)
    photos = smallest_photos()
    if not sample.photos:
        missing.append(
            f"Photographs are not here, so the sample is {sample.title}: python -m tl_core prepare --photos brings "
            f"{photos.title} ({photos.how})."
        )
    missing.append(
        f"{here_now_sentence()} While there is a network, python -m tl_core weights fetch NAME brings others."
    )
    return missing
