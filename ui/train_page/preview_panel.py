"""What each level of augmentation does to the user's own pictures: a job makes the copies, the page shows them side by side."""

from typing import get_args

import streamlit as st

from tl_core.documents.manifest import Manifest
from tl_core.documents.options import Level
from tl_core.documents.tasks import PreviewSpec
from tl_core.runs.store.folders import DatasetFolder
from ui import asking, grids
from ui.places import Here

_COPIES = 4
_SIZE = 160


def show(here: Here, dataset: DatasetFolder, manifest: Manifest, level: str) -> None:
    """The button, then a row of pictures for every level; `level` is the one that would be used."""
    spec = PreviewSpec(
        workspace=here.workspace.token,
        dataset=dataset.id,
        version=dataset.number,
        rows=_rows(manifest),
        copies=_COPIES,
        image_size=_SIZE,
    )
    task = asking.panel(
        here.workspace,
        spec,
        "Show it on my pictures",
        key="preview",
        icon=":material/auto_fix_high:",
        help="Makes a few changed copies with each level, as training would",
    )
    if task is None:
        return
    for name in get_args(Level):
        files = [task.path / f"{name}-{row}-{copy}.jpg" for row in spec.rows for copy in range(_COPIES)]
        st.caption(f"**{name}**" + (" :green-badge[would be used]" if name == level else ""))
        grids.strip(files, alt=f"pictures changed with level {name}", places=len(files))


def _rows(manifest: Manifest) -> tuple[int, ...]:
    """The first picture of each of two classes."""
    labels = [image.label for image in manifest.images]
    return tuple(labels.index(label) for label in dict.fromkeys(labels[:1] + labels[-1:]))
