"""A run on the page: what it does while it works, what came of it afterwards, what can be done next, and its bundle."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import streamlit as st

from tl_core.documents.arrays import Checkpoint
from tl_core.documents.events import Status
from tl_core.errors import DocumentError, GraftError
from tl_core.markdown import escaped
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import RaceFolder, RunFolder
from tl_core.runs.train.plan import after, expected
from tl_core.serving.bundle import zip_parts
from tl_core.serving.bundle_files import BUNDLE_FILES
from tl_core.statements import headline
from tl_core.training.speed.estimate import Estimate
from tl_core.training.strategies.strategies import Setup
from ui import actions, live
from ui.places import EVALUATE, PREDICT, Here, succeeded
from ui.server.asgi import guarded
from ui.server.bundle_zips import Offered
from ui.words import DEVICE_WORDS, ago, distinct, duration, file_stem, interval, percent, plain, strategy_title

_BADGES = {
    "queued": (":material/hourglass_empty:", "gray", "waiting"),
    "running": (":material/play_circle:", "blue", "training"),
    "cancelling": (":material/stop_circle:", "gray", "stopping"),
    "cancelled": (":material/cancel:", "gray", "cancelled"),
    "succeeded": (":material/check_circle:", "green", "done"),
    "failed": (":material/error:", "red", "failed"),
    "interrupted": (":material/power_off:", "orange", "interrupted"),
    # What a race makes of its runs.
    "stopped": (":material/block:", "orange", "stopped"),
    "not_begun": (":material/timer_off:", "gray", "not begun"),
    "deleted": (":material/delete:", "gray", "deleted"),
}
"""A sign, a colour and a word for each state."""
_AGAIN = (
    "From the beginning, with the same pictures and settings. What was computed for these pictures is in the cache."
)
_TRAIN_ON = (
    "A run of its own that starts from what this one delivered, with the same pictures and settings and the schedule of the "
    "learning rate anew. It never ends with a larger validation loss."
)


def badge(state: str, *, running: str = "training") -> None:
    """A state in a word, a sign and a colour; `running` is the word for work in progress."""
    icon, colour, word = _BADGES[state]
    st.badge(running if state == "running" else word, icon=icon, color=colour)  # type: ignore[arg-type]


def state_of(status: Status) -> str:
    """The state to show: a run that was cancelled with a reason was stopped by its race."""
    return "stopped" if status.state == "cancelled" and status.reason else status.state


@contextmanager
def framed(here: Here, job: RunFolder | RaceFolder, facts: str) -> Iterator[None]:
    """A box about `job`: its name with `facts`, its state, and why it failed, before what the block draws; then what stops it, and its log."""
    status = job.status()
    race = "Race: " if isinstance(job, RaceFolder) else ""
    with st.container(border=True, key="ended" if status.final else "live"):
        with st.container(horizontal=True, vertical_alignment="center"):
            when = f", {ago(status.ended)}" if status.final and status.ended else ""
            st.markdown(f"**{race}{plain(job.name)}** :gray[{facts}{when}]", width="stretch")
            badge(state_of(status))
            if status.final:
                actions.menu(job, key="train")
        live.failure(status)
        yield
        if not status.final:
            with st.container(horizontal=True, vertical_alignment="center"):
                live.cancel_button(job)
                if isinstance(job, RunFolder) and job.best.is_file() and not job.finishing:
                    _finish_button(here, job, key=f"finish-{job.id}", disabled=status.state == "cancelling")
                if status.started:
                    st.caption("It goes on when you close the page. Come back by the same link.")
        live.log(job)


def accuracy(run: RunFolder) -> str | None:
    """The headline of a finished run, or what is said in its place; None where it has no report."""
    try:
        return escaped(headline(run.headline()))
    except GraftError:
        return None


def describe(run: RunFolder) -> str:
    """Backbone, strategy, and the version of the data set unless it is the first; for a line under the name."""
    return plain(described(run), longest=200)


def described(run: RunFolder) -> str:
    """As `describe`, as plain text."""
    return ", ".join(settings(run))


def settings(run: RunFolder) -> list[str]:
    """What `described` says, one after the other."""
    spec = run.spec()
    more = f"{spec.epochs} more {'epoch' if spec.epochs == 1 else 'epochs'}" if spec.continues else ""
    version = of_version(run).removeprefix(", ")
    return [part for part in (spec.backbone, strategy_title(spec.strategy).lower(), more, version) if part]


def of_version(run: RunFolder) -> str:
    """Which version of the data set it learned from, to be put behind other words; empty for the first."""
    number = run.spec().version
    return f", version {number} of the data set" if number > 1 else ""


def watch(here: Here, run: RunFolder) -> None:
    """The live view; redraws the page when the run has ended."""
    live.each_second([run], lambda: _at_work(here, run))


def _at_work(here: Here, run: RunFolder) -> None:
    status = run.status()
    followed = live.follow(run)
    with framed(here, run, f"{describe(run)}{_gpu(status)}"):
        _why(run)
        if run.waits_in:
            st.caption(":material/sports_score: It waits for its turn in a race.")
        elif status.state == "queued" and not run.finishing:
            _expected(here, run)
        st.progress(followed.fraction, text=followed.sentence)
        live.numbers(followed)
        live.curves(followed, key=f"live-{run.id}")
        live.notices(followed)


def ended(here: Here, run: RunFolder) -> None:
    """What became of a run, and what can be done now."""
    status = run.status()
    with framed(here, run, f"{describe(run)}{_taken(run, status)}"):
        sentence = accuracy(run) if status.state == "succeeded" else None
        if not sentence:
            _what_now(here, run, status)
            return
        st.markdown(f"## {sentence}", anchors=False)
        _why(run)
        if status.reason:
            st.caption(f":material/sports_score: {plain(status.reason, longest=400)}")
        with st.container(horizontal=True):
            if st.button("Evaluate", type=here.next_button, icon=EVALUATE.icon, key="to-evaluate"):
                here.go(EVALUATE, run=run.id)
            if st.button("Predict", icon=PREDICT.icon, key="to-predict"):
                here.go(PREDICT, run=run.id)
        train_on(here, run)
        with st.expander(
            "How it learned", icon=":material/show_chart:", on_change="rerun", key=f"curves-{run.id}"
        ) as box:
            if box.open:
                followed = live.follow(run)
                live.numbers(followed)
                live.curves(followed, key=f"ended-{run.id}")
                live.notices(followed)
                fixed = jobs.no_more_epochs(run)
                if fixed:
                    st.caption(f":material/info: {plain(fixed, longest=400)}")


def _taken(run: RunFolder, status: Status) -> str:
    """How long it took, on which GPU, and how long it was said to take before."""
    seconds, forecast = status.seconds.get("total"), run.spec().estimated_seconds
    if not seconds:
        return _gpu(status)
    gpu = _gpu(status).removeprefix(",")
    return f", {duration(seconds)}{gpu}" + (f" (said: {Estimate(*forecast)})" if forecast else "")


def _gpu(status: Status) -> str:
    """Which GPU the job has or had; empty on other devices."""
    return f", on {plain(str(status.gpu), longest=120)}" if status.gpu else ""


def _why(run: RunFolder) -> None:
    """Why `auto` took the strategy, once it has."""
    spec = run.spec()
    if spec.chosen_by == "auto" and spec.reason:
        st.caption(f":material/auto_awesome: {plain(spec.reason, longest=600)}")


def _expected(here: Here, run: RunFolder) -> None:
    """What a run that waits will be, as far as it is known here; its worker decides when its turn has come."""
    try:
        spec, resumed = run.spec(), run.status().resumed
        if resumed is not None:
            spec = after(spec, resumed.epoch or 0)
        setup, estimate = expected(Setup.of(spec), here.workspace.dataset(spec.dataset, spec.version))
    except GraftError:
        return  # The worker meets the same and says it.
    time = f", {estimate}" if estimate else ""
    st.caption(
        f":material/timer: Expected: “{strategy_title(setup.spec.strategy)}” on {DEVICE_WORDS[setup.spec.device]}{time}. The worker decides this when the run's turn has come."
    )


def _what_now(here: Here, run: RunFolder, status: Status) -> None:
    """How far a run came that ended before its end, and what can be made of it: go on, finish with the best so far, start again."""
    if status.state == "cancelled":
        reason = status.reason or "It was cancelled; the pictures and what was computed for them are kept."
        st.markdown(plain(reason, longest=400))
    live.curves(live.follow(run), key=f"ended-{run.id}")
    checkpoint: Checkpoint | None = None
    if run.can_resume():
        try:
            checkpoint = run.checkpoint()
        except DocumentError as error:
            st.warning(plain(error.message, longest=600), icon=":material/broken_image:")
    with st.container(horizontal=True):
        if checkpoint:
            st.button(
                f"Go on from epoch {checkpoint.epoch} of {checkpoint.epochs}",
                type="primary",
                icon=":material/play_arrow:",
                key="go-on",
                on_click=actions.begin,
                args=(
                    here.workspace,
                    f"resume {run.id}",
                    partial(jobs.go_on, run, "checkpoint", workspace=here.workspace),
                ),
            )
        if run.can_finish():
            _finish_button(here, run, key="finish-best", type="secondary" if checkpoint else "primary")
        st.button(
            "Start again",
            icon=":material/restart_alt:",
            key="start-again",
            help=_AGAIN,
            on_click=actions.begin,
            args=(here.workspace, f"resume {run.id}", partial(jobs.go_on, run, "nothing", workspace=here.workspace)),
        )


def _finish_button(here: Here, run: RunFolder, **how: Any) -> None:
    start = partial(jobs.go_on, run, "best", workspace=here.workspace)
    st.button(
        "Finish with the best so far",
        icon=":material/flag:",
        on_click=partial(actions.begin, here.workspace, f"finish {run.id}", start, one_more=False),
        **how,
    )


def train_on(here: Here, run: RunFolder) -> None:
    """More epochs for a run that ended well; draws nothing where more of them make no sense."""
    if jobs.no_more_epochs(run):
        return
    with st.container(horizontal=True, vertical_alignment="bottom", key="train-on"):
        epochs = st.number_input("More epochs", 1, 1000, 5, key=f"more-{run.id}", width=130)
        pressed = st.button("Train on", icon=":material/add_circle:", key=f"train-on-{run.id}", help=_TRAIN_ON)
    if pressed:
        start = partial(jobs.train_on, run, epochs=int(epochs), workspace=here.workspace)
        actions.begin(here.workspace, f"train on {run.id} {epochs}", start)
        actions.settle(here)


def chooser(here: Here) -> RunFolder:
    """The finished run that the page speaks of, with a select box where there are several. The page needs one: see its row."""
    finished = succeeded(here.workspace.runs())
    opened = here.run if here.run in finished else finished[0]
    if here.run is not None and not here.run.status().final:
        st.caption(
            f":material/hourglass_empty: {plain(here.run.name)} is still being trained, and is shown once it is. Until then this page "
            "speaks of another run."
        )
    if len(finished) > 1:
        here.choose("run", distinct({run.id: choice(run) for run in finished}), opened.id, label="Run")
    return opened


def choice(run: RunFolder) -> str:
    """The label of a run in a box to choose from: its name, how good it is, what it was trained with."""
    try:
        shown = run.headline().shown
        how_good = (
            f", {percent(shown.accuracy)} right ({interval(*shown.interval)})" if shown else ", all of one moment"
        )
    except GraftError:
        how_good = ""
    # No "2 min ago": a label must stay the same from one look to the next.
    return f"{run.name}{how_good}, {described(run)}"


def take_home(run: RunFolder) -> None:
    """What the bundle holds, and a button that downloads it as a zip, which is made while it is sent."""
    st.header("Take it home", anchor=False)
    files = {name: row for name, row in BUNDLE_FILES.items() if (run.bundle / name).is_file()}
    if not files:
        st.markdown("This run has no bundle.")
        return
    size = sum((run.bundle / name).stat().st_size for name in files)
    st.markdown(
        f"Everything that is needed to use it elsewhere (bundle), {size / 1e6:.0f} MB:\n"
        + "\n".join(f"- `{name}`: {row.title}" for name, row in files.items())
    )
    st.download_button(
        "Download the bundle",
        lambda: zipped(run),
        file_name=f"{file_stem(run.name)}-bundle.zip",
        mime="application/zip",
        icon=":material/download:",
        on_click="ignore",
        key=f"bundle-{run.id}",
    )


def zipped(run: RunFolder) -> bytes:
    """The zip of the run's bundle, or what stands for it where this process serves the app with its guards."""
    # Streamlit alone can send only what is whole in memory.
    return Offered.of(run.bundle) if guarded() else b"".join(zip_parts(run.bundle))
