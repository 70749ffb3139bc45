"""The table of pages, and where in them a user is: the workspace, the page, the data set and run that are open.

A page is a file beside the others and a row here. From its row come the line of steps, the title, what a page without its
input says and offers, the tiles of Home, and the guided tour.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import streamlit as st

from tl_core.documents.tasks import FindRateSpec, PictureMapSpec, RankSpec, RobustnessSpec
from tl_core.errors import NotFound
from tl_core.runs.store.folders import DatasetFolder, RaceFolder, RunFolder, TaskFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Workspace
from tl_core.table import Table

Job = TypeVar("Job", bound=JobFolder)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a page has besides if it is a step of the line Data, Train, Evaluate, Predict."""

    title: str
    """The title of its tile on an empty Home."""
    promise: str
    """The sentence under that title."""
    tour: str
    """What the guided tour (Show me) says here."""
    tour_meanwhile: str = ""
    """What the guided tour says while the job of this page is at work."""
    onward: str = ""
    """The guided tour's button to the next step; empty at the last one."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A page: the row of one file."""

    name: str
    """The title of the page, and of every link to it."""
    file: str
    """Path of the page from the folder of the entry file."""
    icon: str
    sentence: str
    """What the page is for; stands under the title."""
    step: Step | None = None
    """None for Home, and for a page to read, which is linked after the steps."""
    shows: tuple[type, ...] = ()
    """Folders of jobs (the open one) and specs of tasks that the bar of running jobs at the top leaves out: the page shows
    them in full, or is for reading undisturbed."""
    needs: type[DatasetFolder] | type[RunFolder] | None = None
    """What must exist and have succeeded: the open data set, or any run. Otherwise the page shows only what is missing."""
    without: str = ""
    """Shown if `needs` is not met, with a button to the page whose `shows` contains what is missing."""
    offer: str = ""
    """The button with which a page that misses something leads here."""
    meanwhile: str = ""
    """What such a page says while the job that makes it is at work."""
    done: str = ""
    """What is said on other pages of a job of this page that has just ended well, after its name."""
    onward: str = ""
    """The button beside it, which leads to the next page."""
    keeps: tuple[str, ...] = ()
    """Query parameters that only this page has, so that a link to it and a reload keep what was chosen here."""


HOME = Place(
    name="Graft",
    file="streamlit_app.py",
    icon=":material/potted_plant:",
    sentence="Teach a computer to tell your pictures apart, in a minute, and know how far to trust it.",
)
DATA = Place(
    name="Data",
    file="pages/1_Data.py",
    icon=":material/photo_library:",
    sentence="Bring pictures sorted into classes, and see what there is before anything learns from it.",
    shows=(DatasetFolder, PictureMapSpec),
    offer="Bring pictures",
    meanwhile="The pictures are still being read. This page goes on by itself once they are.",
    done="is read.",
    onward="Train on these",
    step=Step(
        title="Bring pictures",
        promise="One folder a class, or photos from your phone. Twenty a class is a good start.",
        tour="Every picture was opened, checked and sorted by class. Some are held out from training, for an honest test later (test pictures).",
        tour_meanwhile="The pictures of the sample are being read: each is opened and checked, and a broken one would be refused, "
        "with its reason.",
        onward="Next: train",
    ),
)
TRAIN = Place(
    name="Train",
    file="pages/2_Train.py",
    icon=":material/model_training:",
    sentence="Three choices, made for you already. Change what you like, or just start.",
    shows=(RaceFolder, RunFolder, RankSpec, FindRateSpec),
    needs=DatasetFolder,
    without="There are no pictures to learn from yet.",
    offer="Train one",
    meanwhile="The classifier is still being trained. This page goes on by itself once it is.",
    done="is trained.",
    onward="See how good it is",
    step=Step(
        title="Train",
        promise="A network that has seen a million photos learns your classes: seconds on any computer.",
        tour="A network that has seen a million photos looked at each picture once; only a new last layer (head) learned your classes.",
        tour_meanwhile="It is learning now. Each picture runs once through the network, which stays as it is (frozen); then a new last layer "
        "(head) is fitted.",
        onward="Next: how good is it?",
    ),
)
EVALUATE = Place(
    name="Evaluate",
    file="pages/3_Evaluate.py",
    icon=":material/fact_check:",
    sentence="How far to trust it, measured on pictures that took no part in training.",
    shows=(RobustnessSpec,),
    needs=RunFolder,
    without="There is nothing to judge yet: no classifier has been trained here.",
    step=Step(
        title="See how far to trust it",
        promise="It is tested on pictures it never saw. Its mistakes are shown as pictures.",
        tour="Each picture was judged without having been learned from, so the number can be trusted. Orange cells are mistakes: click "
        "one and look.",
        onward="Next: try it",
    ),
)
PREDICT = Place(
    name="Predict",
    file="pages/4_Predict.py",
    icon=":material/center_focus_strong:",
    sentence="Show it pictures that it does not know. They are answered here and not kept.",
    needs=RunFolder,
    without="There is nothing to ask yet: no classifier has been trained here.",
    step=Step(
        title="Use it",
        promise="Try it on new pictures here, and take it home as one file.",
        tour="Your turn: hold something before the camera, bring a photo, or take test pictures. It answers, and says how sure "
        "it is. The same file is what you take home.",
    ),
)
COMPARE = Place(
    name="Compare",
    file="pages/5_Compare.py",
    icon=":material/balance:",
    sentence="Which of your runs is better, on pictures that all of them were judged on.",
    needs=RunFolder,
    without="There is nothing to compare yet: no classifier has been trained here.",
    keeps=("compare",),
)
IDEAS = Place(
    name="Ideas",
    file="pages/6_Ideas.py",
    icon=":material/lightbulb:",
    sentence="What a network learns, layer by layer, and how much of it to re-train.",
    shows=(RankSpec, FindRateSpec),
)
PRESENT = Place(
    name="Present",
    file="pages/7_Present.py",
    icon=":material/slideshow:",
    sentence="Show a run to a room: how good it is, right and wrong answers as pictures, and what it cannot do.",
    needs=RunFolder,
    without="There is nothing to present yet: no classifier has been trained here.",
)
PLACES = Table("page", (HOME, DATA, TRAIN, EVALUATE, PREDICT, COMPARE, IDEAS, PRESENT))
"""Every page by its name, in the order of the links."""


