"""The ASGI application: Streamlit's own, with the guards of this folder before it."""

from __future__ import annotations

from pathlib import Path

from streamlit.starlette import App

ENTRY = Path(__file__).parents[2] / "streamlit_app.py"


def application() -> App:
    """The app, ready to be served; Streamlit's configuration must be loaded before."""
    return App(ENTRY)
