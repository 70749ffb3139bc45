"""What every answer says to the browser."""

from __future__ import annotations

from tests.server.asking import ask, inner
from ui.server.response_headers import ResponseHeaders


def test_the_address_of_a_page_is_not_passed_on_and_only_the_hub_may_frame_it() -> None:
    headers = ask(ResponseHeaders(inner, on_space=False)).headers
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'self'" in headers["content-security-policy"].split("; ")
    framed = ask(ResponseHeaders(inner, on_space=True)).headers["content-security-policy"]
    assert "frame-ancestors 'self' https://huggingface.co https://*.hf.space" in framed.split("; ")


def test_no_cache_keeps_pictures_of_the_pages() -> None:
    app = ResponseHeaders(inner, on_space=False)
    assert ask(app, "/media/a.png").headers["cache-control"] == "private, no-store"
    assert "cache-control" not in ask(app, "/static/js/a.js").headers
