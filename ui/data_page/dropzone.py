"""The three ways to bring pictures: a zip or folder, class by class (with a phone, too), or a sample.

Every upload is written to disk at once and removed from memory, and its uploader is replaced by an empty one under a new key.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, cast

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from tl_core import settings
from tl_core.data import samples
from tl_core.disk import remove
from tl_core.documents.spec import ClassesFrom
from tl_core.errors import GraftError, LimitReached, NotFound
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder
from ui import actions, places
from ui.data_page import uploads
from ui.places import DATA, Here
from ui.taking import chooser_key, free, held, keeping, refused, say_refused, take_pictures
from ui.words import plain, plural


def show(here: Here) -> None:
    """Draw the chosen way to bring pictures; open the new data set once its job has started."""
    settle(here)
    ways = {"Folder or zip": _folder_or_zip, "Class by class": _class_by_class, "Samples": _samples}
    way = st.segmented_control(
        "How to bring pictures",
        list(ways),
        default="Class by class" if drafting(here) else "Folder or zip",
        required=True,
        key="way",
        label_visibility="collapsed",
    )
    ways[way or "Folder or zip"](here)
    limits()


def settle(here: Here) -> None:
    """Say why the last upload was not taken; open the data set whose job it started."""
    problem = st.session_state.pop("upload-problem", None)
    if problem:
        st.error(plain(problem, longest=1000), icon=":material/error:")
    opened = st.session_state.pop("upload-opened", None)
    if opened:
        here.go(DATA, dataset=opened)


def limits() -> None:
    """How long pictures are kept, and how large an upload may be."""
    st.caption(f":material/lock: {keeping()} One upload takes {settings.current().max_upload_bytes / 1e6:,.0f} MB.")


def _folder_or_zip(here: Here) -> None:
    st.markdown("One folder for each class, named after it, with its pictures inside.")
    choosers(here)


def choosers(here: Here, *, onto: DatasetFolder | None = None) -> None:
    """Choosers of a folder and of a zip, which become a data set of their own or are added to one."""
    say_refused()
    with st.expander("Pictures that belong together", icon=":material/group_work:"):
        st.markdown(
            "Photos of one patient, one plant or one day: a table (CSV) with the columns `file` and `group` says so, and no group is divided "
            "between learning and judging. Choose it before the pictures, or put it into their folder as `groups.csv`."
        )
        st.file_uploader("A CSV of groups", type="csv", key=chooser_key("groups"))
    left, right = st.columns(2)
    with left:
        st.file_uploader(
            "A folder",
            accept_multiple_files="directory",
            key=chooser_key("folder"),
            on_change=_take_folder,
            args=(here, chooser_key("folder"), onto),
        )
        _again(here, "folder", _take_folder, onto)
    with right:
        st.file_uploader(
            "A zip of it",
            type="zip",
            key=chooser_key("zip"),
            on_change=_take_zip,
            args=(here, chooser_key("zip"), onto),
        )
        _again(here, "zip", _take_zip, onto)
    with st.expander("How folders are read", icon=":material/account_tree:"):
        st.markdown(
            "`cup/1.jpg`, `cup/2.jpg`, `plate/1.jpg` makes the classes *cup* and *plate*. Folders called train, val and test "
            "above the classes are taken as your own split. Deeper folders are folded into their class."
        )
        st.segmented_control(
            "Which folder names the class (when there are several levels)",
            ["first", "innermost"],
            format_func={"first": "the first one", "innermost": "the innermost one"}.__getitem__,
            default="first",
            required=True,
            key="classes-from",
        )


def _again(
    here: Here,
    kind: str,
    take: Callable[[Here, str, DatasetFolder | None], None],
    onto: DatasetFolder | None,
) -> None:
    """A button for an upload that was refused because too much is at work: it stays in its field."""
    if held(chooser_key(kind)):
        st.button(
            "Read it now",
            key=f"again-{kind}",
            icon=":material/refresh:",
            on_click=take,
            args=(here, chooser_key(kind), onto),
        )


def _take_folder(here: Here, key: str, onto: DatasetFolder | None) -> None:
    files = held(key)
    if files and refused():
        # What came of it would be read as if it were all.
        st.session_state["folder-turn"] += 1
        free(files)
        st.session_state["upload-problem"] = "Not all of this folder came, so nothing of it was kept."
    elif files:
        _take(here, "folder", files, partial(uploads.save_tree, files), uploads.tree_name(files), onto)


def _take_zip(here: Here, key: str, onto: DatasetFolder | None) -> None:
    for file in held(key):
        _take(here, "zip", [file], partial(uploads.save_zip, file), Path(file.name).stem, onto)


def _take(
    here: Here,
    kind: Literal["folder", "zip"],
    files: Sequence[UploadedFile],
    save: Callable[[Path], Path],
    name: str,
    onto: DatasetFolder | None,
) -> None:
    """Copy an upload, `files`, to disk by `save`, start reading it, and free it; where no job may start now, it stays."""
    classes_from = cast(ClassesFrom, st.session_state.get("classes-from") or "first")
    try:
        actions.check_start(here.workspace)
    except GraftError as error:
        st.session_state["upload-problem"] = error.message
        return
    st.session_state[f"{kind}-turn"] += 1
    groups = held(chooser_key("groups"))
    staging: Path | None = None
    try:
        staging = here.workspace.staging()
        job = jobs.submit_ingest(
            here.workspace,
            source_kind=kind,
            source=save(staging),
            groups_file=uploads.save_groups(groups[0], staging) if groups else None,
            name=onto.spec().name if onto else name,
            classes_from=classes_from,
            remove_source=True,
            onto=onto,
        )
    except BaseException as error:
        if staging is not None:
            remove(staging)
        if not isinstance(error, GraftError):
            raise
        st.session_state["upload-problem"] = error.message
        return
    finally:
        free(files)
    free(groups)
    st.session_state["groups-turn"] += 1
    st.session_state["upload-opened"] = job.id


def _draft(here: Here) -> uploads.Draft | None:
    """The draft that the page's address names, so that it survives a reload; None before its first photo and after it was read."""
    kept = places.draft_name()
    if kept is None:
        return None
    folder = here.workspace.path / "staging" / kept
    return uploads.Draft(folder) if folder.is_dir() else None


