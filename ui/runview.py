"""A run on the page: what it does while it works, what came of it afterwards, and what can be done next."""

import streamlit as st

from tl_core.documents.arrays import Checkpoint
from tl_core.documents.events import Status
from tl_core.errors import DocumentError, GraftError
from tl_core.markdown import escaped
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.train.resolve import after, expected
from tl_core.statements import headline
from tl_core.training.speed.estimate import Estimate
from tl_core.training.strategies.setup import Setup
from ui import actions, live
from ui.places import EVALUATE, PREDICT, TRAIN, Here, succeeded
from ui.words import DEVICE_WORDS, ago, distinct, duration, interval, percent, plain, strategy_title

STATE_BADGES = {
    "queued": (":material/hourglass_empty:", "gray", "waiting"),
    "running": (":material/play_circle:", "blue", "training"),
    "cancelling": (":material/stop_circle:", "gray", "stopping"),
    "cancelled": (":material/cancel:", "gray", "cancelled"),
    "succeeded": (":material/check_circle:", "green", "done"),
    "failed": (":material/error:", "red", "failed"),
    "interrupted": (":material/power_off:", "orange", "interrupted"),
}

_AGAIN = (
    "From the beginning, with the same pictures and settings. What was computed for these pictures is in the cache."
)

_TRAIN_ON = (
    "A run of its own that starts from what this one delivered, with the same pictures and settings and the schedule of the "
    "learning rate anew. It never ends with a larger validation loss."
)


def badge(state: str, *, running: str = "training", stopped: bool = False) -> None:
    """The state of a job, in a word, a sign and a colour; `running` is the word for work in progress.

    `stopped`: whether a cancelled one was ended by its race.
    """
    icon, colour, word = STATE_BADGES[state]
    word = running if state == "running" else "stopped" if state == "cancelled" and stopped else word
    st.badge(word, icon=icon, color=colour)  # type: ignore[arg-type]


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
    st.fragment(_watch, run_every=1)(here, run)


def _watch(here: Here, run: RunFolder) -> None:
    # Another tab may have deleted it.
    if not run.exists or run.status().final:
        st.rerun()
    status = run.status()
    followed = live.follow(run)
    with st.container(border=True, key="live"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(run.name)}** :gray[{describe(run)}{_gpu(status)}]", width="stretch")
            badge(status.state)
        _why(run)
        if run.waits_in:
            st.caption(":material/sports_score: It waits for its turn in a race.")
        elif status.state == "queued" and not run.finishing:
            _expected(here, run)
        st.progress(followed.fraction, text=followed.sentence)
        live.numbers(followed)
        live.curves(followed, key=f"live-{run.id}")
        live.notices(followed)
        with st.container(horizontal=True, vertical_alignment="center"):
            live.cancel_button(run)
            if run.best.is_file() and not run.finishing:
                st.button(
                    "Finish with the best so far",
                    key=f"finish-{run.id}",
                    icon=":material/flag:",
                    on_click=_finish_now,
                    args=(here, run),
                    disabled=status.state == "cancelling",
                )
            if status.started:
                st.caption("It goes on when you close the page. Come back by the same link.")
    live.log(run)


def ended(here: Here, run: RunFolder) -> None:
    """What became of a run, and what can be done now."""
    status = run.status()
    with st.container(border=True, key="ended"):
        with st.container(horizontal=True, vertical_alignment="center"):
            taken = _taken(run, status)
            when = f", {ago(status.ended)}" if status.ended else ""
            st.markdown(f"**{plain(run.name)}** :gray[{describe(run)}{taken}{when}]", width="stretch")
            badge(status.state, stopped=status.reason is not None)
            actions.menu(run, key="train")
        sentence = accuracy(run) if status.state == "succeeded" else None
        if sentence:
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
        else:
            _what_now(here, run)
        live.log(run)


def _taken(run: RunFolder, status: Status) -> str:
    """How long it took, on which GPU, and how long it was said to take before."""
    seconds, said = status.seconds.get("total"), run.spec().estimated_seconds
    if not seconds:
        return _gpu(status)
    gpu = _gpu(status).removeprefix(",")
    return f", {duration(seconds)}{gpu}" + (f" (said: {Estimate(*said)})" if said else "")


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


def _what_now(here: Here, run: RunFolder) -> None:
    status = run.status()
    if status.failure and status.state == "interrupted":
        st.warning(plain(status.failure.message, longest=1500), icon=":material/power_off:")
    elif status.failure:
        st.error(plain(status.failure.message, longest=1500), icon=":material/error:")
    elif status.state == "cancelled":
        st.markdown(
            plain(status.reason, longest=400)
            if status.reason
            else "It was cancelled; the pictures and what was computed for them are kept."
        )
    followed = live.follow(run)
    live.curves(followed, key=f"ended-{run.id}")
    _ways_on(here, run)


def _ways_on(here: Here, run: RunFolder) -> None:
    """What can be made of a run that ended before its end: go on, finish with the best so far, start again."""
    found: Checkpoint | None = None
    if run.can_resume():
        try:
            found = run.checkpoint()
        except DocumentError as error:
            st.warning(plain(error.message, longest=600), icon=":material/broken_image:")
    with st.container(horizontal=True):
        on = found is not None and st.button(
            f"Go on from epoch {found.epoch} of {found.epochs}",
            type="primary",
            icon=":material/play_arrow:",
            key="go-on",
        )
        best = run.can_finish() and st.button(
            "Finish with the best so far",
            type="secondary" if found else "primary",
            icon=":material/flag:",
            key="finish-best",
        )
        again = st.button("Start again", icon=":material/restart_alt:", key="start-again", help=_AGAIN)
    if not (on or best or again):
        return
    try:
        if best:
            _finish(here, run)
        else:
            actions.once(
                here.workspace,
                f"resume {run.id}",
                lambda: jobs.go_on(run, "checkpoint" if on else "nothing", workspace=here.workspace),
            )
    except GraftError as error:
        st.error(plain(error.message, longest=1500), icon=":material/error:")
    else:
        here.go(TRAIN, run=run.id)


def train_on(here: Here, run: RunFolder) -> None:
    """More epochs for a run that ended well; draws nothing where more of them make no sense."""
    if jobs.no_more_epochs(run):
        return
    with st.container(horizontal=True, vertical_alignment="bottom", key="train-on"):
        epochs = st.number_input("More epochs", 1, 1000, 5, key=f"more-{run.id}", width=130)
        pressed = st.button("Train on", icon=":material/add_circle:", key=f"train-on-{run.id}", help=_TRAIN_ON)
    if not pressed:
        return
    try:
        started = actions.once(
            here.workspace,
            f"train on {run.id} {epochs}",
            lambda: jobs.train_on(run, epochs=int(epochs), workspace=here.workspace),
        )
    except GraftError as error:
        st.error(plain(error.message, longest=1500), icon=":material/error:")
    else:
        here.go(TRAIN, run=started.id)


def _finish_now(here: Here, run: RunFolder) -> None:
    try:
        _finish(here, run)
    except GraftError as error:
        st.toast(plain(error.message, longest=400), icon=":material/error:")


def _finish(here: Here, run: RunFolder) -> None:
    actions.once(
        here.workspace,
        f"finish {run.id}",
        lambda: jobs.go_on(run, "best", workspace=here.workspace),
        one_more=False,
    )


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
        said = f", {percent(shown.accuracy)} right ({interval(*shown.interval)})" if shown else ", all of one moment"
    except GraftError:
        said = ""
    # No "2 min ago": a label must stay the same from one look to the next.
    return f"{run.name}{said}, {described(run)}"
