"""Visitors from one place are counted together, wherever in the pages they are counted."""

from __future__ import annotations

import pytest

from ui import visitor


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("127.0.0.1", None),
        ("::1", None),
        (None, None),
        ("whatever a header said", visitor.UNREADABLE),
    ],
)
def test_one_line_is_one_origin(host: str | None, origin: str | None) -> None:
    assert visitor.origin(host) == origin


def test_in_a_space_an_address_of_a_proxy_says_nothing_about_a_visitor(monkeypatch: pytest.MonkeyPatch) -> None:
    assert visitor.origin("10.16.1.1") == "10.16.1.1"
    monkeypatch.setenv("SPACE_ID", "someone/graft")
    assert visitor.origin("198.41.0.4") is None
    monkeypatch.setenv("GRAFT_PROXIES", "10.16.0.0/12")
    assert visitor.origin("198.41.0.4") == "198.41.0.4"
    # A proxy before the named one, or a named one that forwards no address.
    assert visitor.origin("10.200.1.1") is None
    assert visitor.origin("fd00::1") is None


def test_without_a_connection_no_address_is_known() -> None:
    assert visitor.address() is None
