"""Where the app listens, and Streamlit's options that follow from the operator's settings."""

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from tests.conftest import until
from tests.server.asking import ask, inner, run
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


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({"server.address": "127.0.0.1", "server.port": 8501}, "http://127.0.0.1:8501"),
        (
            {"server.address": "0.0.0.0", "server.port": 80, "server.baseUrlPath": "/graft/"},
            "http://127.0.0.1:80/graft",
        ),
        ({"server.address": "::1", "server.port": 8443, "server.sslCertFile": "cert.pem"}, "https://[::1]:8443"),
    ],
)
def test_what_to_open_has_a_line_of_its_own_once_the_app_answers(
    options: dict[str, object], address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    imported: list[str] = []
    monkeypatch.setattr(listen.config, "get_option", options.get)
    monkeypatch.setattr(listen, "import_module", imported.append)

    async def startup(server: uvicorn.Server, sockets: object = None) -> None:
        assert capsys.readouterr().err == ""
        server.started = True

    monkeypatch.setattr(uvicorn.Server, "startup", startup)
    run(listen._Server(uvicorn.Config(inner)).startup())
    assert address in [line.strip() for line in capsys.readouterr().err.splitlines()]
    until(lambda: imported == ["ui.home"])
