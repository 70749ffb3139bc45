"""Thumbnails side by side: strips of a class, grids, and page numbers under long lists.

Strips and enlarged pictures are PNG, and declared as such: Streamlit decodes and encodes any other format again at every rerun of a
page. They are cached by the file's name and time, since a file that is written again has a new time. The cache holds a few thousand
small entries.
"""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import streamlit as st
from PIL import Image, ImageOps
from streamlit.delta_generator import DeltaGenerator

from tl_core.data.pixels import enlarged
from tl_core.disk import modified
from ui.words import plain, short

Item = TypeVar("Item")
_TILE = 96
_GAP = 4
_SMALL = 48
"""Pixels; a thumbnail whose longest side is shorter is enlarged with sharp edges, so that a digit of 8 by 8 stays one."""


def strip(paths: Sequence[Path], *, alt: str, places: int) -> None:
    """One row of squares, cut from the middle of each picture. All rows of `places` squares line up."""
    if paths:
        files = tuple((str(path), modified(path)) for path in paths[:places])
        st.image(_sheet(files, places), width="stretch", output_format="PNG", alt=short(alt, longest=200))


def picture(path: Path, *, caption: str | None = None, alt: str) -> None:
    """One thumbnail, whole, with a `caption` in Markdown; a sentence where its file is gone."""
    moment = modified(path)
    if not moment:
        st.caption("This picture was deleted.")
        return
    shown = _enlarged(str(path), moment)
    st.image(
        shown or path.read_bytes(),
        width="stretch",
        output_format="PNG" if shown else "JPEG",
        caption=caption,
        alt=short(alt, longest=200),
    )


def grid(
    paths: Sequence[Path],
    captions: Sequence[str],
    *,
    key: str,
    page_size: int = 24,
    tile: int = 120,
    alts: Sequence[str] = (),
    under: Callable[[int], object] | None = None,
) -> None:
    """Thumbnails with captions (Markdown), a page at a time. `alts`: what is read out of each, if that is not its caption. `under` draws what
    stands under each, by its number from 0.
    """
    place, shown = paged(range(len(paths)), key=key, page_size=page_size)
    with place, st.grid("auto", min_column_width=tile, gap="small", vertical_alignment="bottom") as tiles:
        for number in shown:
            caption = captions[number]
            spoken = alts[number] if alts else caption.replace("\\", "").replace("**", "")  # without its Markdown
            with tiles.cell(), st.container(gap="xxsmall", horizontal_alignment="center"):
                picture(paths[number], caption=caption or None, alt=spoken or "a picture of the data set")
                if under:
                    under(number)


def mosaic(rows: Sequence[tuple[str, int, Sequence[Path]]], *, key: str, across: int = 8, page_size: int = 10) -> None:
    """One strip per class: (name, number of pictures, thumbnails), a page of classes at a time."""
    place, shown = paged(rows, key=key, page_size=page_size)
    with place, st.grid(2, min_column_width=300, gap="medium") as tiles:
        for name, number, paths in shown:
            with tiles.cell(), st.container(gap="xsmall"):
                st.markdown(f"**{plain(name)}** :gray[{number:,}]")
                strip(paths, alt=f"pictures of {name}", places=across)


def paged(items: Sequence[Item], *, key: str, page_size: int) -> tuple[DeltaGenerator, Sequence[Item]]:
    """The items of the chosen page, and the container for them above the page numbers, which are drawn here."""
    pages = -(-len(items) // page_size)
    place = st.container()
    current = st.pagination(pages, key=f"{key}-page") if pages > 1 else 1
    return place, items[(current - 1) * page_size : current * page_size]


@st.cache_data(max_entries=400, show_spinner=False)
def _sheet(files: tuple[tuple[str, float], ...], places: int) -> bytes:
    """PNG of the squares in one row."""
    sheet = Image.new("RGBA", (places * _TILE + (places - 1) * _GAP, _TILE), (0, 0, 0, 0))
    for place, (name, moment) in enumerate(files):
        if not moment:
            continue
        try:
            with Image.open(name) as image:
                method = Image.Resampling.NEAREST if max(image.size) < _SMALL else Image.Resampling.BILINEAR
                square = ImageOps.fit(image.convert("RGB"), (_TILE, _TILE), method)
        except OSError:
            # Deleted since, or still being written: its place stays empty until its time changes.
            continue
        sheet.paste(square, (place * (_TILE + _GAP), 0))
    return png(sheet)


@st.cache_data(max_entries=2000, show_spinner=False)
def _enlarged(name: str, moment: float) -> bytes | None:
    """PNG of a picture that is too small to be seen, enlarged; None where it is large enough."""
    # `moment` is part of the cache's key alone.
    with Image.open(name) as image:
        return png(enlarged(image.convert("RGB"), below=_SMALL)) if max(image.size) < _SMALL else None


def png(image: Image.Image) -> bytes:
    """`image` as a PNG file, which takes little time and some more bytes than it could have."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
