"""What tests of data sets share: running a generator to its end, ingesting a folder, a check that looks at pixels."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from PIL import Image

from tl_core.data import checks
from tl_core.data.checks import Check, Finding
from tl_core.data.ingest import ingest
from tl_core.data.measures import MEASURES, Measure
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


def no_links(*_: object) -> None:
    """In the place of `os.link` on a file system without links."""
    raise OSError(18, "Invalid cross-device link")


def blocks(seed: int, size: tuple[int, int] = (200, 150)) -> Image.Image:
    """A picture with sharp edges, as photos have: blocks of 10 x 10 pixels in random colours."""
    width, height = size
    colours = np.random.default_rng(seed).integers(20, 236, (height // 10, width // 10, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.NEAREST)


def black(path: Path) -> None:
    """Write a picture that the check `NEARLY_BLACK` finds."""
    Image.new("RGB", (64, 48), (2, 1, 3)).save(path)


def _nearly_black(manifest: Manifest) -> Iterator[Finding]:
    rows = [row for row, image in enumerate(manifest.images) if image.measured.get("nearly_black", 255) < 16]
    if rows:
        yield Finding(
            message=f"{len(rows)} of the pictures can hardly be seen. Take them again with more light.",
            rows=tuple(rows),
        )


NEARLY_BLACK = Check(kind="nearly_black", find=_nearly_black, remedy="photograph")
"""A row as a later change may add it to `CHECKS`."""


def add_nearly_black(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add `NEARLY_BLACK` and what it finds by to the tables; only a process that decodes the pictures itself knows them."""
    monkeypatch.setitem(checks.CHECKS, NEARLY_BLACK.kind, NEARLY_BLACK)
    grey = Measure("pixels", lambda image: image.convert("L").resize((1, 1)).getpixel((0, 0)))
    monkeypatch.setitem(MEASURES, NEARLY_BLACK.kind, grey)


def scene(number: int, width: int = 320, height: int = 240) -> Image.Image:
    """A picture with detail of all sizes, another one for each `number`."""
    generator = np.random.default_rng(number)
    whole = np.zeros((height, width, 3))
    for cells in (3, 6, 12, 24, 48):
        noise = Image.fromarray(generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        whole += np.asarray(noise.resize((width, height), Image.Resampling.BICUBIC)) / 5
    return Image.fromarray(whole.astype(np.uint8))
