"""Home: the three ways to begin, the data sets and runs of the workspace, and what can be done with the workspace itself."""

import os
from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st

from tl_core.data import samples
from tl_core.errors import DocumentError, NotFound
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RaceFolder, RunFolder, TaskFolder
from tl_core.runs.store.store import new_token
from tl_core.version import __version__
from ui import actions, grids, runview, shown_answers
from ui.places import COMPARE, DATA, EVALUATE, HOME, PLACES, TRAIN, Here, Job, Place, opening, succeeded
from ui.rehearsing import rehearse_dialog
from ui.taking import keeping, room
from ui.words import ago, duration, plain, plural

_SHOWN = 6
"""Number of data sets, and of runs, on one page of their list."""


def ways_in(here: Here) -> None:
    """The three ways to begin, Use my pictures, Try a sample and Show me, and how to rehearse the last one."""
    best, shown = samples.SAMPLES[samples.best_here()], samples.to_show()
    with st.container(horizontal=True, key="ways"):
        if st.button("Use my pictures", type="primary", icon=":material/add_photo_alternate:"):
            st.session_state["bring"] = "more"
            here.go(DATA)
        if st.button("Try a sample", icon=":material/collections:", help=f"{best.title}, {best.images:,} pictures"):
            here.go(DATA, dataset=actions.read_sample(here.workspace, best.name, best.title).id)
        if st.button("Show me", icon=":material/tour:", help=f"A guided tour of about a minute: {shown.title}"):
            st.query_params["tour"] = "on"
            here.go(DATA, dataset=actions.read_sample(here.workspace, shown.name, shown.title).id)
    rehearse_dialog.offer()


def welcome(here: Here) -> None:
    """As long as the workspace is empty: what Graft answered, with the way to try that, and a tile for each step of the line."""
    if here.dataset is not None or here.run is not None:
        return
    st.space("small")
    shown_answers.strip()
    if st.button(
        "Try it on a picture of yours",
        icon=":material/bolt:",
        help="Reads the sample, trains on it and opens Predict, in less than half a minute on most computers",
    ):
        st.query_params["tour"] = "try"
        row = samples.SAMPLES[samples.SHOWN]
        here.go(DATA, dataset=actions.read_sample(here.workspace, row.name, row.title).id)
    st.space("small")
    with st.grid(4, min_column_width=220, gap="small", border=True) as tiles:
        for place in PLACES.values():
            if place.step:
                with tiles.cell():
                    st.markdown(f":green[{place.icon}] **{place.step.title}**")
                    st.markdown(f":gray[{place.step.promise}]")


def datasets(here: Here) -> None:
    """Cards of the data sets, the newest first."""
    _listed("Your data sets", here.workspace.datasets(), "datasets", partial(_dataset_card, here), columns=3)


def races(here: Here) -> None:
    """One line a race, the newest first."""
    _listed("Your races", here.workspace.races(), "races", partial(_race_line, here))


def runs(here: Here) -> None:
    """One line a run, the newest first."""
    all_runs = here.workspace.runs()
    names = {dataset.id: dataset.name for dataset in here.workspace.datasets()}
    several = len(succeeded(all_runs)) > 1
    link = partial(here.link, COMPARE, "Compare them") if several else None
    _listed("Your runs", all_runs, "runs", partial(_run_line, here, names), link=link)


def _listed(
    title: str,
    jobs: Sequence[Job],
    key: str,
    draw: Callable[[Job], None],
    *,
    columns: int = 1,
    link: Callable[[], None] | None = None,
) -> None:
    """A page of `jobs` at a time under `title`, beside which stands `link`; nothing where there are none."""
    if not jobs:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header(title, anchor=False, width="stretch")
        if link:
            link()
    place, shown = grids.paged(jobs, key=key, page_size=_SHOWN)
    with place, st.grid(columns, min_column_width=280, gap="small", border=True) as tiles:
        for job in shown:
            with tiles.cell():
                draw(job)


