"""Bringing pictures: as a data set of their own, or as more of one, which makes its next version.

A zip or folder, photos class by class (with a phone, too), or a sample. Every upload is written to disk at once and removed from memory, and its
chooser is replaced by an empty one under a new key. Photos wait in a staging folder until they are read, so they are still here after a
reload: that of a new data set has its name in the page's address, that of an addition the id of its data set.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal, cast

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from tl_core import settings
from tl_core.data import samples
from tl_core.data.sources import component
from tl_core.disk import remove
from tl_core.documents.spec import ClassesFrom
from tl_core.errors import DataError, GraftError, NotFound
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import new_id
from ui import actions, places, visitor
from ui.data_page import uploads
from ui.places import DATA, Here
from ui.taking import chooser, chooser_key, free, held, keeping, refused, say_refused, take_pictures
from ui.words import plain, plural


def show(here: Here) -> None:
    """Draw the chosen way to bring pictures of their own."""
    ways = {
        "Folder or zip": partial(
            _folder_or_zip, here, None, "One folder for each class, named after it, with its pictures inside."
        ),
        "Class by class": partial(_class_by_class, here),
        "Samples": partial(_samples, here),
    }
    _chosen("How to bring pictures", ways, first="Class by class" if drafting(here) else "Folder or zip", key="way")


def add(here: Here, data: DatasetFolder) -> None:
    """Draw the chosen way to add to `data`."""
    st.header(f"Add to {plain(data.name)}", anchor=False)
    st.markdown(
        f"This makes a new version of the data set: its {plural(len(data.manifest().images), 'picture')} and those that you add. "
        "The version from before stays, and so does every classifier that learned from it."
    )
    intro = "One folder for each class. A folder that is called like a class adds to it; any other folder becomes a new class."
    ways = {
        "Photos of a class": partial(_photos_of_a_class, here, data),
        "Folder or zip": partial(_folder_or_zip, here, data, intro),
    }
    _chosen("How to add pictures", ways, first="Photos of a class", key="adding")


def _chosen(label: str, ways: Mapping[str, Callable[[], None]], *, first: str, key: str) -> None:
    """The way that is chosen of several; how long pictures are kept, and how large an upload may be."""
    way = st.segmented_control(label, list(ways), default=first, required=True, key=key, label_visibility="collapsed")
    ways[way or first]()
    st.caption(f":material/lock: {keeping()} One upload takes {settings.current().max_upload_bytes / 1e6:,.0f} MB.")


def drafting(here: Here) -> bool:
    """Whether a data set is being put together class by class."""
    return _draft(here) is not None


def adding(here: Here, data: DatasetFolder) -> bool:
    """Whether photos wait to be added to `data`."""
    return bool(_addition(here, data).classes())


def _draft(here: Here) -> uploads.Draft | None:
    """The photos of a new data set; None before the first one and after they were read."""
    name = places.draft_name()
    folder = here.workspace.path / "staging" / (name or "")
    return uploads.Draft(folder) if name and folder.is_dir() else None


def _addition(here: Here, data: DatasetFolder) -> uploads.Draft:
    return uploads.Draft(here.workspace.path / "staging" / data.id)


def _folder_or_zip(here: Here, onto: DatasetFolder | None, intro: str) -> None:
    """Choosers of a folder and of a zip, which become a data set of their own or are added to one."""
    st.markdown(intro)
    say_refused()
    with st.expander("Pictures that belong together", icon=":material/group_work:"):
        st.markdown(
            "Photos of one patient, one plant or one day: a table (CSV) with the columns `file` and `group` says so, and no group is divided "
            "between learning and judging. Choose it before the pictures, or put it into their folder as `groups.csv`."
        )
        st.file_uploader("A CSV of groups", type="csv", key=chooser_key("groups"))
    left, right = st.columns(2)
    again, folder = "Read it now", partial(_read_folder, here, onto)
    with left:
        chooser(st.file_uploader, "A folder", "folder", folder, again=again, accept_multiple_files="directory")
    with right:
        chooser(st.file_uploader, "A zip of it", "zip", partial(_read_zip, here, onto), again=again, type="zip")
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


def _read_folder(here: Here, onto: DatasetFolder | None, files: list[UploadedFile]) -> None:
    if refused():
        # What came of it would be read as if it were all.
        raise DataError("Not all of this folder came, so nothing of it was kept.")
    _read_upload(here, onto, "folder", partial(uploads.save_tree, files), uploads.tree_name(files))


def _read_zip(here: Here, onto: DatasetFolder | None, files: list[UploadedFile]) -> None:
    _read_upload(here, onto, "zip", partial(uploads.save_zip, files[0]), Path(files[0].name).stem)


def _read_upload(
    here: Here, onto: DatasetFolder | None, kind: Literal["folder", "zip"], save: Callable[[Path], Path], name: str
) -> None:
    """Copy an upload to disk by `save`, with the groups that were chosen before, and start to read it."""
    actions.check_start(here.workspace)
    groups = held(chooser_key("groups"))
    with ExitStack() as undo:
        staging = here.workspace.staging()
        undo.callback(remove, staging)
        job = jobs.submit_ingest(
            here.workspace,
            source_kind=kind,
            source=save(staging),
            groups_file=uploads.save_groups(groups[0], staging) if groups else None,
            name=onto.spec().name if onto else name,
            classes_from=cast(ClassesFrom, st.session_state.get("classes-from") or "first"),
            remove_source=True,
            onto=onto,
        )
        undo.pop_all()
    free(groups)
    st.session_state["groups-turn"] += 1
    actions.open_next(job)


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
    take_pictures("Photos of it", "photos", partial(_keep_photos, here))
    if waiting:
        photos = plural(len(waiting), "photo")
        st.button(
            f"Add {photos} as {plain(name, longest=24)}" if name.strip() else f"{photos} waiting for a name",
            type="primary",
            icon=":material/add:",
            key="close-class",
            on_click=actions.attempt,
            args=(actions.HEAD, _close_class, here, field),
        )
    if draft and classes:
        _listed(draft, {name: name for name in classes}, help="Remove this class")
        enough = len(classes) > 1 and not waiting
        if not enough and not waiting:
            st.caption("Add a second class: telling apart takes two.")
        st.button(
            "Read these pictures",
            type="primary",
            icon=":material/check:",
            disabled=not enough,
            on_click=actions.attempt,
            args=(actions.HEAD, _read_draft, here, draft, ", ".join(classes)[:60]),
        )


def _keep_photos(here: Here, files: list[UploadedFile]) -> None:
    draft = _draft(here)
    if draft is None:
        visitor.enter(here.workspace, job=False)
        draft = uploads.Draft(here.workspace.staging())
        st.session_state["draft"] = draft.folder.name
    draft.add(files)


def _close_class(here: Here, field: str) -> None:
    draft = _draft(here)
    if draft is None:
        raise NotFound("These photos are no longer here. Please add them again.")
    draft.close_class(st.session_state.get(field) or "")
    # The next class is typed into a field of its own, which is empty.
    st.session_state["class-turn"] += 1


def _photos_of_a_class(here: Here, data: DatasetFolder) -> None:
    draft, names = _addition(here, data), {component(name) or name: name for name in data.manifest().classes}
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
        on_change=actions.attempt,
        args=(actions.HEAD, _check_name, field),
    )
    if chosen:
        label = f"Photos of {plain(chosen, longest=24)}"
        take_pictures(label, f"adding-{data.id}", lambda files: draft.add(files, chosen))
    if photos:
        _listed(draft, names, help="Do not add these")
        st.button(
            f"Add {plural(sum(map(len, photos.values())), 'photo')}",
            type="primary",
            icon=":material/check:",
            key="add",
            on_click=actions.attempt,
            args=(actions.HEAD, _read_draft, here, draft, data.spec().name, data),
        )


def _check_name(field: str) -> None:
    """Take back a typed name that can be no class: the browser would get it, however long it is, at each rerun."""
    try:
        uploads.class_component(st.session_state[field] or "none")
    except GraftError:
        st.session_state[field] = None
        raise


def _listed(draft: uploads.Draft, names: dict[str, str], *, help: str) -> None:
    """The classes of which there are photos, each with a button that removes it. `names`: of the classes that there are, by their folders."""
    for number, (folder, photos) in enumerate(draft.classes().items()):
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            new = "" if folder in names else ", a new class"
            st.markdown(
                f"**{plain(names.get(folder, folder))}** :gray[{plural(len(photos), 'photo')}{new}]", width="stretch"
            )
            if st.button("", key=f"drop-{number}", icon=":material/delete:", help=help, type="tertiary"):
                draft.drop(folder)
                st.rerun()


def _read_draft(here: Here, draft: uploads.Draft, name: str, onto: DatasetFolder | None = None) -> None:
    """Start to read the photos that wait, in a folder of another name; so the second click of two finds none."""
    draft.touch()
    taken = draft.folder.with_name(new_id())
    try:
        draft.folder.rename(taken)
    except FileNotFoundError:
        return
    with ExitStack() as undo:
        undo.callback(taken.rename, draft.folder)
        actions.check_start(here.workspace)
        job = jobs.submit_ingest(
            here.workspace,
            source_kind="folder",
            source=uploads.Draft(taken).root,
            name=name,
            remove_source=True,
            onto=onto,
        )
        undo.pop_all()
    if onto is None:
        st.session_state.pop("draft", None)
        st.query_params.pop("draft", None)
    actions.open_next(job)


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
