"""Asks for the operator's password before any page, file or WebSocket of the app is given.

Who typed it right gets a signed cookie. The key of the signature lies in the store, so that a restart logs nobody out; it is mixed
with the password, so that a new password logs everybody out.
"""

import hashlib
import hmac
import logging
import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

from itsdangerous import BadSignature, TimestampSigner
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope

from tl_core.disk import appearing
from ui.server.login import Login, form
from ui.server.responses import asks_for_page, origin_of, sentence
from ui.visitor import Places

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
class _Pace:
    """How long the next password must wait after wrong ones."""

    free: int
    """Wrong passwords that cost no wait."""
    longest: float
    """Seconds that a wait never exceeds; each further wrong password doubles it until then, from one second."""


_HERE = _Pace(free=4, longest=900)
_ALL = _Pace(free=30, longest=10)
"""Short, because it also holds up those who know the password: it stops guessing from thousands of places."""
_FORGOTTEN = 3600
"""Seconds without a wrong password after which the earlier ones are forgotten."""


@dataclass
class _Record:
    wrong: int = 0
    last: float = 0.0

    def wait(self, pace: _Pace, now: float) -> float:
        over = self.wrong - pace.free
        if over < 0 or now - self.last > _FORGOTTEN:
            return 0.0
        return max(0.0, self.last + min(2.0 ** min(over, 30), pace.longest) - now)

    def count(self, now: float) -> None:
        self.wrong = 1 if now - self.last > _FORGOTTEN else self.wrong + 1
        self.last = now


@dataclass
class Attempts:
    """Wrong passwords so far. Used by one thread."""

    clock: Callable[[], float] = time.monotonic
    _places: Places[_Record] = field(default_factory=lambda: Places(_Record))
    _all: _Record = field(default_factory=_Record)

    def wait(self, place: str | None) -> float:
        """Seconds until a password from `place` is looked at; 0 is now. None is a place that is not known."""
        now = self.clock()
        here = self._places.get(place, _Record()) if place else _Record()
        return max(here.wait(_HERE, now), self._all.wait(_ALL, now))

    def wrong(self, place: str | None) -> None:
        now = self.clock()
        self._all.count(now)
        if place:
            self._places.at(place).count(now)

    def right(self, place: str | None) -> None:
        """Forget the wrong passwords from `place`."""
        if place:
            self._places.pop(place, None)


@dataclass(frozen=True)
class Password(Login):
    """Lets those through who have typed the password, and anybody to the health check."""

    password: str
    key: bytes
    attempts: Attempts = field(default_factory=Attempts)

    async def asked_for(self, login: str | None, scope: Scope, receive: Receive) -> Response | None:
        if login:
            return None
        if scope["type"] == "http" and scope["method"] == "POST":
            return await self._answer(scope, receive)
        if asks_for_page(scope):
            return form(401)
        return sentence(401, "This server asks for a password first: open it in a browser.")

    def farewell(self) -> Response:
        answer = RedirectResponse("./", 303)
        answer.delete_cookie(self._cookie)
        return answer

    def login_in(self, scope: Scope) -> str | None:
        cookie = HTTPConnection(scope).cookies.get(self._cookie, "")
        try:
            return self._signer.unsign(cookie, max_age=_DAYS * 86_400).decode()
        except BadSignature:
            return None

    @property
    def _cookie(self) -> str:
        # Of its own for each store: browsers do not tell the ports of one machine apart.
        return f"graft_login_{hashlib.sha256(self.key).hexdigest()[:8]}"

    @property
    def _signer(self) -> TimestampSigner:
        return TimestampSigner(self.key, digest_method=hashlib.sha256)

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        typed = await _typed(receive)
        if typed is None:
            return sentence(400, "This server asks for a password first, in a form with the field 'password'.")
        origin = origin_of(scope)
        # From here to the end nothing waits, so that of many passwords at once no more are looked at than of as many in turn.
        seconds = math.ceil(self.attempts.wait(origin))
        if seconds:
            wait = "1 second" if seconds == 1 else f"{seconds} seconds"
            text = f"There were too many wrong passwords. Wait {wait}, then try again."
            return form(429, text, **{"Retry-After": str(seconds)})
        if not hmac.compare_digest(_digest(typed), _digest(self.password)):
            self.attempts.wrong(origin)
            _LOG.warning("wrong password from %s", origin or "an unknown address")
            return form(401, "That is not the password.")
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
    values = parse_qs(body[:_LONGEST].decode(errors="replace"), keep_blank_values=True).get("password")
    return values[0].strip() if values else None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()
