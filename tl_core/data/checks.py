"""What a folder would give, what keeps it from being trained on, and what would make it better. Keeps no picture."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Literal, Protocol

from tl_core.data.split import assign, split_counts
from tl_core.documents.base import Record
from tl_core.documents.events import Event
from tl_core.documents.manifest import Manifest, Refusal
from tl_core.documents.spec import ClassesFrom, IngestSpec
from tl_core.errors import DataError, LayoutError, NotEnoughImages

FEWEST = 5
"""Distinct images that a class needs (in train, where the split is the user's own)."""
FEW = 20
"""Below this many the result is unsteady, and the page says so."""
MOST_CLASSES = 1_000
DEFAULT_SEED = 0


class Source(Protocol):
    """What DATA stands for: `where` is an absolute path, or the sample's name."""

    @property
    def kind(self) -> Literal["folder", "zip", "sample"]: ...

    @property
    def where(self) -> str: ...


class CheckResult(Record):
    classes: dict[str, dict[str, int]]
    """Images per class and split: the user's own split, else the default seed's."""
    images: int
    refused: tuple[Refusal, ...]
    passed_over: int
    dropped_duplicates: int
    """Byte-identical images within a class, of which one would be kept."""
    folded_folders: int
    problem: str | None
    """Why no run could start on this; None: one could."""
    advice: tuple[str, ...]


def check(source: Source, classes_from: ClassesFrom = "first") -> Generator[Event, None, CheckResult]:
    """What ingest would take and refuse, and why: everything is decoded, nothing kept.

    Raises:
        As `ingest.ingest`.
    """
    from tl_core.data.ingest import read

    spec = IngestSpec(
        name="check", source_kind=source.kind, source=source.where, classes_from=classes_from, remove_source=False
    )
    with tempfile.TemporaryDirectory(prefix="graft-check-") as staging:
        manifest = yield from read(spec, staging=Path(staging))
    return CheckResult(
        classes=split_counts(manifest, assign(manifest, DEFAULT_SEED)),
        images=len(manifest.images),
        refused=manifest.refused,
        passed_over=manifest.passed_over,
        dropped_duplicates=manifest.dropped_duplicates,
        folded_folders=manifest.folded_folders,
        problem=problem(manifest),
        advice=tuple(advice(manifest)),
    )


def problem(manifest: Manifest) -> str | None:
    """The sentence of the error that `require_trainable` would raise, or None."""
    try:
        require_trainable(manifest)
    except DataError as error:
        return error.message
    return None


def require_trainable(manifest: Manifest) -> None:
    """Nothing, where a run can start on `manifest`.

    Raises:
        LayoutError: one class only, or far too many; a class in val or test that train lacks.
        NotEnoughImages: a class has fewer than 5 distinct images to learn from; every such class is named.
    """
    if len(manifest.classes) < 2:
        raise LayoutError(
            f"There is one class only, {_quoted(manifest.classes)}. A classifier needs two at least: "
            "put the pictures of each class into a folder of its own, all of them in one folder."
        )
    if len(manifest.classes) > MOST_CLASSES:
        raise LayoutError(
            f"There are {len(manifest.classes):,} classes; a classifier takes {MOST_CLASSES:,} at most. Does every picture have "
            "a folder of its own? Put the pictures of each class together."
        )
    learned = {image.label for image in manifest.images if image.split in (None, "train")}
    if manifest.own_splits:
        strangers = [manifest.classes[label] for label in sorted({image.label for image in manifest.images} - learned)]
        if not learned:
            raise LayoutError("There are val or test folders but no train folder with pictures in it. Add one.")
        if strangers:
            raise LayoutError(
                f"{_quoted(strangers)} {_is(strangers)} in val or test but not in train, so it could never be learned. "
                "Add pictures to train, or take the folder out of val and test."
            )
    small = [f"{name!r} has {count}" for name, count in distinct(manifest).items() if count < FEWEST]
    if small:
        where = " in train" if manifest.own_splits else ""
        raise NotEnoughImages(
            f"Each class needs {FEWEST} different pictures{where} at least: {', '.join(small)}. "
            f"Add pictures ({FEW} or more make a steady result), or take the class out."
        )


def distinct(manifest: Manifest) -> dict[str, int]:
    """Different images per class, in class order: in train, where the split is the user's own, else in all."""
    contents: dict[int, set[str]] = defaultdict(set)
    for image in manifest.images:
        if image.split in (None, "train"):
            contents[image.label].add(image.sha256)
    return {name: len(contents[label]) for label, name in enumerate(manifest.classes)}


def advice(manifest: Manifest) -> list[str]:
    """What would make the result better or deserves a look, a sentence each."""
    counts = distinct(manifest)
    sentences = []
    few = [f"{name!r} ({count})" for name, count in counts.items() if count < FEW]
    if few:
        where = " in train" if manifest.own_splits else ""
        sentences.append(
            f"Few pictures{where}: {_listed(few)}. {FEW} or more of each would make the result steadier; with so few, "
            "a single picture decides much of what is measured."
        )
    if counts and min(counts.values()) and max(counts.values()) >= 10 * min(counts.values()):
        largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        sentences.append(
            f"{largest!r} has {counts[largest]:,} pictures and {smallest!r} {counts[smallest]:,}: "
            f"the classifier will lean towards {largest!r}. More pictures of {smallest!r} would help most."
        )
    if manifest.conflicts:
        first = manifest.conflicts[0]
        names = sorted({manifest.classes[manifest.images[row].label] for row in first})
        sentences.append(
            f"{_pictures(len(manifest.conflicts))} the same in two classes, among them {manifest.images[first[0]].name!r} "
            f"({' and '.join(repr(name) for name in names)}). One of the labels is wrong; mend it and add the pictures again."
        )
    if manifest.leaks:
        sentences.append(
            f"{_pictures(len(manifest.leaks))} in more than one of your train, val and test folders, among them "
            f"{manifest.images[manifest.leaks[0][0]].name!r}. The result will look better than it is."
        )
    return sentences


def _pictures(count: int) -> str:
    return "1 picture is" if count == 1 else f"{count:,} pictures are"


def _listed(phrases: Sequence[str], most: int = 8) -> str:
    more = len(phrases) - most
    return ", ".join(phrases[:most]) + (f" and {more} more classes" if more > 0 else "")


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
