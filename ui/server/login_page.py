"""The page that a visitor sees before the app: one form, without scripts, in the app's colours."""

from __future__ import annotations

import os
from html import escape

from starlette.responses import HTMLResponse
from streamlit import config

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
_LINK = """<p>{text}</p>
<a class="button" href="{href}">{label}</a>"""


def form(status: int, wrong: str = "", **headers: str) -> HTMLResponse:
    """The form that asks for the password; `wrong` says what was the matter with the last one."""
    said = f'<p class="wrong" role="alert" id="wrong">{escape(wrong)}</p>' if wrong else ""
    described = ' aria-describedby="wrong" aria-invalid="true"' if wrong else ""
    host = os.environ.get("SPACE_HOST", "")
    note = _FRAMED.format(host=escape(host)) if host else ""
    return _page("Log in", _FORM.format(said=said, described=described, note=note), status, headers)


def link(status: int, text: str, href: str, label: str) -> HTMLResponse:
    """A page with a sentence and a button that leads to `href`."""
    return _page(label, _LINK.format(text=escape(text), href=escape(href), label=escape(label)), status, {})


def _page(title: str, content: str, status: int, headers: dict[str, str]) -> HTMLResponse:
    page = _PAGE.format(title=escape(title), light=_colours("light"), dark=_colours("dark"), content=content)
    # With no-referrer, which is the rule elsewhere, a browser would not say that the form is of this site.
    kept = {"Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
    return HTMLResponse(page, status, {**kept, **headers})


def _colours(theme: str) -> str:
    return " ".join(f"--{name}: {config.get_option(f'theme.{theme}.{option}')};" for name, option in _PARTS.items())
