"""What the tests of this package share: running a generator to its end, ingesting a folder."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

from tl_core.data.ingest import ingest
from tl_core.documents.events import Event
from tl_core.documents.manifest import Manifest
from tl_core.documents.spec import ClassesFrom, IngestSpec

Result = TypeVar("Result")


def finish(generator: Generator[Event, None, Result]) -> tuple[list[Event], Result]:
    """The events of a generator and what it returned."""
    events: list[Event] = []
    while True:
        try:
            events.append(next(generator))
        except StopIteration as stop:
            return events, stop.value


def spec(source: Path | str, kind: str | None = None, classes_from: ClassesFrom = "first") -> IngestSpec:
    kind = kind or ("zip" if str(source).endswith(".zip") else "folder")
    return IngestSpec(name="test", source_kind=kind, source=str(source), classes_from=classes_from)


def ingested(source: Path, into: Path) -> Manifest:
    """The manifest of `source`, read into `into`."""
    return finish(ingest(spec(source), into, staging=into.parent / "staging"))[1]
