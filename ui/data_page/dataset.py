"""A data set on the page: the progress of reading it, then what it holds and what the checks found."""

from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path

import streamlit as st

from tl_core.data.checks import Finding, findings
from tl_core.data.remedying import kept, proposed
from tl_core.data.split import DEFAULT_SEED, assign, split_counts
from tl_core.documents.events import Status
from tl_core.documents.manifest import SPLITS, Manifest, Remedies
from tl_core.documents.options import DEFAULT_NETWORK
from tl_core.models.registry import network
from tl_core.runs.store.folders import DatasetFolder
from ui import charts, grids, listing, live
from ui.data_page import changes
from ui.places import version_key
from ui.words import plain, plural

_LISTED = 8
"""Most classes whose added pictures are counted in the sentence."""


@st.cache_data(max_entries=16, show_spinner=False, hash_funcs={DatasetFolder: version_key})
def _looked_at(dataset: DatasetFolder) -> tuple[dict[str, dict[str, int]], list[Finding]]:
    """Images per class and split of the default seed, and the findings."""
    manifest = dataset.manifest()
    return split_counts(manifest, assign(manifest, DEFAULT_SEED)), findings(manifest)


def reading(dataset: DatasetFolder) -> None:
    """The live view of an ingest: progress, remaining time, thumbnails as they are ready. Redraws the page when it has ended."""
    live.each_second([dataset], lambda: _reading(dataset))


def _reading(dataset: DatasetFolder) -> None:
    followed = live.follow(dataset)
    with st.container(border=True):
        st.progress(followed.fraction, text=followed.sentence)
        live.notices(followed)
        # Their names are the order in which they are read.
        ready = sorted((dataset.path / "thumbnails").glob("*.jpg"))[-24:]
        for first in range(0, len(ready), 12):
            row = ready[first : first + 12]
            if len(row) == 12:
                grids.strip(row, alt="pictures that were just read", places=12)
        live.cancel_button(dataset)


def ended(dataset: DatasetFolder, status: Status) -> None:
    """Why nothing came of reading pictures, or of adding some, and the log."""
    reason = status.failure.message if status.failure else "Reading was cancelled."
    if dataset.ready:
        reason = f"No pictures were added: what was here before is as it was. {reason}"
    if status.failure:
        st.error(plain(reason, longest=1500), icon=":material/error:")
    else:
        st.warning(reason, icon=":material/cancel:")
    live.log(dataset)


def found(dataset: DatasetFolder, manifest: Manifest, *, passed_over: Collection[str] = ()) -> None:
    """How much there is, what waits to be applied, and the findings but for those of the kinds `passed_over`."""
    pictures, classes = plural(len(manifest.images), "picture"), plural(len(manifest.classes), "class", "classes")
    st.markdown(f"{pictures} in {classes}.")
    if manifest.added:
        _added(dataset, manifest)
    changes.show(dataset)
    for index, finding in enumerate(_looked_at(dataset)[1]):
        if finding.kind not in passed_over:
            _tell(dataset, manifest, finding, key=f"finding-{finding.kind}-{index}-{dataset.id}-{dataset.number}")


def pictures(dataset: DatasetFolder, manifest: Manifest) -> None:
    """The pictures by class and by part, their sizes, and all of them a page at a time."""
    table, _ = _looked_at(dataset)
    rows: dict[int, list[Path]] = defaultdict(list)
    for image in manifest.images:
        if len(rows[image.label]) < 12:
            rows[image.label].append(dataset.thumbnail(image))
    number = Counter(image.label for image in manifest.images)
    grids.mosaic(
        [(name, number[label], rows[label]) for label, name in enumerate(manifest.classes)], key=f"mosaic-{dataset.id}"
    )
    figure = charts.class_counts(
        manifest.classes, {part: [table[name][part] for name in manifest.classes] for part in SPLITS}
    )
    charts.show(figure, key=f"counts-{dataset.id}", alt="Pictures per class and split")
    if manifest.own_splits:
        st.caption(
            "The split into these parts is your own. Where it has no test pictures, its validation pictures are held out instead; validation pictures that are then missing are cut from the training pictures."
        )
    else:
        st.caption(
            "About 70 % to learn from (training), 15 % to choose settings by (validation), 15 % held out (test): the split of the default seed."
            + (" The pictures from before stay in the parts that they were in." if manifest.added else "")
            + _beside(len(manifest.images) - sum(sum(parts.values()) for parts in table.values()))
        )
    groups = {image.given_group for image in manifest.images} - {None}
    if groups:
        of = sum(image.given_group is not None for image in manifest.images)
        st.caption(
            f"{plural(of, 'picture')} in {plural(len(groups), 'group')} that you gave: no group is divided between these parts."
            if not manifest.own_splits
            else f"{plural(of, 'picture')} in {plural(len(groups), 'group')} that you gave."
        )
    _sizes(dataset, manifest)
    browse(dataset, manifest)
    if manifest.note or manifest.licence:
        st.caption(" ".join(plain(text, longest=600) for text in (manifest.note, manifest.licence) if text))


def _beside(without_part: int) -> str:
    if not without_part:
        return ""
    are = "is" if without_part == 1 else "are"
    return f" {plural(without_part, 'picture')} beside the cut through a class of one moment {are} in none of them."


