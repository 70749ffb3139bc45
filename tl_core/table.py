"""The tables that the product is made of: rows by name, none of them twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import TypeVar

from tl_core.errors import UnknownName

Row = TypeVar("Row")


class Table(dict[str, Row]):
    """Rows by their names, in the order in which they are given. A module's table is complete once the module is imported."""

    def __init__(self, what: str, rows: Iterable[Row], *, key: Callable[[Row], str] = attrgetter("name")) -> None:
        """`what` a row is, in one or two words; `key` gives a row's name.

        Raises:
            ValueError: two rows have the same name.
        """
        super().__init__()
        self._what = what
        for row in rows:
            name = key(row)
            if name in self:
                raise ValueError(f"Two rows of a table are called {name!r}. Give each {what} a name of its own.")
            self[name] = row

    def named(self, name: str) -> Row:
        """The row called `name`.

        Raises:
            UnknownName: there is none; the message lists the valid names.
        """
        if name not in self:
            raise UnknownName.among(self._what, name, self)
        return self[name]
