"""On the Data page: what is decided about single pictures, the versions that this makes, and the way back.

What is decided waits in the data set's folder, so a reload loses nothing; applied together it becomes the next version.
"""

from collections import Counter
from collections.abc import Sequence

import streamlit as st

from tl_core.data.checks import problem
from tl_core.data.remedying import applied
from tl_core.documents.manifest import DatasetVersion, Manifest, Remedies
from tl_core.errors import DocumentError, GraftError, NotFound
from tl_core.runs.store.budgets import room_for
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Workspace
from ui import grids
from ui.actions import HEAD, attempt
from ui.places import version_key
from ui.words import ago, plain, plural

KEEP, LEAVE_OUT, MOVE = "Keep", "Leave out", "Move to "


def show(dataset: DatasetFolder) -> None:
    """The version that is open with the way back, and what waits to become the next one; nothing where there is neither."""
    made = dataset.versions.made()
    if made:
        _versions(dataset, made)
    waiting = dataset.versions.gathered()
    if waiting:
        with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"changes-{dataset.id}"):
            st.markdown(f":material/edit: Decided, and not applied yet: {_said(waiting)}.", width="stretch")
            apply_button(dataset, waiting, key="apply", primary=True)
            st.button(
                "Forget these",
                key=f"forget-{dataset.id}",
                type="tertiary",
                on_click=attempt,
                args=(HEAD, dataset.versions.take_back),
            )
        too_few = _stopping(dataset, waiting)
        if too_few:
            st.warning(
                f"With these changes no training could start. {plain(too_few, longest=600)}",
                icon=":material/warning:",
            )


@st.cache_data(
    max_entries=16,
    show_spinner=False,
    hash_funcs={DatasetFolder: version_key, Remedies: lambda waiting: waiting.model_dump_json()},
)
def _stopping(dataset: DatasetFolder, waiting: Remedies) -> str | None:
    """Why no run could start on what `waiting` makes of a version on which one can."""
    manifest = dataset.manifest()
    if problem(manifest):
        return None
    try:
        return problem(applied(manifest, waiting))
    except GraftError:
        # Apply says what is wrong with it.
        return None


def opened(dataset: DatasetFolder) -> tuple[Manifest | None, str | None]:
    """What the open version holds, or why it or what waits cannot be read. Raises NotFound, DocumentError where version 1 cannot, either."""
    try:
        dataset.versions.gathered()
        return dataset.manifest(), None
    except (NotFound, DocumentError) as error:
        dataset.at(1).manifest()
        return None, error.message


def way_back(dataset: DatasetFolder, damage: str) -> None:
    """Says why the open version cannot be opened, and leads to what was read."""
    st.error(plain(damage, longest=2000), icon=":material/error:")
    st.button(
        "Open version 1, as it was read", key=f"read-{dataset.id}", on_click=attempt, args=(HEAD, _as_read, dataset)
    )


def apply_button(dataset: DatasetFolder, waiting: Remedies, *, key: str, primary: bool = False) -> None:
    """Makes the next version of what waits."""
    st.button(
        f"Apply {plural(len(waiting), 'change')}",
        key=f"{key}-{dataset.id}",
        type="primary" if primary else "secondary",
        icon=":material/done_all:",
        help="Makes a new version of this data set with these changes (remedies). The one from before stays, and so do classifiers that learned from it",
        on_click=attempt,
        args=(HEAD, _apply, dataset, waiting),
    )


def gather_button(dataset: DatasetFolder, remedies: Remedies, label: str, *, key: str, icon: str) -> None:
    """Decides for several pictures at once."""
    st.button(label, key=key, icon=icon, on_click=attempt, args=(HEAD, dataset.versions.gather, remedies))


