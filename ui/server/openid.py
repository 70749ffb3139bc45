"""Asks for a login at the operator's OpenID provider before any page, file or WebSocket of the app is given.

Streamlit holds the login itself, as for `st.login`: the way to the provider and back, and a signed cookie that says who somebody is. Here
that cookie is asked for everywhere, and whether its e-mail address may use the server.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.auth_util import get_cookie_with_chunks
from streamlit.user_info import generate_login_redirect_url
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from ui.server import login_page
from ui.server.logouts import Logouts
from ui.server.refusing import HEALTH, give, header, path_of, sentence

LOGOUT = "/auth/logout"
_LOGIN = "/login"
_OPEN = {HEALTH, LOGOUT, "/auth/login", "/oauth2callback"}
_ASKED = "graft_asked"
"""The cookie that keeps the address's query, and with it the workspace, on the way to the provider and back."""


@dataclass(frozen=True)
class OpenId:
    """Lets those through who have logged in and may use the server, and anybody to the health check."""

    app: ASGIApp
    allowed: tuple[str, ...]
    """E-mail addresses, and `@example.org` for all addresses of a domain; empty for everybody whom the provider knows."""
    logouts: Logouts = field(default_factory=Logouts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_of(scope) if scope["type"] != "lifespan" else HEALTH
        login = _login(scope) if path != HEALTH else None
        if path == LOGOUT and login:
            self.logouts.end(login)
        if path in _OPEN:
            await self.app(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        if login in self.logouts:
            login = None
        page = scope["type"] == "http" and "text/html" in (header(scope, "accept") or "")
        asked = HTTPConnection(scope).cookies.get(_ASKED) if page else None
        answer: Response
        if login is None and path == _LOGIN:
            answer = RedirectResponse(generate_login_redirect_url("default"), 303, {"Cache-Control": "no-store"})
            answer.set_cookie(
                _ASKED, query, max_age=900, httponly=True, samesite="lax", secure=scope["scheme"] == "https"
            )
        elif login is None and page:
            answer = login_page.link(401, "This server asks who you are.", f"login?{query}", "Log in")
        elif login is None:
            answer = sentence(401, "This server asks for a login first: open it in a browser.")
        elif problem := self._problem(login):
            answer = login_page.link(403, problem, LOGOUT[1:], "Log out")
        elif path == _LOGIN or asked is not None:
            answer = RedirectResponse(f"./?{asked or query}", 303, {"Cache-Control": "no-store"})
            answer.delete_cookie(_ASKED)
        else:
            await self.app(scope, self.logouts.while_in(login, receive), send)
            return
        await give(answer, scope, receive, send)

    def _problem(self, login: str) -> str | None:
        """Why whoever logged in may not use the server, as a sentence; None for those who may."""
        if not self.allowed:
            return None
        user = json.loads(login)
        email = str(user.get("email") or "").lower()
        known = {name.lower() for name in self.allowed}
        if email not in known and f"@{email.rpartition('@')[2]}" not in known:
            return (
                f"{email or 'This account'} may not use this server. Its operator can allow it in GRAFT_LOGIN_EMAILS."
            )
        # Microsoft sends the second claim, if the application asks for it, and never the first. Some providers send text.
        verified = user.get("email_verified", user.get("xms_edov"))
        if str(verified).lower() not in ("true", "1"):
            return (
                f"{email} may not use this server, because the login provider does not say that this address is verified. "
                "docs/deploy.md tells the operator what can be done."
            )
        return None


def _login(scope: Scope) -> str | None:
    """What the provider said of who sends a request, as JSON; None without a login. A random number of each login is in it, so it
    stands for that login alone."""
    cookies = HTTPConnection(scope).cookies

    def part(name: str) -> bytes | None:
        value = cookies.get(name)
        return decode_signed_value(get_cookie_secret(), name, value.encode("latin-1", "replace")) if value else None

    found = get_cookie_with_chunks(part, USER_COOKIE_NAME)
    return found.decode() if found and json.loads(found).get("is_logged_in") is True else None
