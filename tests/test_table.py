"""A table names its rows: each once, and what is there where a name is not."""

from operator import attrgetter
from types import SimpleNamespace

import pytest

from tl_core.errors import UnknownName
from tl_core.table import Table, covering
from tl_core.training.strategies.strategies import strategies

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


def test_who_adds_a_choice_without_its_row_or_a_row_without_its_choice_is_told_which() -> None:
    assert dict(covering("letters", ["b", "a"], {"a": 1, "b": 2})) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match=r"letters.*: c missing, b unknown"):
        covering("letters", ["a", "c"], {"a": 1, "b": 2})


def test_nobody_changes_a_table_while_the_program_runs() -> None:
    with pytest.raises(TypeError):
        covering("letters", ["a"], {"a": 1})["a"] = 2  # type: ignore[index]
    with pytest.raises(TypeError):
        strategies()["lora"] = strategies()["lp_ft"]  # type: ignore[index]