def _sizes(dataset: DatasetFolder, manifest: Manifest) -> None:
    """How large the pictures were before they were copied; drawn only while it is open."""
    box = st.expander(
        "Sizes of the pictures", icon=":material/straighten:", on_change="rerun", key=f"sizes-{dataset.id}"
    )
    with box:
        if not box.open:
            return
        # What was read by an earlier version has the size of the copies only.
        sides = [
            min(image.measured.get("file_width", image.width), image.measured.get("file_height", image.height))
            for image in manifest.images
        ]
        figure = charts.picture_sizes(sides, seen=network(DEFAULT_NETWORK).weights_row().input_size)
        charts.show(figure, key=f"sizes-chart-{dataset.id}", alt="Shorter side of the pictures")


def _added(dataset: DatasetFolder, manifest: Manifest) -> None:
    """What was added in this version and, unfolded, the pictures."""
    before = manifest.parent.classes if manifest.parent else ()
    of = Counter(manifest.classes[image.label] for image in manifest.added)
    new = {name: "" if name in before else ", a new class" for name in of}
    listed = [f"{number:,} of {plain(name)}{new[name]}" for name, number in of.most_common(_LISTED)]
    if len(of) > _LISTED:
        listed.append(f"{len(of) - _LISTED} more classes")
    sentence = f"{len(manifest.images) - len(manifest.added):,} as before, and {len(manifest.added):,} that were added: {'; '.join(listed)}."
    with st.expander(sentence, icon=":material/add_photo_alternate:"):
        grids.grid(
            [dataset.thumbnail(image) for image in manifest.added],
            [plain(manifest.classes[image.label]) for image in manifest.added],
            key=f"added-{dataset.id}",
        )


def _tell(dataset: DatasetFolder, manifest: Manifest, finding: Finding, *, key: str) -> None:
    """One finding: its sentences and, unfolded, the pictures or files that it is about."""
    message = plain(finding.message, longest=1500)
    icon = f":material/{'warning' if finding.stops else 'lightbulb' if finding.remedy else 'info'}:"
    if finding.rows:
        with st.expander(message, icon=icon, on_change="rerun", key=f"{key}-box") as box:
            if box.open:
                _pictures(dataset, manifest, finding, key=key)
    elif finding.files:
        with st.expander(message, icon=icon):
            why = {"Why": finding.reasons} if finding.reasons else {}
            listing.table({"File": finding.files} | why, key=key)
    elif finding.stops:
        st.warning(message, icon=icon)
    else:
        st.markdown(f"{icon} {message}")


def _pictures(dataset: DatasetFolder, manifest: Manifest, finding: Finding, *, key: str) -> None:
    """The pictures of a finding, what is to be done with each, and with all of them at once."""
    remedies = proposed(manifest, finding)
    with st.container(horizontal=True, vertical_alignment="center"):
        if remedies:
            changes.gather_button(
                dataset, remedies, _in_words(finding, remedies), key=f"{key}-do", icon=":material/auto_fix_high:"
            )
        if finding.remedy in ("leave_out", "move"):
            everything = kept(manifest, finding)
            label = "Keep it" if len(finding.rows) == 1 else "Keep them all"
            changes.gather_button(dataset, everything, label, key=f"{key}-keep", icon=":material/thumb_up:")
        waiting = dataset.versions.gathered()
        if waiting:
            changes.apply_button(dataset, waiting, key=f"{key}-apply")
    images = [manifest.images[row] for row in finding.rows]
    captions = [plain(reason, longest=120) for reason in finding.reasons] or [
        f"{plain(manifest.classes[image.label])}{f' ({image.split})' if image.split else ''}" for image in images
    ]
    changes.grid(dataset, manifest, finding.rows, captions, key=key)


def _in_words(finding: Finding, remedies: Remedies) -> str:
    """What a button does that takes all of `remedies`."""
    if len(finding.rows) == 1:
        return "Move it to the class that was answered" if remedies.move else "Leave it out"
    if remedies.move:
        return f"Move all {len(remedies.move):,} to the classes that were answered"
    if finding.kind == "near_copy":
        return f"Leave out {len(remedies.leave_out):,}: all but one of each group"
    if finding.kind == "copy_across_splits":
        return f"Leave out {plural(len(remedies.leave_out), 'copy', 'copies')} in val and test"
    return f"Leave out all {len(remedies.leave_out):,}"


def browse(dataset: DatasetFolder, manifest: Manifest) -> None:
    """All pictures of one class, a page at a time; drawn only while it is open."""
    with st.expander(
        "Look at every picture of a class", icon=":material/grid_view:", on_change="rerun", key=f"browse-{dataset.id}"
    ) as box:
        if not box.open:
            return
        label = st.selectbox(
            "Class",
            range(len(manifest.classes)),
            format_func=manifest.classes.__getitem__,
            key=f"class-{dataset.id}-{dataset.number}",
        )
        rows = [row for row, image in enumerate(manifest.images) if image.label == label]
        changes.grid(dataset, manifest, rows, [""] * len(rows), key=f"all-{dataset.id}-{label}")
