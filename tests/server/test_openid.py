"""Whom a login at an OpenID provider lets in, and until when."""

import json

import pytest
from starlette.types import Receive, Scope, Send
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from tests.server.asking import aask, ask, inner, story
from ui.server import openid

ALLOWED = ("ann@example.org", "@Office.example")


def cookie(secret: str | None = None, **said: object) -> dict[str, str]:
    user = json.dumps({"is_logged_in": True, **said})
    value = create_signed_value(secret or get_cookie_secret(), "_streamlit_user", user)
    return {"cookie": f"_streamlit_user={value.decode()}"}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"email": "Ann@Example.org", "email_verified": True}, 200),
        ({"email": "bob@office.example", "email_verified": "true"}, 200),
        ({"email": "bob@example.org", "email_verified": True}, 403),
        ({"email": "bob@office.example.evil.example", "email_verified": True}, 403),
        ({"email": "bob@evil.example@", "email_verified": True}, 403),
        ({"email": "", "email_verified": True}, 403),
        ({"email_verified": True}, 403),
        ({"email": "ann@example.org", "email_verified": True, "is_logged_in": False}, 401),
    ],
)
def test_only_addresses_that_the_operator_allows_are_let_in(said: dict[str, object], status: int) -> None:
    app = openid.OpenId(inner, ALLOWED)
    assert ask(app, "/media/a.png", headers=cookie(**said)).status == status
    socket = ask(app, "/_stcore/stream", websocket=True, headers=cookie(**said))
    assert socket.status == (101 if status == 200 else status)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({}, 403),
        ({"email_verified": False}, 403),
        ({"email_verified": "false"}, 403),
        ({"email_verified": None}, 403),
        ({"email_verified": "false", "xms_edov": True}, 403),
        # What Microsoft sends, if the application asks for it.
        ({"xms_edov": True}, 200),
        ({"xms_edov": "1"}, 200),
        ({"xms_edov": "0"}, 403),
    ],
)
def test_an_address_that_nobody_verified_is_not_let_in(said: dict[str, object], status: int) -> None:
    """Elsewhere, whoever runs a directory of their own writes any address into it."""
    answer = ask(openid.OpenId(inner, ALLOWED), headers=cookie(email="ann@office.example", **said))
    assert answer.status == status
    assert ("not say that this address is verified" in answer.body) == (status == 403)
    assert ask(openid.OpenId(inner, ()), headers=cookie(email="ann@office.example", **said)).status == 200


def test_a_cookie_of_somebody_else_s_making_is_none() -> None:
    app = openid.OpenId(inner, ())
    assert ask(app, headers=cookie(email="eve@elsewhere.example")).status == 200
    assert ask(app, headers=cookie("another secret", email="ann@example.org")).status == 401
    assert ask(app, headers={"cookie": "_streamlit_user=ann"}).status == 401


@story
async def test_who_logs_out_is_out_in_every_tab() -> None:
    login, other = cookie(nonce="one"), cookie(nonce="two")
    heard: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await inner(scope, receive, send)
            return
        heard.append((await receive())["type"])
        for path in ("/logout", "/auth/logout"):
            await aask(guard, path, headers=login)
        assert (await aask(guard, headers=login)).status == 200, "a picture or a link logs nobody out"
        left = await aask(guard, "/logout", method="POST", headers=login)
        assert (left.status, left.headers["location"]) == (303, "auth/logout")
        assert (await aask(guard, "/auth/logout", headers=login)).body == "the app"
        heard.append((await receive())["type"])

    guard = openid.OpenId(app, ())
    await aask(guard, "/_stcore/stream", websocket=True, headers=login, body=[b"one", b"two"])
    assert (await aask(guard, headers=login)).status == 401
    assert (await aask(guard, headers=other)).status == 200
    assert heard == ["websocket.receive", "websocket.disconnect"]
