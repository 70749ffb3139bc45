"""Pictures of a deck as data URIs, so that no slide waits for the server."""

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st
from PIL import Image

from tl_core.disk import modified
from tl_core.documents.report import ImageAnswer
from ui.evaluate_page.results import Result

_SIDES = (384, 288, 208, 144)
"""Longest sides, pixels: the first with which all pictures of a deck fit is taken."""
_QUALITY = 80
MOST_BYTES = 750_000
"""Of all pictures of a deck together: as base64 text, a megabyte."""
_TINY = 64
"""Pixels; a picture whose longest side is shorter is enlarged with sharp edges, so that a digit of 8 by 8 stays one."""


@dataclass(frozen=True)
class Encoded:
    """A picture inside the page."""

    source: str
    """Data URI."""
    tiny: bool


def encode(result: Result, answers: Sequence[ImageAnswer]) -> dict[int, Encoded]:
    """The pictures of `answers` by their rows, so small that `MOST_BYTES` hold them.

    Without those whose file is gone or cannot be read; empty where the data set is gone.
    """
    dataset, manifest = result.dataset, result.manifest
    if dataset is None or manifest is None:
        return {}
    paths = {answer.row: dataset.image(manifest.images[answer.row]) for answer in answers}
    for side in _SIDES:
        made = {row: _encoded(str(path), modified(path), side) for row, path in paths.items()}
        if sum(len(one[0]) for one in made.values() if one) <= MOST_BYTES:
            break
    return {
        row: Encoded(f"data:image/{one[1]};base64,{b64encode(one[0]).decode()}", one[2])
        for row, one in made.items()
        if one
    }


@st.cache_data(max_entries=400, show_spinner=False)
def _encoded(name: str, moment: float, side: int) -> tuple[bytes, str, bool] | None:
    """The bytes of a small copy, their format, and whether the picture is tiny; None where its file is gone or cannot be read."""
    if not moment:
        return None
    buffer = io.BytesIO()
    try:
        with Image.open(name) as image:
            image.draft("RGB", (side, side))
            small = image.convert("RGB")
    except (OSError, ValueError, EOFError, SyntaxError):
        # Damaged on the disk; which of these Pillow raises depends on where.
        return None
    small.thumbnail((side, side))
    tiny = max(small.size) < _TINY
    if tiny:
        small.save(buffer, "PNG")
        return buffer.getvalue(), "png", tiny
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue(), "jpeg", tiny
