"""What has many lines: text in a part of the page that scrolls, and tables, which a visitor can take along as a CSV."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import streamlit as st

from tl_core.markdown import cell


def scrolled(text: str, *, height: int | Literal["content"]) -> None:
    """`text` as it is, in a part of `height` pixels, or as high as it is.

    The part around it scrolls, and not the text itself, as it would by `st.code(height=...)`: nothing in that takes the focus, so the
    keyboard could not scroll it in every browser. The part has the button that copies the text.
    """
    with st.container(height=height):
        st.code(text, language=None, wrap_lines=True)


def table(columns: Mapping[str, Sequence[object]], *, key: str, config: Mapping[str, Any] | None = None) -> None:
    """A table of `columns` by their headings, with Streamlit's own buttons, one of which downloads it as a CSV.

    That file holds what is shown, and many open it in a spreadsheet; so no text in it begins as a formula does.
    """
    safe = {
        heading: [cell(value) if isinstance(value, str) else value for value in values]
        for heading, values in columns.items()
    }
    st.dataframe(safe, column_config=config, hide_index=True, key=key)
