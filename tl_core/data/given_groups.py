"""Reads groups that the user gives as a CSV: which pictures belong together and must not be divided between learning and judging.

Such as all photos of one patient, one plant or one day. The file has a header with a column of file names and one of groups.
"""

import codecs
import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tl_core.data.sources import Item, SourceFile, shortened, shown, shown_path
from tl_core.errors import DataError, NotFound
from tl_core.markdown import cell

NAME = "groups.csv"
"""A file of this name beside the folders of the classes, or above them, is read without being asked for."""
FILE_COLUMNS = ("file", "filename", "file_name", "path", "image")
"""Names of the column of file names; capitals and spaces around them do not matter."""
GROUP_COLUMNS = ("group", "group_id")
"""Names of the column of groups."""
MOST_BYTES = 64_000_000
MOST_LINES = 1_000_000
"""So that the table takes a few hundred megabytes of memory at most."""
_DELIMITERS = ",;\t|"


class Given(NamedTuple):
    """What a CSV says."""

    name: str
    """Name of the file, safe to show."""
    rows: tuple[tuple[int, tuple[str, ...], str], ...]
    """Line number, path of a picture as its parts, group; a picture without a group is left out."""


def given_groups(path: Path) -> Given:
    """Read the CSV at `path`: UTF-8 or, with a mark at its beginning, UTF-16. The delimiter is the one of `,`, `;`, tab and `|` that the
    header has most of.

    Raises:
        NotFound: there is no such file.
        DataError: it is no such CSV; the message names the line and what to do.
    """
    name = shown(path.name)
    lines = _lines(path, name)
    header = next(lines, None)
    if header is None:
        raise DataError(
            f"{name} is empty. Its first line is to name the columns: {FILE_COLUMNS[0]},{GROUP_COLUMNS[0]}."
        )
    at, of = _columns(header[1])
    if at is None or of is None:
        lacking = " and ".join(what for what, place in (("files", at), ("groups", of)) if place is None)
        raise DataError(
            f"{name} has no column of {lacking}: its first line is {shortened(shown(', '.join(header[1])))!r}. Name one column "
            f"{' or '.join(FILE_COLUMNS)}, and one {' or '.join(GROUP_COLUMNS)}."
        )
    rows: list[tuple[int, tuple[str, ...], str]] = []
    group_of: dict[tuple[str, ...], tuple[int, str]] = {}
    for line, cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        parts = _parts(cells[at]) if at < len(cells) else ()
        group = cells[of].strip() if of < len(cells) else ""
        if not parts:
            raise DataError(
                f"Line {line} of {name} names no file. Write its path below the folder of pictures, or remove the line."
            )
        before = group_of.setdefault(parts, (line, group))
        if before[1] != group:
            raise DataError(
                f"Line {line} of {name} puts {shortened(shown_path(parts))!r} into the group {shortened(shown(group))!r}, and line "
                f"{before[0]} into {shortened(shown(before[1]))!r}. A picture has one group: correct one of the lines."
            )
        if group and before[0] == line:
            rows.append((line, parts, group))
    return Given(name, tuple(rows))


def beside_pictures(files: Sequence[SourceFile], items: Sequence[Item]) -> Path | None:
    """The file `NAME` in a folder that holds all pictures, the outermost one; None where there is none.

    One without columns of files and groups does not count: a folder may have held a file of that name for another purpose.
    """
    beside = [
        file
        for file in files
        if file.parts[-1].lower() == NAME
        and all(item.folder[: len(file.parts) - 1] == file.parts[:-1] for item in items)
    ]
    if not beside:
        return None
    path = min(beside, key=lambda file: len(file.parts)).path
    try:
        _, header = next(_lines(path, NAME), (1, []))
    except DataError:
        return None
    return None if None in _columns(header) else path


def placed_in_groups(items: Sequence[Item], given: Given) -> tuple[tuple[Item, ...], int]:
    """`items` with their groups, and how many rows of `given` name none of them.

    A row names a picture by its path below the folder that was given. The path may begin further out, and it may lack its first
    folders, as long as only one picture's path ends with what is left.

    Raises:
        DataError: a row may mean several pictures, or no row names any.
    """
    group_of: dict[int, str] = {}
    strange = 0
    for _, group, number in _meant(items, given):
        if number is None:
            strange += 1
        else:
            group_of[number] = group
    if given.rows and not group_of:
        line, parts, _ = given.rows[0]
        raise DataError(
            f"No line of {given.name} names a picture that is here. Line {line} names {shortened(shown_path(parts))!r}; a picture here is "
            f"{shortened(items[0].name)!r}. Write paths below the folder of pictures."
        )
    return tuple(replace(item, group=group_of.get(number)) for number, item in enumerate(items)), strange


