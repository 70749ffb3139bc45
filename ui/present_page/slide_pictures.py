"""Pictures of a deck as data URIs, so that no slide waits for the server."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st
from PIL import Image

from tl_core.disk import modified
from tl_core.documents.report import ImageAnswer
from ui.evaluate_page.results import Result

_SIDE = 384
"""Longest side, pixels."""
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
    """The pictures of `answers` by their rows: as many of them, in order, as `MOST_BYTES` hold.

    Without those whose file is gone; empty where the data set is.
    """
    dataset, manifest = result.dataset, result.manifest
    if dataset is None or manifest is None:
        return {}
    found, left = {}, MOST_BYTES
    for answer in answers:
        path = dataset.image(manifest.images[answer.row])
        made = _encoded(str(path), modified(path))
        if made is None or len(made[0]) > left:
            continue
        content, kind, tiny = made
        left -= len(content)
        found[answer.row] = Encoded(f"data:image/{kind};base64,{b64encode(content).decode()}", tiny)
    return found


@st.cache_data(max_entries=400, show_spinner=False)
def _encoded(name: str, moment: float) -> tuple[bytes, str, bool] | None:
    """The bytes of a small copy, their format, and whether the picture is tiny; None where its file is gone."""
    if not moment:
        return None
    buffer = io.BytesIO()
    with Image.open(name) as image:
        image.draft("RGB", (_SIDE, _SIDE))
        small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    tiny = max(small.size) < _TINY
    if tiny:
        small.save(buffer, "PNG")
        return buffer.getvalue(), "png", tiny
    small.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue(), "jpeg", tiny
