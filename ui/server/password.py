"""Asks for the operator's password before any page, file or WebSocket of the app is given.

Who typed it right gets a signed cookie. The key of the signature lies in the store, so that a restart logs nobody out; it is mixed
with the password, so that a new password logs everybody out.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

from itsdangerous import BadSignature, TimestampSigner
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tl_core.disk import appearing
from ui import visitor
from ui.server import login_page
from ui.server.attempts import Attempts
from ui.server.logouts import Logouts
from ui.server.refusing import HEALTH, give, header, path_of, sentence

LOGOUT = "/logout"
_DAYS = 30
"""Days that a login lasts."""
_LONGEST = 4096
"""Bytes of the form that are read."""
_LOG = logging.getLogger(__name__)


def signing_key(store: Path, password: str) -> bytes:
    """The key that signs logins: of this store and this password. Makes the store's part of it, `login.key`, if there is none."""
    file = store / "login.key"
    if not file.exists():
        with appearing(file, file.name) as temporary:
            temporary.touch(0o600)
            temporary.write_bytes(secrets.token_bytes(32))
    return hmac.digest(file.read_bytes(), password.encode(), "sha256")


@dataclass(frozen=True)
class Password:
    """Lets those through who have logged in, and anybody to the health check."""

    app: ASGIApp
    password: str
    key: bytes
    attempts: Attempts = field(default_factory=Attempts)
    logouts: Logouts = field(default_factory=Logouts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = path_of(scope) if scope["type"] != "lifespan" else HEALTH
        if path == HEALTH:
            await self.app(scope, receive, send)
            return
        login = self._login(scope)
        if path == LOGOUT:
            if login:
                self.logouts.end(login)
            answer: Response = RedirectResponse("./", 303)
            answer.delete_cookie(self._cookie)
            await give(answer, scope, receive, send)
        elif login:
            await self.app(scope, self.logouts.while_in(login, receive), send)
        elif scope["type"] == "http" and scope["method"] == "POST":
            await give(await self._answer(scope, receive), scope, receive, send)
        elif scope["type"] == "http" and "text/html" in (header(scope, "accept") or ""):
            await give(login_page.form(401), scope, receive, send)
        else:
            await give(
                sentence(401, "This server asks for a password first: open it in a browser."), scope, receive, send
            )

    @property
    def _cookie(self) -> str:
        # Of its own for each store: browsers do not tell the ports of one machine apart.
        return f"graft_login_{hashlib.sha256(self.key).hexdigest()[:8]}"

    @property
    def _signer(self) -> TimestampSigner:
        return TimestampSigner(self.key, digest_method=hashlib.sha256)

    def _login(self, scope: Scope) -> str | None:
        """The login that the cookie of a request stands for; None without a good one."""
        try:
            cookie = HTTPConnection(scope).cookies.get(self._cookie, "")
            login = self._signer.unsign(cookie, max_age=_DAYS * 86_400).decode()
        except BadSignature:
            return None
        return None if login in self.logouts else login

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        typed = await _typed(receive)
        if typed is None:
            return sentence(400, "This server asks for a password first, in a form with the field 'password'.")
        client = scope.get("client")
        origin = visitor.origin(client[0] if client else None)
        # From here to the end nothing waits, so that of many passwords at once no more are looked at than of as many in turn.
        wait = math.ceil(self.attempts.wait(origin))
        if wait:
            time = "1 second" if wait == 1 else f"{wait} seconds"
            text = f"There were too many wrong passwords. Wait {time}, then try again."
            return login_page.form(429, text, **{"Retry-After": str(wait)})
        if not hmac.compare_digest(_digest(typed), _digest(self.password)):
            self.attempts.wrong(origin)
            _LOG.warning("wrong password from %s", origin or "an unknown address")
            return login_page.form(401, "That is not the password.")
        self.attempts.right(origin)
        # The address stays as it is, and with it the workspace that it names.
        answer = RedirectResponse("?" + scope["query_string"].decode("latin-1"), 303, {"Cache-Control": "no-store"})
        answer.set_cookie(
            self._cookie,
            self._signer.sign(secrets.token_hex(16)).decode(),
            max_age=_DAYS * 86_400,
            secure=scope["scheme"] == "https",
            httponly=True,
            samesite="lax",
        )
        return answer


async def _typed(receive: Receive) -> str | None:
    """The password in the first bytes of a form; None where there is none."""
    body, more = b"", True
    while more and len(body) <= _LONGEST:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    found = parse_qs(body[:_LONGEST].decode(errors="replace"), keep_blank_values=True).get("password")
    return found[0].strip() if found else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
