"""The HTML that a browser loads first."""

from __future__ import annotations

import pytest

from tests.server.asking import ask, inner
from ui.server.asgi import ENTRY
from ui.server.first_page import FirstPage

APP = FirstPage(inner, entry=ENTRY)


@pytest.mark.parametrize("path", ["/", "/Data", "/Compare?workspace=ab"])
def test_every_page_says_its_name_and_where_the_root_is_before_any_script(path: str) -> None:
    answer = ask(APP, path)
    assert answer.headers["cache-control"] == "no-cache"
    assert "<title>Graft</title>" in answer.body
    assert answer.body.index("BACKEND_BASE_URL") < answer.body.index('<script type="module"')


@pytest.mark.parametrize("path", ["/_stcore/health", "/static/js/index.js", "/Data/_stcore/health", "/nothing"])
def test_all_else_is_left_to_streamlit(path: str) -> None:
    assert ask(APP, path).body == "the app"


def test_below_a_base_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ui.server.refusing.config.get_option", {"server.baseUrlPath": "graft"}.get)
    assert "<title>Graft</title>" in ask(APP, "/graft/Data").body
