"""Text of many lines in a part of the page that scrolls."""

from __future__ import annotations

from typing import Literal

import streamlit as st


def scrolled(text: str, *, height: int | Literal["content"]) -> None:
    """`text` as it is, in a part of `height` pixels, or as high as it is.

    The part around it scrolls, and not the text itself, as it would by `st.code(height=...)`: nothing in that takes the focus, so the
    keyboard could not scroll it in every browser. The part has the button that copies the text.
    """
    with st.container(height=height):
        st.code(text, language=None, wrap_lines=True)
