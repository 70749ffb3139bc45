"""Whom a login at an OpenID provider lets in, and what an operator reads who has not finished setting it up."""

from __future__ import annotations

import json

import pytest
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import create_signed_value

from tests.server.asking import ask, inner
from tl_core.errors import SpecError
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
        ({"email": "bob@office.example"}, 200),
        ({"email": "ann@example.org", "email_verified": False}, 403),
        ({"email": "bob@example.org"}, 403),
        ({"email": "bob@office.example.evil.example"}, 403),
        ({"email": "bob@evil.example@"}, 403),
        ({"email": ""}, 403),
        ({}, 403),
        ({"email": "ann@example.org", "is_logged_in": False}, 401),
    ],
)
def test_only_addresses_that_the_operator_allows_are_let_in(said: dict[str, object], status: int) -> None:
    app = openid.OpenId(inner, ALLOWED)
    assert ask(app, "/media/a.png", headers=cookie(**said)).status == status
    socket = ask(app, "/_stcore/stream", websocket=True, headers=cookie(**said))
    assert socket.status == (101 if status == 200 else status)


def test_a_cookie_of_somebody_else_s_making_is_none() -> None:
    app = openid.OpenId(inner, ())
    assert ask(app, headers=cookie(email="eve@elsewhere.example")).status == 200
    assert ask(app, headers=cookie("another secret", email="ann@example.org")).status == 401
    assert ask(app, headers={"cookie": "_streamlit_user=ann"}).status == 401


def test_an_unfinished_set_up_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=r"GRAFT_LOGIN is openid.*secrets\.toml"):
        openid.check()
    monkeypatch.setattr(openid, "find_spec", lambda name: None)
    with pytest.raises(SpecError, match="pip install authlib httpx"):
        openid.check()
