"""Asks for a login at the operator's OpenID provider before any page, file or WebSocket of the app is given.

Streamlit holds the login itself, as for `st.login`: the way to the provider and back, and a signed cookie that says who somebody is. Here
that cookie is asked for everywhere, and whether its e-mail address may use the server.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.auth_util import get_cookie_with_chunks, validate_auth_credentials
from streamlit.errors import StreamlitAuthError
from streamlit.user_info import generate_login_redirect_url
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from tl_core.errors import SpecError
from ui.server import login_page
from ui.server.refusing import HEALTH, give, header, path_of, sentence

LOGOUT = "/auth/logout"
_LOGIN = "/login"
_OPEN = {HEALTH, LOGOUT, "/auth/login", "/oauth2callback"}
_ASKED = "graft_asked"
"""The cookie that keeps the address's query, and with it the workspace, on the way to the provider and back."""


def check() -> None:
    """Raises SpecError where a login cannot work: without its packages, or without the provider's entry."""
    missing = [name for name in ("authlib", "httpx") if find_spec(name) is None]
    if missing:
        raise SpecError("GRAFT_LOGIN is openid, which needs two packages more: pip install authlib httpx")
    try:
        validate_auth_credentials("default")
    except StreamlitAuthError as error:
        raise SpecError(
            f"GRAFT_LOGIN is openid. {' '.join(str(error).split())} docs/deploy.md has an example."
        ) from None


@dataclass(frozen=True)
class OpenId:
    """Lets those through who have logged in and may use the server, and anybody to the health check."""

    app: ASGIApp
    allowed: tuple[str, ...]
    """E-mail addresses, and `@example.org` for all addresses of a domain; empty for everybody whom the provider knows."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_of(scope) if scope["type"] != "lifespan" else HEALTH
        if path in _OPEN:
            await self.app(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        user = _user(scope)
        page = scope["type"] == "http" and "text/html" in (header(scope, "accept") or "")
        asked = HTTPConnection(scope).cookies.get(_ASKED) if page else None
        answer: Response
        if user is None and path == _LOGIN:
            answer = RedirectResponse(generate_login_redirect_url("default"), 303, {"Cache-Control": "no-store"})
            answer.set_cookie(
                _ASKED, query, max_age=900, httponly=True, samesite="lax", secure=scope["scheme"] == "https"
            )
        elif user is None and page:
            answer = login_page.link(401, "This server asks who you are.", f"login?{query}", "Log in")
        elif user is None:
            answer = sentence(401, "This server asks for a login first: open it in a browser.")
        elif not self._may(user):
            text = f"{user.get('email') or 'This account'} may not use this server. Its operator can allow it in GRAFT_LOGIN_EMAILS."
            answer = login_page.link(403, text, LOGOUT[1:], "Log out")
        elif path == _LOGIN or asked is not None:
            answer = RedirectResponse(f"./?{asked or query}", 303, {"Cache-Control": "no-store"})
            answer.delete_cookie(_ASKED)
        else:
            await self.app(scope, receive, send)
            return
        await give(answer, scope, receive, send)

    def _may(self, user: dict[str, Any]) -> bool:
        if not self.allowed:
            return True
        email = str(user.get("email") or "").lower()
        known = {name.lower() for name in self.allowed}
        # A provider that says so has not made sure that the address is the user's own.
        return user.get("email_verified") is not False and (email in known or f"@{email.rpartition('@')[2]}" in known)


def _user(scope: Scope) -> dict[str, Any] | None:
    """What the provider said of who sends a request; None without a login."""
    cookies = HTTPConnection(scope).cookies

    def part(name: str) -> bytes | None:
        value = cookies.get(name)
        return decode_signed_value(get_cookie_secret(), name, value.encode("latin-1", "replace")) if value else None

    found = get_cookie_with_chunks(part, USER_COOKIE_NAME)
    user = json.loads(found) if found else {}
    return user if user.get("is_logged_in") is True else None
