"""More pictures for a data set: photos of one class after the other, or a folder or zip. They make its next version.

Photos wait in a staging folder that bears the id of the data set, so they are still here after a reload.
"""

from functools import partial

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from tl_core.data.sources import component
from tl_core.errors import GraftError
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import new_id
from ui import actions
from ui.data_page import dropzone, uploads
from ui.places import Here
from ui.taking import take_pictures
from ui.words import plain, plural


def show(here: Here, data: DatasetFolder) -> None:
    """Draw the chosen way to add to `data`; open it once the job has started."""
    dropzone.settle(here)
    st.header(f"Add to {plain(data.name)}", anchor=False)
    st.markdown(
        f"This makes a new version of the data set: its {plural(len(data.manifest().images), 'picture')} and those that you add. "
        "The version from before stays, and so does every classifier that learned from it."
    )
    ways = {"Photos of a class": _class_by_class, "Folder or zip": _folder_or_zip}
    way = st.segmented_control(
        "How to add pictures",
        list(ways),
        default=next(iter(ways)),
        required=True,
        key="adding",
        label_visibility="collapsed",
    )
    ways[way or next(iter(ways))](here, data)
    dropzone.limits()


def drafting(here: Here, data: DatasetFolder) -> bool:
    """Whether photos wait to be added to `data`."""
    return bool(_draft(here, data).classes())


def _draft(here: Here, data: DatasetFolder) -> uploads.Draft:
    return uploads.Draft(here.workspace.path / "staging" / data.id)


def _folder_or_zip(here: Here, data: DatasetFolder) -> None:
    st.markdown(
        "One folder for each class. A folder that is called like a class adds to it; any other folder becomes a new class."
    )
    dropzone.choosers(here, onto=data)


def _class_by_class(here: Here, data: DatasetFolder) -> None:
    draft, names = _draft(here, data), _names(data)
    photos = draft.classes()
    field = f"adding-class-{data.id}"
    chosen = st.selectbox(
        "Which class is on the photos?",
        [*names.values(), *(folder for folder in photos if folder not in names)],
        index=None,
        placeholder="Choose a class, or type the name of a new one",
        accept_new_options=True,
        key=field,
        persist_state="session",
        on_change=_check_name,
        args=(field,),
    )
    if chosen:
        take_pictures(f"Photos of {plain(chosen, longest=24)}", f"adding-{data.id}", partial(_take, here, data, chosen))
    for number, (folder, files) in enumerate(photos.items()):
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            new = "" if folder in names else ", a new class"
            st.markdown(
                f"**{plain(names.get(folder, folder))}** :gray[{plural(len(files), 'photo')}{new}]", width="stretch"
            )
            if st.button("", key=f"drop-{number}", icon=":material/delete:", help="Do not add these", type="tertiary"):
                draft.drop(folder)
                st.rerun()
    if photos:
        st.button(
            f"Add {plural(sum(map(len, photos.values())), 'photo')}",
            type="primary",
            icon=":material/check:",
            key="add",
            on_click=_read,
            args=(here, data),
        )


def _names(data: DatasetFolder) -> dict[str, str]:
    """The classes of `data`, by the name of the folder that stands for each in a draft."""
    return {component(name) or name: name for name in data.manifest().classes}


def _check_name(field: str) -> None:
    """Take back a typed name that can be no class: the browser would get it, however long it is, at each rerun."""
    try:
        uploads.class_component(st.session_state[field] or "none")
    except GraftError as error:
        st.session_state[field] = None
        st.session_state["upload-problem"] = error.message


def _take(here: Here, data: DatasetFolder, name: str, files: list[UploadedFile]) -> None:
    try:
        _draft(here, data).add(files, name)
    except GraftError as error:
        st.session_state["upload-problem"] = error.message


def _read(here: Here, data: DatasetFolder) -> None:
    draft = _draft(here, data)
    waiting = draft.folder
    draft.touch()
    # The second click of two finds nothing to read.
    taken = waiting.with_name(new_id())
    try:
        waiting.rename(taken)
    except FileNotFoundError:
        return
    try:
        actions.check_start(here.workspace)
        job = jobs.submit_ingest(
            here.workspace,
            source_kind="folder",
            source=uploads.Draft(taken).root,
            name=data.spec().name,
            remove_source=True,
            onto=data,
        )
    except GraftError as error:
        taken.rename(waiting)
        st.session_state["upload-problem"] = error.message
        return
    st.session_state["upload-opened"] = job.id
