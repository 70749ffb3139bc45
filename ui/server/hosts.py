"""Which names the server answers to, and from which pages a request may come.

A browser that was led to a page of a stranger can be made to ask this server: under a name of the stranger's that suddenly stands
for this machine (DNS rebinding), or from that page to this server's own name. The first is known by the name, the second by the page.
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import Receive, Scope

from ui.server.responses import Guard, header, sentence

_CHANGES = {"POST", "PUT", "PATCH", "DELETE"}
_SHOWN = 80
"""Characters of a refused name that the answer repeats."""


@dataclass(frozen=True)
class Hosts(Guard):
    """Refuses a request under a foreign name, and what a foreign page sends or opens."""

    bound: str
    """The address on which the server listens."""
    listed: tuple[str, ...]
    """The operator's names; `*.example.org` stands for every name that ends so."""

    async def response(self, scope: Scope, receive: Receive) -> Response | None:
        host, origin = header(scope, "host") or "", header(scope, "origin")
        if not self.answers_to(host):
            text = (
                f"This server does not answer to the name {host[:_SHOWN]!r}. Open it under one of its own names; its "
                "operator lists them in GRAFT_HOSTS."
            )
            return sentence(421, text)
        if origin and (scope["type"] == "websocket" or scope["method"] in _CHANGES) and not same(origin, host):
            text = (
                f"This was sent by a page of {origin[:_SHOWN]!r}, and the server was asked as {host[:_SHOWN]!r}. Open the app "
                "itself. A proxy before it must pass on the header Host as the browser sent it."
            )
            return sentence(403, text)
        return None

    def answers_to(self, host: str) -> bool:
        """Whether `host`, as the header gives it, is a name of this server."""
        if not self.listed and not loopback(self.bound):
            return True
        name = _name(host)
        return name is not None and (loopback(name) or any(_matches(name, pattern) for pattern in self.listed))


def loopback(name: str) -> bool:
    """Whether a name or address stands for the machine itself, whatever a name server says."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def same(origin: str, host: str) -> bool:
    """Whether a page of `origin` (`https://name:port`, or `null`) is this server's own, which was asked as `host`."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _matches(name: str, pattern: str) -> bool:
    pattern = pattern.lower().rstrip(".")
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


def _name(host: str) -> str | None:
    """The name in `name:port`, in small letters; None for what is no name."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    return parts.hostname.rstrip(".") if parts.hostname and parts.netloc == host and "@" not in host else None
