"""Jobs at work: their events read as they come, drawn as a line with a bar and Cancel, as numbers and as curves."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import streamlit as st

from tl_core.documents.events import (
    EpochEnded,
    Event,
    Notice,
    Progress,
    RegularisationTried,
    Resumed,
    StageStarted,
    Status,
)
from tl_core.documents.spec import TrainSpec
from tl_core.runs.process.executor import cancel, chosen, forget_lost
from tl_core.runs.store.folders import DatasetFolder, RaceFolder, RunFolder, TaskFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.training.speed.taken import Taken, seconds_left
from ui import charts
from ui.listing import scrolled
from ui.places import PLACES, Here, maker_of, opening
from ui.server_paths import shortened_log
from ui.words import duration, percent, plain

_WATCHED = "watched"
"""Key of the session's state: the jobs that have a line on the page."""


@dataclass
class Followed:
    """What the events of a job have said so far."""

    offset: int = 0
    """Number of bytes of events.jsonl that were read."""
    stage: StageStarted | None = None
    progress: Progress | None = None
    epochs: list[EpochEnded] = field(default_factory=list)
    tried: list[RegularisationTried] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    taken: Taken = field(default_factory=Taken)
    spec: TrainSpec | None = None
    """That of a training run, once it says how long the run should take."""

    def take(self, events: list[Event]) -> None:
        for event in events:
            self.taken.take(event)
            match event:
                case StageStarted():
                    self.stage, self.progress = event, None
                case Progress():
                    self.progress = event
                case EpochEnded():
                    # A run that was stopped says some of its epochs again.
                    self.epochs = [*(before for before in self.epochs if before.epoch < event.epoch), event]
                case RegularisationTried():
                    self.tried.append(event)
                case Notice():
                    self.notices.append(event)
                case Resumed():
                    # What was said of the time, for example, is said anew.
                    self.stage, self.progress, self.notices = None, None, []
                    if event.epoch is None:
                        self.epochs, self.tried = [], []

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the job will still take; of a job other than a training run, its stage. None where that is not known."""
        of_stage = self.progress.seconds_left if self.progress and self.progress.done < self.progress.total else None
        if self.spec is None or self.stage is None:
            return of_stage
        expected, between = self.spec.expected, self.spec.estimated_seconds
        if expected is None or between is None:
            return of_stage
        return seconds_left(expected.seconds, between, self.taken.until(time.time()), self.stage.stage, of_stage)

    @property
    def fraction(self) -> float:
        """How much of the stage that runs now is done, 0 to 1."""
        return min(1.0, self.progress.done / self.progress.total) if self.progress and self.progress.total else 0.0

    @property
    def sentence(self) -> str:
        """What is being done, how much is left, how long."""
        if self.stage is None:
            return "starting"
        parts = [plain(self.stage.title, longest=120)]
        if self.progress:
            parts.append(f"{self.progress.done:,} of {self.progress.total:,}")
            if self.progress.images_per_second:
                parts.append(f"{self.progress.images_per_second:,.0f} pictures/s")
        left = self.seconds_left
        if left is not None:
            parts.append(f"{duration(left)} left")
        return ", ".join(parts)


def follow(job: JobFolder) -> Followed:
    """Everything that `job` has said so far; only what is new is read."""
    followed: Followed = st.session_state.setdefault(f"followed-{job.id}", Followed())
    forget_lost(job)
    events, followed.offset = job.events(followed.offset)
    followed.take(events)
    if followed.spec is None and isinstance(job, RunFolder) and followed.stage:
        spec = job.spec()
        followed.spec = spec if spec.expected else None
    return followed


def curves(followed: Followed, *, key: str) -> None:
    """The fitted head's curve, and the learning curves once there are epochs."""
    if followed.tried and not followed.epochs:
        tried = sorted(followed.tried, key=lambda point: point.c)
        figure = charts.regularisation_curve(
            [point.c for point in tried],
            [point.train_accuracy for point in tried],
            [point.val_accuracy for point in tried],
        )
        best = max(point.val_accuracy for point in tried)
        charts.show(figure, key=f"{key}-c", alt=f"Validation accuracy against regularisation, best {best:.0%}")
    if followed.epochs:
        _epoch_curves(followed.epochs, key=key)


def _epoch_curves(ended: list[EpochEnded], *, key: str) -> None:
    numbers = [point.epoch for point in ended]
    best = max(ended, key=lambda point: point.val_accuracy)
    accuracy = charts.learning_curve(
        numbers,
        [point.train_accuracy for point in ended],
        [point.val_accuracy for point in ended],
        what="accuracy",
        title=f"Right: {percent(ended[-1].val_accuracy)} now, {percent(best.val_accuracy)} at best",
        unit="%",
        planned=ended[-1].epochs,
    )
    lowest = min(ended, key=lambda point: point.val_loss)
    loss = charts.learning_curve(
        numbers,
        [point.train_loss for point in ended],
        [point.val_loss for point in ended],
        what="loss",
        title=f"Loss: lowest after epoch {lowest.epoch}",
        planned=ended[-1].epochs,
    )
    left, right = st.columns(2)
    with left:
        charts.show(accuracy, key=f"{key}-accuracy", alt=f"Validation accuracy by epoch, best {best.val_accuracy:.0%}")
    with right:
        charts.show(loss, key=f"{key}-loss", alt=f"Loss by epoch, lowest validation loss {lowest.val_loss:.3f}")