def drafting(here: Here) -> bool:
    """Whether a data set is being put together class by class."""
    return _draft(here) is not None


def _class_by_class(here: Here) -> None:
    draft = _draft(here)
    classes = draft.classes() if draft else {}
    waiting = draft.waiting() if draft else []
    ordinal = {0: "first", 1: "second", 2: "third"}.get(len(classes), "next")
    field = f"class-name-{st.session_state.setdefault('class-turn', 0)}"
    name = st.text_input(
        f"Name of the {ordinal} class",
        placeholder="cup",
        max_chars=80,
        key=field,
        persist_state="session",
    )
    take_pictures("Photos of it", "photos", partial(_take_photos, here))
    if waiting and draft:
        said = plural(len(waiting), "photo")
        st.button(
            f"Add {said} as {plain(name, longest=24)}" if name.strip() else f"{said} waiting for a name",
            type="primary",
            icon=":material/add:",
            key="close-class",
            on_click=_close_class,
            args=(here, field),
        )
    for number, (folder, photos) in enumerate(classes.items()):
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{plain(folder)}** :gray[{plural(len(photos), 'photo')}]", width="stretch")
            if draft and st.button(
                "", key=f"drop-{number}", icon=":material/delete:", help="Remove this class", type="tertiary"
            ):
                draft.drop(folder)
                st.rerun()
    if draft and classes:
        enough = len(classes) > 1 and not waiting
        if not enough and not waiting:
            st.caption("Add a second class: telling apart takes two.")
        st.button(
            "Read these pictures",
            type="primary",
            icon=":material/check:",
            disabled=not enough,
            on_click=_read_draft,
            args=(here,),
        )


def _take_photos(here: Here, files: list[UploadedFile]) -> None:
    draft = _draft(here)
    try:
        if draft is None:
            actions.check_new(here.workspace)
            draft = uploads.Draft(here.workspace.staging())
            st.session_state["draft"] = draft.folder.name
        draft.add(files)
    except GraftError as error:
        st.session_state["upload-problem"] = error.message
        if isinstance(error, LimitReached):
            raise


def _close_class(here: Here, key: str) -> None:
    draft = _draft(here)
    try:
        if draft is None:
            raise NotFound("These photos are no longer here. Please add them again.")
        draft.close_class(st.session_state.get(key) or "")
        # The next class is typed into a field of its own, which is empty.
        st.session_state["class-turn"] += 1
    except GraftError as error:
        st.session_state["upload-problem"] = error.message


def _read_draft(here: Here) -> None:
    draft = _draft(here)
    if draft is None:
        return
    name = ", ".join(draft.classes())
    draft.touch()
    try:
        job = actions.once(
            here.workspace,
            f"draft {draft.folder.name}",
            lambda: jobs.submit_ingest(
                here.workspace, source_kind="folder", source=str(draft.root), name=name[:60], remove_source=True
            ),
        )
    except GraftError as error:
        st.session_state["upload-problem"] = error.message
        return
    st.session_state.pop("draft", None)
    st.query_params.pop("draft", None)
    st.session_state["upload-opened"] = job.id


def _samples(here: Here) -> None:
    with st.grid("auto", min_column_width=300, gap="small", border=True) as tiles:
        for sample in samples.listing():
            with tiles.cell():
                st.markdown(f"**{plain(sample.title, longest=80)}**")
                st.caption(
                    f"{plural(sample.images, 'picture')}, {plural(sample.classes, 'class', 'classes')}, {plain(sample.how, longest=200)}  \n"
                    f"Licence: {plain(sample.licence, longest=200)}"
                )
                st.space("stretch")
                label = "Use it" if sample.here else "Download"
                if st.button(label, key=f"sample-{sample.name}", icon=":material/collections:"):
                    here.go(DATA, dataset=actions.read_sample(here.workspace, sample.name, sample.title).id)