def with_paths(file: Path, items: Sequence[Item], place_of: Mapping[Path, tuple[str, ...]]) -> bytes:
    """The CSV `file` (UTF-8) in which each line that names one of `items` names the path that this picture has in `place_of`.

    `place_of` gives new paths, as their parts, by `Item.path`; lines of pictures that it lacks are left out. All other lines and columns
    stay as they are.

    Raises:
        NotFound, DataError: as `given_groups` and `placed_in_groups`.
    """
    given = given_groups(file)
    number_of = {parts: number for parts, _, number in _meant(items, given) if number is not None}
    lines = _lines(file, given.name)
    _, header = next(lines)
    at = _columns(header)[0] or 0
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(header)
    for _, cells in lines:
        number = number_of.get(_parts(cells[at])) if at < len(cells) else None
        if number is None:
            table.writerow(cells)
        elif (place := place_of.get(items[number].path)) is not None:
            path = "/".join(place)
            # "./" keeps the path, and a spreadsheet from running a folder's name as a formula.
            table.writerow([*cells[:at], f"./{path}" if cell(path) != path else path, *cells[at + 1 :]])
    return text.getvalue().encode()


def _meant(items: Sequence[Item], given: Given) -> Iterator[tuple[tuple[str, ...], str, int | None]]:
    """For each row of `given`: its path, its group, and which of `items` it means; None: no picture that is here.

    Raises:
        DataError: a row may mean several pictures.
    """
    ending: dict[tuple[str, ...], list[int]] = defaultdict(list)
    names = [tuple(item.name.split("/")) for item in items]
    for number, parts in enumerate(names):
        for start in range(len(parts)):
            ending[parts[start:]].append(number)
    deepest = max(map(len, names), default=0)
    for line, parts, group in given.rows:
        path = tuple(shown(part) for part in parts)
        # At least a folder and a name are asked for: another folder's 1.jpg is not this one's.
        tails = [path, *(path[start:] for start in range(max(1, len(path) - deepest), len(path) - 1))]
        meant = next((ending[tail] for tail in tails if tail in ending), [])
        exact = [number for number in meant if names[number] == path] or meant
        if len(exact) > 1:
            one, other = (shown_path(names[number]) for number in exact[:2])
            raise DataError(
                f"Line {line} of {given.name} may mean {shortened(one)!r} or {shortened(other)!r}. Write the path below the folder of "
                "pictures."
            )
        yield parts, group, exact[0] if exact else None


def _columns(header: Sequence[str]) -> tuple[int | None, int | None]:
    """The number of the column of file names, and of that of groups; None where there is none."""
    names = [name.strip().lower() for name in header]
    files, groups = (
        next((names.index(name) for name in allowed if name in names), None)
        for allowed in (FILE_COLUMNS, GROUP_COLUMNS)
    )
    return files, groups


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.strip().replace("\\", "/").split("/") if part not in ("", "."))


def _lines(path: Path, name: str) -> Iterator[tuple[int, list[str]]]:
    """Line number, from 1, and cells of each row."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}. Name a CSV with the columns file and group.") from None
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror}.") from error
    if len(content) > MOST_BYTES:
        raise DataError(f"{name} has more than {MOST_BYTES / 1e6:,.0f} MB. Keep the columns of files and groups only.")
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"Line {line} of {name} is not UTF-8. Save the table as “CSV UTF-8” and try again.") from None
    header = re.match("[^\r\n]*", text)[0]  # type: ignore[index]  # it always matches
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(_DELIMITERS, key=header.count))
    try:
        for cells in rows:
            if rows.line_num > MOST_LINES:
                raise DataError(f"{name} has more than {MOST_LINES:,} lines. Keep those of pictures that are here.")
            yield rows.line_num, cells
    except csv.Error as error:
        raise DataError(f"Line {rows.line_num} of {name} cannot be read as CSV: {error}.") from None
