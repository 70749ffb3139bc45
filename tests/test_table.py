"""A table names its rows: each once, and what is there where a name is not."""

from __future__ import annotations

from operator import attrgetter
from types import SimpleNamespace

import pytest

from tl_core.errors import UnknownName
from tl_core.table import Table

ROWS = [SimpleNamespace(name="b", kind="first"), SimpleNamespace(name="a", kind="second")]


def test_rows_are_found_by_name_in_the_order_in_which_they_are_given() -> None:
    table = Table("letter", ROWS)
    assert list(table) == ["b", "a"]
    assert table.named("a") is ROWS[1]
    assert list(Table("letter", ROWS, key=attrgetter("kind"))) == ["first", "second"]


def test_an_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownName, match=r"no letter called 'c'.*b, a"):
        Table("letter", ROWS).named("c")


def test_a_name_that_stands_twice_is_refused_when_the_table_is_made() -> None:
    with pytest.raises(ValueError, match=r"'a'.*letter"):
        Table("letter", [*ROWS, ROWS[1]])