def succeeded(jobs: Iterable[Job | None]) -> list[Job]:
    """The jobs of which there is what they were to make, in their order."""
    return [job for job in jobs if job is not None and job.ready]


def pictures_of(run: RunFolder | RaceFolder, workspace: Workspace) -> DatasetFolder | None:
    """The data set that `run`, or the runs of a race, learned from, in its version; None where it was deleted."""
    try:
        spec = run.spec()
        return workspace.dataset(spec.dataset, spec.version)
    except NotFound:
        return None


def to_open(
    finished: Sequence[RunFolder],
    newest: DatasetFolder | None,
    pictures: Callable[[RunFolder | RaceFolder], DatasetFolder | None],
    *,
    any_run: bool,
    dataset: DatasetFolder | None = None,
    run: RunFolder | None = None,
    race: RaceFolder | None = None,
) -> tuple[DatasetFolder | None, RunFolder | None]:
    """The data set and the run that a page opens whose address names a `dataset`, a `run` and a `race`, as far as these are still there.

    Where the address names no run, that is the first of those that `finished` well on the data set or on that of the race that it names;
    with `any_run`, else the first on any other. The data set is the one that is named; but that of a race, and of a run, comes with it
    (`pictures`) where none is named, or where the run is on another one. Else it is the `newest`.
    """
    leads: RunFolder | RaceFolder | None = None if dataset else run
    if run is None:
        about = race.spec().dataset if race else dataset.id if dataset else None
        on_these = [done for done in finished if about is None or done.spec().dataset == about]
        run = next(iter(on_these or (finished if any_run else ())), None)
        leads = race or (None if dataset and run in on_these else run)
    return (pictures(leads) if leads else None) or dataset or newest, run


def version_key(dataset: DatasetFolder) -> tuple[str, int, float]:
    """What tells a version of a data set apart in Streamlit's caches (`hash_funcs`)."""
    return str(dataset.path), dataset.number, dataset.manifest_file.stat().st_mtime


def task_key(task: TaskFolder) -> tuple[str, float]:
    """What tells a task apart in Streamlit's caches: it may be asked once more in the same folder."""
    return str(task.path), task.created


def maker_of(job: JobFolder) -> Place | None:
    """The page that shows jobs of this kind in full; None for a task."""
    return next((place for place in PLACES.values() if isinstance(job, place.shows)), None)


def opening(job: DatasetFolder | RunFolder | RaceFolder) -> dict[str, str]:
    """The arguments of `Here.go` that open `job`."""
    return {{DatasetFolder: "dataset", RunFolder: "run", RaceFolder: "race"}[type(job)]: job.id}


def draft_name() -> str | None:
    """The staging folder's name of the data set that is put together class by class: the session's, or the URL's."""
    name = st.session_state.get("draft") or st.query_params.get("draft") or ""
    return name if re.fullmatch(r"[0-9a-f]{16}", name) else None


