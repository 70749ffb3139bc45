"""The pictures of a story: small JPEGs without any metadata, as data URIs, and which ones show its answers and stand for each class."""

from __future__ import annotations

import io
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from tl_core.disk import read_once
from tl_core.documents.manifest import Manifest
from tl_core.documents.report import ImageAnswer, Report

MISTAKES = 12
"""Mistakes that are shown where nobody picks them."""
RIGHT = 4
"""Right answers that are shown where nobody picks them."""
MOST_PICKED = 60
"""The most answers that one story shows."""
SIDES = (256, 208, 168, 136, 112, 88, 64)
"""Longest sides in pixels, from that of a thumbnail down: the first with which a story keeps its size is taken."""
IN_ROWS = 20
"""The most classes that have a row of pictures each; of more, each is a tile with one picture."""
_OF_A_CLASS = 6
_OF_ALL_CLASSES = 60
"""The most pictures that stand for the classes together."""
_QUALITY = 82
_FEW_PIXELS = 64
"""A picture whose longest side is shorter was enlarged to its thumbnail with sharp edges, and stays so."""


@dataclass(frozen=True)
class Album:
    """The thumbnails of one data set, at one size."""

    manifest: Manifest
    folder: Path
    side: int

    def picture(self, row: int, *, scale: float = 1.0) -> Picture | None:
        """The picture at `row` of the manifest, its longest side at most `scale` times that of the album; None where its file is gone."""
        entry = self.manifest.images[row]
        file = self.folder / f"{Path(entry.file).stem}.jpg"
        try:
            encoded = _encoded(file, max(48, round(self.side * scale)))
        except OSError:
            # Deleted since, or broken on the disk: the story goes without this picture.
            return None
        return Picture(*encoded, sharp=max(entry.width, entry.height) < _FEW_PIXELS)


@dataclass(frozen=True)
class Picture:
    """One picture of a story."""

    uri: str
    """The address that holds the picture itself."""
    width: int
    height: int
    sharp: bool
    """Whether its pixels are to be seen as squares."""


def proposed(report: Report, *, mistakes: int = MISTAKES, right: int = RIGHT) -> list[ImageAnswer]:
    """Answers to show where nobody picks any: the `mistakes` wrong ones with the highest probability, and `right` ones spread evenly over all
    right answers, as the report has them. Fewer where there are fewer.
    """
    good = [answer for answer in report.answers if answer.truth == answer.predicted]
    shown = min(right, len(good))
    return [*report.mistakes()[:mistakes], *(good[place * len(good) // shown] for place in range(shown))]


def of_classes(manifest: Manifest) -> dict[int, list[int]]:
    """For each class that is shown, rows of pictures that stand for it, spread evenly over its pictures.

    Of so many classes that not each can have one, those with the most pictures are shown.
    """
    rows: dict[int, list[int]] = {label: [] for label in range(len(manifest.classes))}
    for row, image in enumerate(manifest.images):
        rows[image.label].append(row)
    largest = sorted((label for label in rows if rows[label]), key=lambda label: -len(rows[label]))[:_OF_ALL_CLASSES]
    each = 1 if len(largest) > IN_ROWS else min(_OF_A_CLASS, _OF_ALL_CLASSES // max(1, len(largest)))
    return {label: _spread(rows[label], each) for label in sorted(largest)}


def _spread(rows: list[int], count: int) -> list[int]:
    shown = min(count, len(rows))
    return [rows[place * len(rows) // shown] for place in range(shown)]


@read_once(400)
def _encoded(file: Path, side: int) -> tuple[str, int, int]:
    """Address, width and height. Raises OSError where the file cannot be read."""
    with Image.open(file) as image:
        small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    clean = Image.new("RGB", small.size)
    clean.paste(small)
    buffer = io.BytesIO()
    clean.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{b64encode(buffer.getvalue()).decode()}", *small.size
