"""What every answer says to the browser, and the HTML that it loads first."""

import pytest

from tests.server.asking import ask, inner
from ui.server.asgi import ENTRY
from ui.server.responses import FirstPage, ResponseHeaders

APP = FirstPage(inner, ENTRY)


def test_the_address_of_a_page_is_not_passed_on_and_only_the_hub_may_frame_it() -> None:
    headers = ask(ResponseHeaders(inner, on_space=False)).headers
    assert headers["referrer-policy"] == "same-origin"
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'self'" in headers["content-security-policy"].split("; ")
    framed = ask(ResponseHeaders(inner, on_space=True)).headers["content-security-policy"]
    assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in framed.split("; ")


def test_no_cache_keeps_pictures_of_the_pages() -> None:
    app = ResponseHeaders(inner, on_space=False)
    assert ask(app, "/media/a.png").headers["cache-control"] == "private, no-store"
    assert "cache-control" not in ask(app, "/static/js/a.js").headers


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
    monkeypatch.setattr("ui.server.responses.config.get_option", {"server.baseUrlPath": "graft"}.get)
    assert "<title>Graft</title>" in ask(APP, "/graft/Data").body
