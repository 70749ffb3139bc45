"""Where the app listens, and Streamlit's options that follow from the operator's settings."""

from __future__ import annotations

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tests.server.asking import ask, inner
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


def test_a_forwarded_address_counts_only_from_a_proxy_that_the_operator_names(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"x-forwarded-for": "198.51.100.1, 203.0.113.7"}
    assert _client("10.0.0.1", said) == "10.0.0.1"
    assert _client("127.0.0.1", said) == "127.0.0.1"
    monkeypatch.setenv("GRAFT_PROXIES", "10.0.0.0/8")
    # The last address is the proxy's own word; those before it are what the browser claimed.
    assert _client("10.0.0.1", said) == "203.0.113.7"
    assert _client("192.0.2.1", said) == "192.0.2.1"


def _client(peer: str, headers: dict[str, str]) -> str:
    """The address that the app sees of a request from `peer`."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["client"][0])
        await inner(scope, receive, send)

    trusted = listen.uvicorn_options()["forwarded_allow_ips"]
    ask(ProxyHeadersMiddleware(app, trusted_hosts=trusted), client=peer, headers=headers)
    return seen[0]
