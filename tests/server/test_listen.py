"""Where the app listens, and Streamlit's options that follow from the operator's settings."""

from __future__ import annotations

import pytest

from ui.server import listen


def test_the_app_obeys_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    options = listen.options("127.0.0.1", 8501)
    assert options["server.address"] == "127.0.0.1"
    assert options["server.maxUploadSize"] == 500
    assert options["server.enableXsrfProtection"]
    monkeypatch.setenv("GRAFT_MAX_UPLOAD_MB", "20")
    monkeypatch.setenv("SPACE_ID", "someone/graft")
    options = listen.options("127.0.0.1", 8501)
    assert options["server.maxUploadSize"] == 20
    assert not options["server.enableXsrfProtection"]
