"""The tables that the product is made of: rows by name, none of them twice and none missing."""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import TypeVar

from tl_core.errors import UnknownName

Row = TypeVar("Row")
Name = TypeVar("Name", bound=str)


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


def covering(what: str, names: Iterable[str], rows: Mapping[Name, Row]) -> Mapping[Name, Row]:
    """`rows` by name, where another module says which `names` there are; the mapping cannot be changed.

    Raises:
        ValueError: a name has no row, or a row has none of the names; the message says `what` a row is, and which they are.
    """
    wanted = set(names)
    missing, unknown = sorted(wanted - rows.keys()), sorted(rows.keys() - wanted)
    if missing or unknown:
        raise ValueError(
            f"The table of {what} does not fit the names: {', '.join(missing) or 'none'} missing, "
            f"{', '.join(unknown) or 'none'} unknown."
        )
    return MappingProxyType(dict(rows))