def _dataset_card(here: Here, dataset: DatasetFolder) -> None:
    status = dataset.status()
    damage, manifest = None, None
    if dataset.ready:
        try:
            manifest = dataset.manifest()
        except (NotFound, DocumentError) as error:
            damage = error.message
    if manifest:
        step = max(1, len(manifest.images) // 4)
        grids.strip(
            [dataset.thumbnail(image) for image in manifest.images[::step][:4]],
            alt=f"four pictures of {dataset.name}",
            places=4,
        )
        facts = f"{plural(len(manifest.classes), 'class', 'classes')}, {plural(len(manifest.images), 'picture')}, {ago(dataset.created)}"
    else:
        runview.badge(status.state, running="reading")
        damage = damage or (status.failure.message if status.failure else None)
        facts = plain(damage, longest=160) if damage else ago(dataset.created)
    st.markdown(f"**{plain(dataset.name)}**  \n:gray[{facts}]")
    st.space("stretch")
    with st.container(horizontal=True, vertical_alignment="center"):
        if manifest and st.button("Train", key=f"train-{dataset.id}", icon=TRAIN.icon):
            here.go(TRAIN, dataset=dataset.id)
        if st.button("Open", key=f"open-{dataset.id}", type="tertiary"):
            here.go(DATA, dataset=dataset.id)
        st.space("stretch")
        actions.menu(dataset, key="home")


def of_another_version(here: Here) -> None:
    """What this version of Graft cannot read, if there is something; the pictures of a data set can be read again."""
    unreadable = [job for job in here.workspace.unreadable() if job.path.parent.name != TaskFolder.stored_in]
    if not unreadable:
        return
    st.header("From another version of Graft", anchor=False)
    st.markdown(
        f"{plural(len(unreadable), 'data set or run', 'data sets and runs')} of this workspace cannot be opened by this version. Nothing of it is "
        "deleted; the pictures of a data set can be read again, as a new one."
    )
    for job in unreadable:
        if job.path.parent.name != DatasetFolder.stored_in:
            continue
        st.button(
            f"Read the pictures of {plain(job.name)} again",
            key=f"again-{job.id}",
            icon=":material/refresh:",
            on_click=actions.begin,
            args=(
                here.workspace,
                f"again {job.id}",
                partial(jobs.submit_ingest, here.workspace, source_kind="folder", source=job.path, name=job.name),
            ),
        )


def _race_line(here: Here, race: RaceFolder) -> None:
    spec = race.spec()
    _line(here, race, f"{plural(len(spec.contestants), 'run')} within {duration(spec.budget)}", TRAIN)


def _run_line(here: Here, names: dict[str, str], run: RunFolder) -> None:
    done = run.status().state == "succeeded"
    data = names.get(run.spec().dataset)
    of = f"on {plain(data)}" if data else "its pictures were deleted"
    sentence = runview.accuracy(run) if done else None
    _line(here, run, f"{of}; {runview.describe(run)}", EVALUATE if done else TRAIN, sentence)


def _line(here: Here, job: RunFolder | RaceFolder, facts: str, place: Place, sentence: str | None = None) -> None:
    """The name of `job` with `facts`, its state unless it ended well, and a button that opens it in `place`."""
    status = job.status()
    with st.container(horizontal=True, vertical_alignment="center"):
        # As wide as the line allows: on a phone the buttons go under it.
        with st.container(width=800, gap=None):
            st.markdown(f"**{plain(job.name)}** :gray[{facts}, {ago(job.created)}]")
            if sentence:
                st.markdown(sentence)
        st.space("stretch")
        if status.state != "succeeded":
            runview.badge(runview.state_of(status))
        if st.button("Evaluate" if place is EVALUATE else "Open", key=f"open-{job.id}", type="tertiary"):
            here.go(place, **opening(job))
        actions.menu(job, key="home")


def footer(here: Here) -> None:
    """How long pictures stay, the link, another workspace, delete everything, version."""
    st.space("medium")
    st.caption(
        f":material/lock: {keeping()} Whoever has the link to this workspace can see, change and delete what is in it; nobody else can."
    )
    taken = room(here.workspace)
    if taken:
        st.caption(f":material/hard_drive: {taken}")
    with st.container(horizontal=True, vertical_alignment="center"):
        with st.popover("Copy my link", icon=":material/link:", type="tertiary"):
            st.caption("Keep this link: it is the only way back to your pictures and runs.")
            st.code(_link(here), language=None, wrap_lines=True)
        if st.button("New private workspace", icon=":material/lock_open:", type="tertiary"):
            st.session_state.clear()
            st.switch_page(HOME.file, query_params={"workspace": new_token()})
        if here.workspace.exists and st.button(
            "Delete everything here", icon=":material/delete_forever:", type="tertiary"
        ):
            actions.delete_everything(here.workspace)
        st.space("stretch")
        st.caption(f"Graft {__version__}", width="content")


def _link(here: Here) -> str:
    space = os.environ.get("SPACE_ID")
    if space:
        # Inside a Space the app's own address is not the one in the address bar.
        return f"https://huggingface.co/spaces/{space}?workspace={here.workspace.token}"
    return f"{(st.context.url or '').split('?')[0].rstrip('/')}/?workspace={here.workspace.token}"
