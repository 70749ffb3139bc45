"""On the Data page: a map on which similar pictures are near each other; those that are selected on it can be reviewed."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from tl_core.data.checks import problem
from tl_core.documents.manifest import Manifest
from tl_core.documents.tasks import PictureMap, PictureMapSpec
from tl_core.runs.store.folders import DatasetFolder, TaskFolder
from ui import asking, charts, grids
from ui.data_page import reviewing
from ui.data_page.reviewing import Candidate
from ui.places import Here, task_key
from ui.words import plain, plural

_STRANGEST = 48
"""Pictures of the chosen classes that are shown where none is selected."""


def show(here: Here, dataset: DatasetFolder, manifest: Manifest) -> None:
    """The map of `dataset`, drawn only while it is open; nothing where no run can start on the data set."""
    if problem(manifest):
        return
    with st.expander(
        "A map of the pictures", icon=":material/scatter_plot:", on_change="rerun", key=f"map-{dataset.id}"
    ) as box:
        if box.open:
            _show(here, dataset, manifest)


def _show(here: Here, dataset: DatasetFolder, manifest: Manifest) -> None:
    spec = PictureMapSpec(workspace=here.workspace.token, dataset=dataset.id, version=dataset.number)
    task = asking.panel(
        here.workspace,
        spec,
        "Draw the map",
        intro="Each picture becomes a dot, and pictures that look alike to a network lie near each other.",
        key=f"draw-map-{dataset.id}",
        icon=":material/scatter_plot:",
    )
    if task:
        _drawn(dataset, manifest, _answer(task), f"{task.path} {task.created}")


@st.cache_resource(max_entries=8, show_spinner=False, hash_funcs={TaskFolder: task_key})
def _answer(task: TaskFolder) -> PictureMap:
    """Read once: that of 5,000 pictures has a megabyte."""
    return PictureMap.read(task.result_file)


def _drawn(dataset: DatasetFolder, manifest: Manifest, picture_map: PictureMap, drawn: str) -> None:
    key = f"map-{dataset.id}-{dataset.number}"
    labels = [manifest.images[row].label for row in picture_map.rows]
    some = (
        f"{len(picture_map.rows):,} of {len(manifest.images):,}, drawn by chance"
        if len(picture_map.rows) < len(manifest.images)
        else ""
    )
    shown = st.multiselect(
        "Classes",
        range(len(manifest.classes)),
        format_func=manifest.classes.__getitem__,
        key=f"{key}-classes",
        placeholder="All classes",
    )
    left, right = st.columns([3, 2], gap="medium")
    with left:
        picked = charts.show(
            charts.picture_map(
                picture_map.rows,
                picture_map.x,
                picture_map.y,
                labels,
                manifest.classes,
                tuple(shown) or tuple(range(len(manifest.classes))),
                title="Similar pictures lie near each other",
                drawn=drawn,
            ),
            key=f"{key}-chart-{'-'.join(map(str, shown))}",
            lasso=True,
            on_select="rerun",
            selection_mode=("lasso", "box", "points"),
            alt="A dot for each picture, in the colour of its class; similar pictures lie near each other",
        )
        st.caption(
            "Draw around dots, or click one. Distances between far dots say nothing (t-SNE of frozen features)."
            + (f" {some}." if some else "")
        )
    with right:
        rows = charts.selected_rows(picked)
        if not rows and shown:
            rows = _strangest(picture_map, labels, shown)
            st.markdown(f"The {len(rows):,} that lie farthest from the others of their class")
        elif rows:
            st.markdown(f"{plural(len(rows), 'picture')} selected")
        else:
            st.markdown(
                "Draw around some dots to see their pictures here, or choose a class above to see those that lie farthest from the others of it."
            )
            return
        place_of = {row: place for place, row in enumerate(picture_map.rows)}
        st.button(
            f"Review {plural(len(rows), 'picture')}",
            icon=":material/rule:",
            type="primary",
            key=f"{key}-review",
            on_click=reviewing.take,
            args=(dataset, [_candidate(manifest, picture_map, place_of[row]) for row in rows]),
        )
        grids.grid(
            [dataset.thumbnail(manifest.images[row]) for row in rows],
            [plain(manifest.classes[manifest.images[row].label], longest=24) for row in rows],
            key=f"{key}-grid",
            page_size=12,
            tile=90,
        )


def _candidate(manifest: Manifest, picture_map: PictureMap, place: int) -> Candidate:
    row, other = picture_map.rows[place], picture_map.other[place]
    image = manifest.images[row]
    return Candidate(
        row=row,
        suggested=other,
        lookalikes=picture_map.lookalikes[place],
        said=f"Labelled **{plain(manifest.classes[image.label])}**. "
        f"Of the other classes, **{plain(manifest.classes[other])}** has the most similar picture.",
    )


def _strangest(picture_map: PictureMap, labels: Sequence[int], shown: Sequence[int]) -> list[int]:
    """Rows of pictures of the classes `shown`, those first that lie farthest from the median place of their class."""
    places, of = np.column_stack([picture_map.x, picture_map.y]), np.array(labels)
    away = np.zeros(len(of))
    for label in shown:
        members = of == label
        if members.any():
            away[members] = np.linalg.norm(places[members] - np.median(places[members], axis=0), axis=1)
    candidates = np.flatnonzero(np.isin(of, shown))
    return [picture_map.rows[place] for place in candidates[np.argsort(-away[candidates], kind="stable")][:_STRANGEST]]
