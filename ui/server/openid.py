"""Asks for a login at the operator's OpenID provider before any page, file or WebSocket of the app is given.

Streamlit holds the login itself, as for `st.login`: the way to the provider and back, and a signed cookie that says who somebody is. Here
that cookie is asked for everywhere, and whether its e-mail address may use the server. `python -m ui.server.openid` says what is wrong
with the entry of the provider, on standard output; nothing where it is right.
"""

import json
from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope
from streamlit.auth_util import get_cookie_with_chunks, validate_auth_credentials
from streamlit.errors import StreamlitAuthError
from streamlit.user_info import generate_login_redirect_url
from streamlit.web.server.server_util import get_cookie_secret
from streamlit.web.server.starlette.starlette_app_utils import decode_signed_value
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from ui.server.login import Login, link, refused
from ui.server.responses import asks_for_page, path_of, sentence

_STREAMLITS_LOGOUT = "/auth/logout"
"""Takes the cookie away, and leads on to the provider; it is asked only after the login was ended here."""
_LOGIN = "/login"
_OPEN = {"/auth/login", "/oauth2callback"}
_ASKED = "graft_asked"
"""The cookie that keeps the address's query, and with it the workspace, on the way to the provider and back."""
_NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True)
class OpenId(Login):
    """Lets those through who have logged in and may use the server, and anybody to the health check."""

    allowed: tuple[str, ...]
    """E-mail addresses, and `@example.org` for all addresses of a domain; empty for everybody whom the provider knows."""

    async def asked_for(self, login: str | None, scope: Scope, receive: Receive) -> Response | None:
        path, query = path_of(scope), scope["query_string"].decode("latin-1")
        if path in _OPEN or (path == _STREAMLITS_LOGOUT and login is None):
            return None
        if login is None:
            return self._way_in(path, query, scope)
        if problem := self._problem(login):
            return refused(problem)
        asked = HTTPConnection(scope).cookies.get(_ASKED) if asks_for_page(scope) else None
        if path not in (_LOGIN, _STREAMLITS_LOGOUT) and asked is None:
            return None
        answer = RedirectResponse(f"./?{asked or query}", 303, _NO_STORE)
        answer.delete_cookie(_ASKED)
        return answer

    def _way_in(self, path: str, query: str, scope: Scope) -> Response:
        if path == _LOGIN:
            answer = RedirectResponse(generate_login_redirect_url("default"), 303, _NO_STORE)
            answer.set_cookie(
                _ASKED, query, max_age=900, httponly=True, samesite="lax", secure=scope["scheme"] == "https"
            )
            return answer
        if asks_for_page(scope):
            return link(401, "This server asks who you are.", f"login?{query}", "Log in")
        return sentence(401, "This server asks for a login first: open it in a browser.")

    def farewell(self) -> Response:
        return RedirectResponse(_STREAMLITS_LOGOUT[1:], 303, _NO_STORE)

    def login_in(self, scope: Scope) -> str | None:
        """What the provider said of who sends a request, as JSON; None without a login. A random number of each login is in it, so it
        stands for that login alone."""
        cookies = HTTPConnection(scope).cookies

        def part(name: str) -> bytes | None:
            value = cookies.get(name)
            return decode_signed_value(get_cookie_secret(), name, value.encode("latin-1", "replace")) if value else None

        user = get_cookie_with_chunks(part, USER_COOKIE_NAME)
        return user.decode() if user and json.loads(user).get("is_logged_in") is True else None

    def _problem(self, login: str) -> str | None:
        """Why whoever logged in may not use the server, as a sentence; None for those who may."""
        if not self.allowed:
            return None
        user = json.loads(login)
        email = str(user.get("email") or "").lower()
        allowed = {name.lower() for name in self.allowed}
        if email not in allowed and f"@{email.rpartition('@')[2]}" not in allowed:
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


if __name__ == "__main__":
    try:
        validate_auth_credentials("default")
    except StreamlitAuthError as error:
        print(" ".join(str(error).split()))