def touring() -> Literal["on", "try"] | None:
    """Which guided tour is on: the walk through all steps (`on`: Show me), or straight to a first answer (`try`: Try it); None without one.

    It is part of the URL, so that it survives a reload.
    """
    named = st.query_params.get("tour")
    return None if not named else "try" if named == "try" else "on"


@dataclass(frozen=True)
class Here:
    """Where the user is: the workspace, the data set, run and race that are open in it, and the page."""

    workspace: Workspace
    dataset: DatasetFolder | None
    run: RunFolder | None
    place: Place
    race: RaceFolder | None = None

    @property
    def next_button(self) -> Literal["primary", "secondary"]:
        """The type of the page's own button to the next step: while Show me leads through the steps, its button alone stands out."""
        return "secondary" if touring() == "on" else "primary"

    def job(self, place: Place) -> DatasetFolder | RunFolder | RaceFolder | None:
        """The open data set, race or run, whichever `place` shows in full; an open race rather than a run."""
        return next((job for job in (self.dataset, self.race, self.run) if isinstance(job, place.shows)), None)

    def shows(self, job: JobFolder) -> bool:
        """Whether the bar of running jobs leaves `job` out on this page: see `Place.shows`."""
        if isinstance(job, TaskFolder):
            return isinstance(job.spec(), self.place.shows)
        shown = self.job(self.place)
        return shown is not None and shown.id == job.id

    def has(self, kind: type[DatasetFolder] | type[RunFolder]) -> bool:
        """Whether an open data set, or any run of the workspace, ended well."""
        jobs: Iterable[JobFolder | None] = [self.dataset] if kind is DatasetFolder else self.workspace.runs()
        return any(succeeded([job]) for job in jobs)

    def at_work(self, place: Place) -> DatasetFolder | RunFolder | RaceFolder | None:
        """A job that has not ended and that `place` shows in full: the open one, else the newest run or race of the workspace."""
        opened = self.job(place)
        if opened is not None and not opened.status().final:
            return opened
        if isinstance(opened, DatasetFolder):
            return None  # pages go on with this one, and not with another that is read meanwhile
        working = (job for job in self.unfinished() if isinstance(job, place.shows) and job.waits_in is None)
        return next((job for job in working if isinstance(job, DatasetFolder | RunFolder | RaceFolder)), None)

    def unfinished(self) -> list[JobFolder]:
        """Jobs of the workspace that wait or work, the newest first; not one that has ended while its worker lives on for a moment."""
        return [job for job in self.workspace.live() if job.exists and not job.status().final]

    def query(
        self,
        *,
        dataset: str | None = None,
        run: str | None = None,
        race: str | None = None,
        compare: Sequence[str] = (),
    ) -> dict[str, str]:
        """Query parameters of a link that keeps the place, with another data set, run or race, or runs to compare, where they are named.

        Another data set closes the open run and race, and another run or race the open data set: its own is opened with it.
        """
        opened = {"dataset": dataset, "run": run, "race": race}
        if not any(opened.values()):
            for job in (self.dataset, self.run, self.race):
                opened |= opening(job) if job else {}
        parts = {
            "workspace": self.workspace.token,
            **opened,
            "tour": touring(),
            "draft": draft_name(),
            **{name: st.query_params.get(name) for name in self.place.keeps},
        }
        if compare:
            parts["compare"] = ",".join(compare)
        return {name: value for name, value in parts.items() if value}

    def go(
        self,
        place: Place,
        *,
        dataset: str | None = None,
        run: str | None = None,
        race: str | None = None,
        compare: Sequence[str] = (),
    ) -> None:
        """Open another page of this workspace; does not return. `compare`: ids of the runs to compare there."""
        if dataset:
            # Whoever opens a data set has stopped bringing another one.
            st.session_state["bring"] = "no"
        st.switch_page(place.file, query_params=self.query(dataset=dataset, run=run, race=race, compare=compare))

    def choose(self, what: Literal["dataset", "run"], names: dict[str, str], opened: str, **how: Any) -> None:
        """A select box of data sets or runs, `names` by id; the chosen one is opened on this page. `how`: as st.selectbox."""
        # The browser goes on showing the old label of a box whose key stays the same.
        key = f"{self.place.name}-{what}-{opened}-{names[opened]}"
        ids = list(names)
        chosen = st.selectbox(index=ids.index(opened), options=ids, format_func=names.__getitem__, key=key, **how)
        if chosen != opened:
            self.go(self.place, **{what: chosen})

    def link(self, place: Place, label: str | None = None) -> None:
        """A link to a page that keeps the workspace, and what is open in it."""
        st.page_link(place.file, label=label or place.name, icon=place.icon, query_params=self.query())
