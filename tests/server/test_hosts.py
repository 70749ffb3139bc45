"""A page of a stranger reaches the app neither under a name of its own that stands for this machine, nor from its own site."""

import pytest

from tests.server.asking import ask, inner
from ui.server.hosts import Hosts

PATHS = ["/", "/Data", "/_stcore/health", "/_stcore/host-config", "/media/a.png", "/static/js/a.js"]


@pytest.mark.parametrize("path", PATHS)
def test_on_this_machine_only_its_own_names_are_answered(path: str) -> None:
    app = Hosts(inner, "127.0.0.1", ())
    for host in ("localhost:8501", "127.0.0.1:8501", "127.1.2.3", "LOCALHOST", "[::1]:8501", "graft.localhost"):
        assert ask(app, path, headers={"host": host}).status == 200, host
    for host in (
        "evil.example:8501",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
        "a@localhost",
    ):
        answer = ask(app, path, headers={"host": host})
        assert answer.status == 421, host
        assert "GRAFT_HOSTS" in answer.body


def test_a_socket_and_an_upload_are_refused_under_a_foreign_name() -> None:
    app = Hosts(inner, "::1", ())
    evil = {"host": "evil.example", "origin": "http://evil.example"}
    assert ask(app, "/_stcore/stream", websocket=True, headers=evil).status == 421
    assert ask(app, "/_stcore/upload_file/a/b", method="PUT", headers=evil).status == 421


@pytest.mark.parametrize(
    ("listens", "listed", "host", "status"),
    [
        ("0.0.0.0", (), "graft.office.example:8501", 200),
        ("0.0.0.0", ("Graft.example.org", "*.office.example"), "graft.office.example:8501", 200),
        ("0.0.0.0", ("Graft.example.org", "*.office.example"), "graft.example.org", 200),
        ("0.0.0.0", ("Graft.example.org", "*.office.example"), "127.0.0.1:8501", 200),
        ("0.0.0.0", ("Graft.example.org", "*.office.example"), "office.example", 421),
        ("0.0.0.0", ("Graft.example.org", "*.office.example"), "notoffice.example", 421),
        ("127.0.0.1", ("graft.example.org",), "graft.example.org", 200),
        ("127.0.0.1", ("graft.example.org",), "other.example.org", 421),
    ],
)
def test_any_name_is_answered_on_a_network_and_those_that_the_operator_lists_everywhere(
    listens: str, listed: tuple[str, ...], host: str, status: int
) -> None:
    assert ask(Hosts(inner, listens, listed), headers={"host": host}).status == status


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9999", "http://localhost", "http://[x"]
)
def test_what_a_page_of_another_site_sends_is_refused(origin: str) -> None:
    app = Hosts(inner, "127.0.0.1", ())
    answer = ask(app, "/_stcore/stream", websocket=True, headers={"origin": origin})
    assert answer.status == 403
    assert "Host" in answer.body
    for method in ("PUT", "POST", "DELETE"):
        assert ask(app, "/_stcore/upload_file/a/b", method=method, headers={"origin": origin}).status == 403
    # A link on another site may lead here.
    assert ask(app, headers={"origin": origin}).status == 200


def test_the_app_s_own_page_opens_its_socket() -> None:
    app = Hosts(inner, "127.0.0.1", ())
    assert ask(app, "/_stcore/stream", websocket=True, headers={"origin": "http://localhost:8501"}).status == 101
    assert ask(app, "/_stcore/stream", websocket=True).status == 101
