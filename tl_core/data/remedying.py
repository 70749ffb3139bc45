"""Writes a copy of a user's folder in which files with something wrong are left out or lie in another class."""

from __future__ import annotations

import glob
import shutil
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from tl_core import locks
from tl_core.data.class_folders import Item, Layout
from tl_core.data.sources import SourceFile, shown_path
from tl_core.disk import appearing, clear_unheld
from tl_core.documents.base import MANY_PROBLEMS
from tl_core.documents.remedies import Remedies
from tl_core.errors import SpecError

Parts = tuple[str, ...]


def planned(files: Sequence[SourceFile], layout: Layout, remedies: Remedies) -> list[tuple[Path, Parts]]:
    """For each of `files` that stays, where its bytes are and the folders and name that it gets in the copy.

    `layout` is what `class_folders.find` made of `files`. A picture that is moved goes to the folder of its new class, in the same one of
    the user's own train, val and test folders; where the name is taken there, it gets a number.

    Raises:
        SpecError: there is no such file, picture or class; all of them are named.
    """
    item_of = {item.path: item for item in layout.items}
    names = {file.path: shown_path(file.parts) for file in files}
    _require_known(remedies, layout, set(names.values()), {names[path] for path in item_of})
    left_out = set(remedies.leave_out)
    plan: list[tuple[Path, Parts]] = []
    moved: list[tuple[Path, Parts]] = []
    for file in files:
        name = names[file.path]
        if name in left_out:
            continue
        item = item_of.get(file.path)
        wanted = remedies.move.get(name)
        if item is None or wanted in (None, item.class_name):
            plan.append((file.path, file.parts))
        else:
            moved.append((file.path, (*_folder_of(wanted, item, layout.items), *file.parts[len(item.folder) :])))
    taken = {parts for _, parts in plan}
    for path, parts in moved:
        free = _free(parts, taken)
        taken.add(free)
        plan.append((path, free))
    return plan


def write_copy(plan: Sequence[tuple[Path, Parts]], into: Path) -> None:
    """Copy the files of `plan`, bytes and times, into the folder `into`, which is empty or not there yet and is whole when it appears.

    Raises:
        SpecError: a name in `plan` cannot be one below `into`.
        DiskFull: no space is left.
    """
    for _, parts in plan:
        if not parts or any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
            raise SpecError(
                f"The file {shown_path(parts)} has a name that no folder can hold. Rename it and try again."
            )
    clear_unheld(into.parent, f".{glob.escape(into.name)}.{'[0-9a-f]' * 8}")
    with appearing(into, f"the copy {into.name}") as folder, ExitStack() as held:
        folder.mkdir()
        # Where this process is killed, the next one that writes to the same place sees that nobody fills this any more.
        held.callback(locks.release, filter(None, [locks.take(folder)]))
        for path, parts in plan:
            target = folder.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def _require_known(remedies: Remedies, layout: Layout, files: Collection[str], pictures: Collection[str]) -> None:
    problems = []
    unknown = [name for name in (*remedies.leave_out, *remedies.keep, *remedies.move) if name not in files]
    if unknown:
        problems.append(f"There is no file {_listed(unknown)}. Name files as the findings of check do.")
    classless = [name for name in remedies.move if name in files and name not in pictures]
    if classless:
        problems.append(
            f"No picture in a class folder is {_listed(classless)}, so it cannot be moved to another class."
        )
    classes = [name for name in dict.fromkeys(remedies.move.values()) if name not in layout.classes]
    if classes:
        problems.append(f"There is no class {_listed(classes)}. The classes are {_listed(layout.classes)}.")
    if problems:
        raise SpecError.of(problems)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MANY_PROBLEMS
    return ", ".join(map(repr, names[:MANY_PROBLEMS])) + (f" and {more:,} more" if more > 0 else "")


def _folder_of(class_name: str, moved: Item, items: Sequence[Item]) -> Parts:
    """The folder of a class on the same side of the user's own split as `moved`, one that may not be there yet."""
    of_class = [item for item in items if item.class_name == class_name]
    beside = next((item.folder for item in of_class if item.split == moved.split), None)
    return beside or (*moved.folder[:-1], of_class[0].folder[-1])


def _free(parts: Parts, taken: Collection[Parts]) -> Parts:
    """`parts`, or with the first number behind the name that makes it differ from all of `taken`."""
    name = PurePosixPath(parts[-1])
    free, number = parts, 1
    while free in taken:
        number += 1
        free = (*parts[:-1], f"{name.stem} ({number}){name.suffix}")
    return free
