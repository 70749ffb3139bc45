"""With a password, nothing but the health check answers a visitor who has not typed it."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from starlette.types import Receive, Scope, Send

from tests.server.asking import Answer, Clock, aask, ask, inner, story
from ui.server.password import Attempts, Password, signing_key

SECRET = "correct horse battery staple"
HTML = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(store: Path, clock: Clock) -> Password:
    return Password(inner, SECRET, signing_key(store, SECRET), Attempts(clock))


def typed(app: Password, password: str, target: str = "/", **how: Any) -> Answer:
    return ask(app, target, method="POST", body=[b"password=" + quote(password).encode()], **how)


def cookie_of(answer: Answer) -> dict[str, str]:
    return {"cookie": answer.headers["set-cookie"].split(";")[0]}


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/", "GET"),
        ("/Data?workspace=0", "GET"),
        ("/media/a.png", "GET"),
        ("/static/js/index.js", "GET"),
        ("/_stcore/host-config", "GET"),
        ("/_stcore/metrics", "GET"),
        ("/_stcore/upload_file/a/b", "PUT"),
        ("/_stcore/upload_file/a/b", "DELETE"),
        ("/auth/login", "GET"),
        ("//_stcore/health", "GET"),
        ("/_stcore/health/../../media/a.png", "GET"),
    ],
)
def test_no_page_or_file_is_given_before_the_password(app: Password, path: str, method: str) -> None:
    answer = ask(app, path, method=method)
    assert answer.status == 401
    assert answer.headers["cache-control"] == "no-store"
    assert "the app" not in answer.body


def test_no_socket_opens_before_the_password(app: Password) -> None:
    assert ask(app, "/_stcore/stream", websocket=True).status == 401
    assert ask(app, "/_stcore/stream", websocket=True, headers={"cookie": "graft_login_00000000=x.y.z"}).status == 401


def test_the_health_check_of_a_container_needs_no_password(app: Password) -> None:
    assert ask(app, "/_stcore/health").status == 200


def test_the_password_opens_everything_and_keeps_the_address(app: Password) -> None:
    page = ask(app, "/Data?workspace=abc", headers=HTML)
    assert 'type="password"' in page.body
    answer = typed(app, f" {SECRET} ", "/Data?workspace=abc")
    assert (answer.status, answer.headers["location"]) == (303, "?workspace=abc")
    flags = answer.headers["set-cookie"].lower().split("; ")
    assert {"httponly", "samesite=lax", "path=/"} <= set(flags)
    assert "secure" not in flags
    assert "secure" in typed(app, SECRET, scheme="https").headers["set-cookie"].lower().split("; ")
    for path in ("/", "/media/a.png"):
        assert ask(app, path, headers=cookie_of(answer)).body == "the app"
    socket = ask(app, "/_stcore/stream", websocket=True, headers=cookie_of(answer), body=[b"hello"])
    assert (socket.status, socket.body) == (101, "hello")


@pytest.mark.parametrize("wrong", ["", "correct horse", SECRET.upper(), SECRET + "\0", "%ff", "x" * 5000])
def test_a_wrong_password_is_said_to_be_wrong(app: Password, wrong: str) -> None:
    answer = typed(app, wrong)
    assert answer.status == 401
    assert "not the password" in answer.body
    assert "set-cookie" not in answer.headers


def test_a_login_lasts_over_a_restart_and_not_over_a_new_password(app: Password, store: Path) -> None:
    login = cookie_of(typed(app, SECRET))
    assert ask(Password(inner, SECRET, signing_key(store, SECRET)), headers=login).status == 200
    assert ask(Password(inner, "new", signing_key(store, "new")), headers=login).status == 401
    assert (store / "login.key").stat().st_mode & 0o077 == 0


@story
async def test_who_logs_out_is_out_in_every_tab(app: Password) -> None:
    login = cookie_of(typed(app, SECRET))
    heard: list[str] = []

    async def tab(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append((await receive())["type"])
        assert (await aask(app, "/logout", headers=login)).body == "the app", "a picture or a link logs nobody out"
        left = await aask(app, "/logout", method="POST", headers=login)
        assert left.status == 303
        assert "max-age=0" in left.headers["set-cookie"].lower()
        heard.append((await receive())["type"])

    open_tab = Password(tab, SECRET, app.key, app.attempts, ended=app.ended)
    await aask(open_tab, "/_stcore/stream", websocket=True, headers=login, body=[b"one", b"two"])
    assert heard == ["websocket.receive", "websocket.disconnect"]
    assert (await aask(app, headers=login)).status == 401
    assert ask(app, headers=cookie_of(typed(app, SECRET))).status == 200


@pytest.mark.parametrize("body", [b"", b"<methodCall>", b"user=admin&pwd=1234", b"{" + b" " * 10_000])
def test_a_form_without_a_password_is_no_guess(app: Password, body: bytes) -> None:
    for _ in range(10):
        assert ask(app, "/xmlrpc.php", method="POST", body=[body]).status == 400
    assert typed(app, SECRET).status == 303


def test_guessing_becomes_slower_and_slower_from_one_place(app: Password, clock: Clock) -> None:
    assert [typed(app, "guess").status for _ in range(6)] == [401, 401, 401, 401, 429, 429]
    answer = typed(app, SECRET)
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert "Wait 1 second, then" in answer.body
    # Somebody else is not held up.
    assert typed(app, SECRET, client="198.51.100.9").status == 303
    waited = 0
    for _ in range(8):
        wait = int(typed(app, "guess").headers.get("retry-after", 0))
        clock.now += wait
        waited += wait
        assert typed(app, "guess").status == 401
    assert waited == 1 + 2 + 4 + 8 + 16 + 32 + 64 + 128
    clock.now += 256
    assert typed(app, SECRET).status == 303
    assert typed(app, "guess").status == 401


def test_guessing_from_many_places_is_slow_in_all(app: Password, clock: Clock) -> None:
    looked_at = 0
    for number in range(1000):
        looked_at += typed(app, "guess", client=f"198.51.{number // 250}.{number % 250}").status == 401
        clock.now += 0.1
    assert looked_at < 60
