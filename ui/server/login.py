"""What both ways of login have in common: who is in, the end of a login, and the page that a visitor sees before the app."""

import os
from dataclasses import dataclass, field
from html import escape

from starlette.responses import HTMLResponse, Response
from starlette.types import Message, Receive, Scope, Send
from streamlit import config

from ui.server.responses import HEALTH, Guard, path_of

LOGOUT = "/logout"
"""A POST to it ends a login; what a picture or a link in a page can ask for, a GET, ends none."""
_PARTS = {
    "accent": "primaryColor",
    "ground": "backgroundColor",
    "field": "secondaryBackgroundColor",
    "ink": "textColor",
    "line": "borderColor",
    "wrong": "redColor",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Graft</title>
<link rel="icon" href="data:,">
<style>
:root {{ {light} }}
@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}
* {{ box-sizing: border-box }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem;
  background: var(--ground); color: var(--ink); font: 16px/1.5 "Source Sans", system-ui, sans-serif }}
main {{ width: 100%; max-width: 22rem }}
h1 {{ font-size: 2.1rem; font-weight: 650; margin: 0 0 .25rem }}
p {{ margin: 0 0 1.25rem }}
label {{ display: block; margin-bottom: .25rem }}
input, .button {{ width: 100%; font: inherit; padding: .6rem .75rem; border-radius: 10px; border: 1px solid var(--line) }}
input {{ background: var(--field); color: var(--ink); margin-bottom: 1rem }}
.button {{ display: block; background: var(--accent); border-color: var(--accent); color: #fff; cursor: pointer;
  font-weight: 600; text-align: center; text-decoration: none }}
:focus-visible {{ outline: 3px solid var(--accent); outline-offset: 2px }}
.wrong {{ color: var(--wrong) }}
.note {{ margin-top: 1.25rem }}
a {{ color: inherit }}
a.button {{ color: #fff }}
</style>
</head>
<body><main>
<h1>Graft</h1>
{content}
</main></body>
</html>
"""
_FORM = """<p>Who may use this server has its password.</p>
<form method="post">
{said}
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus{described}>
<button class="button">Log in</button>
</form>
{note}"""
_FRAMED = """<p class="note">Browsers keep no login inside the frame of another site: <a href="https://{host}" target="_blank">open this
Space in a tab of its own</a>.</p>"""


_LOGOUT = f'<form method="post" action="{LOGOUT[1:]}"><button class="button">Log out</button></form>'


@dataclass(frozen=True)
class Login(Guard):
    """Lets those through who have logged in, and anybody to the health check."""

    ended: set[str] = field(default_factory=set, kw_only=True)
    """Logins that were ended before their time, for as long as this process lives, each by a text of its own."""

    async def response(self, scope: Scope, receive: Receive) -> Response | None:
        if path_of(scope) == HEALTH:
            return None
        login = self.open_login(scope)
        if path_of(scope) == LOGOUT and scope["type"] == "http" and scope["method"] == "POST":
            if login:
                self.ended.add(login)
            return self.farewell()
        return await self.asked_for(login, scope, receive)

    def open_login(self, scope: Scope) -> str | None:
        """The login of who sends a request; None without one, and for one that was ended."""
        login = self.login_in(scope)
        return None if login in self.ended else login

    def login_in(self, scope: Scope) -> str | None:
        """The login that the cookie of a request stands for; None without a good one."""
        raise NotImplementedError

    def farewell(self) -> Response:
        """The answer to who logs out."""
        raise NotImplementedError

    async def asked_for(self, login: str | None, scope: Scope, receive: Receive) -> Response | None:
        """As `response`, for a request by `login`."""
        raise NotImplementedError

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        login = None if scope["type"] == "lifespan" else self.open_login(scope)

        async def while_in() -> Message:
            message = await receive()
            # The open WebSockets of a login end with the next thing that they send.
            ended = login in self.ended and message["type"] == "websocket.receive"
            return {"type": "websocket.disconnect", "code": 1008} if ended else message

        await self.app(scope, while_in if login else receive, send)


def form(status: int, wrong: str = "", **headers: str) -> HTMLResponse:
    """The form that asks for the password; `wrong` says what was the matter with the last one."""
    problem = f'<p class="wrong" role="alert" id="wrong">{escape(wrong)}</p>' if wrong else ""
    described = ' aria-describedby="wrong" aria-invalid="true"' if wrong else ""
    host = os.environ.get("SPACE_HOST", "")
    note = _FRAMED.format(host=escape(host)) if host else ""
    return _page("Log in", _FORM.format(said=problem, described=described, note=note), status, headers)


def link(status: int, text: str, href: str, label: str) -> HTMLResponse:
    """A page with a sentence and a button that leads to `href`."""
    button = f'<a class="button" href="{escape(href)}">{escape(label)}</a>'
    return _page(label, f"<p>{escape(text)}</p>\n{button}", status, {})


def refused(text: str) -> HTMLResponse:
    """A page for who has logged in and may not use the server, with a button that logs out."""
    return _page("Log out", f"<p>{escape(text)}</p>\n{_LOGOUT}", 403, {})


def _page(title: str, content: str, status: int, headers: dict[str, str]) -> HTMLResponse:
    page = _PAGE.format(title=escape(title), light=_colours("light"), dark=_colours("dark"), content=content)
    return HTMLResponse(page, status, {"Cache-Control": "no-store", **headers})


def _colours(theme: str) -> str:
    return " ".join(f"--{name}: {config.get_option(f'theme.{theme}.{option}')};" for name, option in _PARTS.items())