def grid(dataset: DatasetFolder, manifest: Manifest, rows: Sequence[int], captions: Sequence[str], *, key: str) -> None:
    """Pictures with their captions (Markdown), a page at a time, and under each what is to be done with it."""
    waiting = dataset.versions.gathered()
    images = [manifest.images[row] for row in rows]

    def decision(number: int) -> None:
        image, label = images[number], manifest.classes[images[number].label]
        field = f"{key}-{image.file}-{dataset.number}"
        st.session_state[field] = decided(waiting, image.file)
        st.selectbox(
            f"What to do with picture {rows[number] + 1}, {plain(label)}",
            [KEEP, LEAVE_OUT, *(f"{MOVE}{name}" for name in manifest.classes if name != label)],
            index=None,
            key=field,
            placeholder="Decide",
            label_visibility="collapsed",
            on_change=attempt,
            args=(HEAD, _take_over, dataset, image.file, field),
        )

    grids.grid([dataset.thumbnail(image) for image in images], captions, key=key, tile=140, under=decision)


def decided(waiting: Remedies, file: str) -> str | None:
    """What waits to be done with the picture whose copy is `file`: KEEP, LEAVE_OUT, or MOVE with the name of a class."""
    if file in waiting.move:
        return f"{MOVE}{waiting.move[file]}"
    return KEEP if file in waiting.keep else LEAVE_OUT if file in waiting.leave_out else None


def decide(dataset: DatasetFolder, file: str, choice: str | None) -> None:
    """Let that wait, as `decided` gives it; None: it is undecided again."""
    if choice is None:
        dataset.versions.take_back({file})
    elif choice == KEEP:
        dataset.versions.gather(Remedies(keep=(file,)))
    elif choice == LEAVE_OUT:
        dataset.versions.gather(Remedies(leave_out=(file,)))
    else:
        dataset.versions.gather(Remedies(move={file: choice.removeprefix(MOVE)}))


def _take_over(dataset: DatasetFolder, file: str, field: str) -> None:
    decide(dataset, file, st.session_state.get(field))


def _versions(dataset: DatasetFolder, made: dict[int, DatasetVersion]) -> None:
    current = dataset.number
    with st.container(horizontal=True, vertical_alignment="center"):
        field = f"version-{dataset.id}"
        st.session_state[field] = current
        st.selectbox(
            "Version",
            sorted((1, *made), reverse=True),
            format_func=lambda number: _called(number, made.get(number)),
            key=field,
            label_visibility="collapsed",
            width=420,
            on_change=attempt,
            args=(HEAD, _choose, dataset, field),
        )
        if current > 1:
            st.button(
                "Undo",
                key=f"undo-{dataset.id}",
                icon=":material/undo:",
                help=f"Back to version {made[current].parent}. Nothing is deleted, so you can come back",
                on_click=attempt,
                args=(HEAD, dataset.versions.choose, made[current].parent),
            )


def _called(number: int, version: DatasetVersion | None) -> str:
    if version is None:
        return "Version 1: as it was read"
    made = f"{plural(version.added, 'picture')} added" if version.added else _said(version.remedies)
    return f"Version {number}: {made}, {ago(version.created)}"


def _said(remedies: Remedies) -> str:
    parts = []
    if remedies.leave_out:
        parts.append(f"{len(remedies.leave_out):,} left out")
    if remedies.move:
        to = Counter(remedies.move.values())
        where = f" to {plain(next(iter(to)), longest=24)}" if len(to) == 1 else ""
        parts.append(f"{len(remedies.move):,} moved{where}")
    if remedies.keep:
        parts.append(f"{len(remedies.keep):,} kept")
    return ", ".join(parts)


def _apply(dataset: DatasetFolder, waiting: Remedies) -> None:
    # The second click of two finds what waited applied.
    still = dataset.versions.gathered()
    if still == waiting:
        with room_for(Workspace(dataset.workspace_folder), len(waiting.model_dump_json())):
            number = dataset.versions.apply(waiting)
        st.toast(f"Version {number} of {plain(dataset.name)}: {_said(waiting)}.", icon=":material/done_all:")


def _choose(dataset: DatasetFolder, field: str) -> None:
    dataset.versions.choose(st.session_state[field])


def _as_read(dataset: DatasetFolder) -> None:
    dataset.versions.choose(1)
    try:
        dataset.versions.gathered()
    except DocumentError:
        dataset.versions.take_back()