def numbers(followed: Followed) -> None:
    """A few numbers of the last epoch, each with what it is."""
    if not followed.epochs:
        return
    last = followed.epochs[-1]
    with st.container(horizontal=True):
        st.metric("Epoch", f"{last.epoch} of {last.epochs}", border=True, width=170)
        st.metric(
            "Right on validation pictures",
            percent(last.val_accuracy),
            border=True,
            width=270,
            help="Pictures to choose by: the run keeps the weights of the epoch that was best on them",
        )
        st.metric("Learning rate", f"{last.learning_rate:.1e}", border=True, width=170)


def notices(followed: Followed) -> None:
    """What the job wants to be read."""
    for notice in followed.notices[-4:]:
        icon = ":material/warning:" if notice.level == "warning" else ":material/info:"
        st.caption(f"{icon} {plain(notice.message, longest=400)}")


def failure(status: Status) -> None:
    """Why a job came to no end, where it did not."""
    if status.failure:
        show, icon = (st.warning, "power_off") if status.state == "interrupted" else (st.error, "error")
        show(plain(status.failure.message, longest=1500), icon=f":material/{icon}:")


def log(job: JobFolder) -> None:
    """The end of the job's log, folded; without the server's paths."""
    text = shortened_log(chosen().log(job))
    with st.expander("Show log", icon=":material/article:"):
        scrolled(text or "The log is empty.", height=260)


def others(here: Here) -> None:
    """A line for each job that the page does not show in full: those at work, and those that ended since their line was drawn."""
    live = here.unfinished()
    for job in live:
        forget_lost(job)
    watched: list[JobFolder] = st.session_state.get(_WATCHED, [])
    ended = [
        job
        for job in watched
        # One that ends just now has the line of a job at work once more, which draws the page again.
        if job not in live and job.exists and job.status().final and _follow_on(here, job)
    ]
    # The line of a race stands for its runs.
    raced = {run.path for job in live if isinstance(job, RaceFolder) for run in job.parts()}
    busy = [job for job in live if _takes_long(job) and job.path not in raced and not here.shows(job)]
    st.session_state[_WATCHED] = [*ended, *busy]
    if busy:
        watch(busy[:3])


def _follow_on(here: Here, job: JobFolder) -> bool:
    """Draw the line of a job that has ended; False where nothing follows, or it is open already."""
    maker, state = maker_of(job), job.status().state
    if maker is None or not isinstance(job, DatasetFolder | RunFolder | RaceFolder) or state == "cancelled":
        return False
    line = list(PLACES.values())
    page, sentence, label = line[line.index(maker) + 1], maker.done, maker.onward
    if state != "succeeded" or isinstance(job, RaceFolder):
        page, label = maker, "See what came of it"
        sentence = "has ended." if state == "succeeded" else "did not come to its end."
    open_here = job.id in {opened.id for opened in (here.dataset, here.run, here.race) if opened}
    # Pages that need a run speak of the open one.
    spoken_of = here.place in (page, maker) or (state == "succeeded" and here.place.needs is type(job))
    if open_here and spoken_of:
        return False
    with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"ended-{job.id}"):
        st.markdown(f"**{plain(job.name)}** {sentence}", width="stretch")
        if st.button(label, key=f"on-{job.id}", type=here.next_button, icon=page.icon):
            here.go(page, **opening(job))
    return True


def _takes_long(job: JobFolder) -> bool:
    """Whether a user waits for `job`: a data set, a run, a race, or a task that takes long."""
    return not isinstance(job, TaskFolder) or job.spec().lasting


def each_second(jobs: Sequence[JobFolder], draw: Callable[[], None]) -> None:
    """What `draw` shows of jobs at work, drawn again each second; the whole page is drawn anew when one has ended."""

    def drawn() -> None:
        # Another tab may have deleted it.
        if any(not job.exists or job.status().final for job in jobs):
            st.rerun()
        draw()

    st.fragment(drawn, run_every=1)()


def watch(busy: list[JobFolder]) -> None:
    """A line for each of `busy`: what it does, a bar, how long, Cancel; redraws the page when one has ended."""
    each_second(busy, lambda: _lines(busy))


def _lines(busy: list[JobFolder]) -> None:
    for job in busy:
        followed = follow(job)
        with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"job-{job.id}"):
            what = "Race, " if isinstance(job, RaceFolder) else ""
            st.progress(followed.fraction, text=f"{what}{plain(job.name)}: {followed.sentence}", width="stretch")
            cancel_button(job)


def cancel_button(job: JobFolder) -> None:
    """Cancel; it frees the device within two seconds."""
    st.button(
        "Cancel",
        key=f"cancel-{job.id}",
        icon=":material/close:",
        on_click=cancel,
        args=(job,),
        disabled=job.status().state == "cancelling",
    )
