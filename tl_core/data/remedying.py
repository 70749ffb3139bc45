"""Carries out what is to be done with pictures: in a version of a data set, in a copy of a user's folder; and what a finding comes to.

The pictures of all versions of a data set are files of one folder, and what was computed from them is not computed again: `pixel_arrays`
takes the rows of a version from those of a version before it.
"""

import glob
import shutil
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from tl_core import locks
from tl_core.data.checks import Finding, leaked_rows
from tl_core.data.sources import Item, Layout, SourceFile, shown_path
from tl_core.data.split import group_keys
from tl_core.disk import appearing, clear_unheld
from tl_core.documents.base import MANY_PROBLEMS
from tl_core.documents.manifest import ImageEntry, Manifest, Remedies
from tl_core.errors import SpecError
from tl_core.wording import listed

Parts = tuple[str, ...]


def applied(manifest: Manifest, remedies: Remedies) -> Manifest:
    """The version of `manifest` that `remedies` make, with `manifest` as its parent. Files are named by `ImageEntry.file`.

    Pictures keep their order and their groups. A class without pictures is one no longer.

    Raises:
        SpecError: there is no such picture or class, or no picture would stay; all that is wrong is named.
    """
    files = {image.file for image in manifest.images}
    problems = _unknown(remedies, files, manifest.classes, "picture {} in this version of the data set.")
    if files <= set(remedies.leave_out):
        problems.append("Every picture would be left out. Keep some.")
    if problems:
        raise SpecError.of(problems)
    left_out, kept = set(remedies.leave_out), {*remedies.keep, *remedies.move}
    stays = [row for row, image in enumerate(manifest.images) if image.file not in left_out]
    name_of = [
        remedies.move.get(manifest.images[row].file, manifest.classes[manifest.images[row].label]) for row in stays
    ]
    classes = tuple(sorted(set(name_of)))
    label_of = {name: label for label, name in enumerate(classes)}
    images = [_changed(manifest.images[row], label_of[name], kept) for row, name in zip(stays, name_of, strict=True)]
    return _next(manifest, manifest, stays, classes=classes, images=tuple(images))


def grown(before: Manifest, manifest: Manifest) -> Manifest:
    """`manifest`, which has all images of `before` and then those that were added, as the version after that."""
    first = len(before.images)
    images = tuple(
        image.model_copy(update={"reviewed": True}) if row < first and before.images[row].reviewed else image
        for row, image in enumerate(manifest.images)
    )
    return _next(before, manifest, [*range(first), *[-1] * (len(images) - first)], images=images)


def planned(files: Sequence[SourceFile], layout: Layout, remedies: Remedies) -> list[tuple[Path, Parts]]:
    """For each of `files` that stays, where its bytes are and the folders and name that it gets in the copy.

    `layout` is what `sources.layout_of` made of `files`. A picture that is moved goes to the folder of its new class, in the same one of
    the user's own train, val and test folders; where the name is taken there, it gets a number.

    Raises:
        SpecError: there is no such file, picture or class; all of them are named.
    """
    item_of = {item.path: item for item in layout.items}
    names = {file.path: shown_path(file.parts) for file in files}
    problems = _unknown(remedies, names.values(), layout.classes, "file {}. Name files as the findings of check do.")
    pictures = {names[path] for path in item_of}
    classless = [repr(name) for name in remedies.move if name not in pictures and name in names.values()]
    if classless:
        problems.append(
            f"No picture in a class folder is {listed(classless, MANY_PROBLEMS)}, so it cannot be moved to another class."
        )
    if problems:
        raise SpecError.of(problems)
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


def proposed(manifest: Manifest, finding: Finding) -> Remedies:
    """The remedies for all pictures of `finding` together, by `ImageEntry.file`; none where each has to be looked at.

    Of near-copies the picture with the most pixels stays, the first of several; of copies in several parts of the user's own split, that
    which is learned from. A suspect label is moved to the class that was answered.
    """
    images = manifest.images
    if finding.move_to:
        return Remedies(move={images[row].file: name for row, name in zip(finding.rows, finding.move_to, strict=True)})
    if finding.remedy != "leave_out":
        return Remedies()
    if finding.kind == "near_copy":
        rows = _all_but_the_largest(manifest, finding.rows)
    elif finding.kind == "copy_across_splits":
        rows = leaked_rows(manifest)
    else:
        rows = list(finding.rows)
    return Remedies(leave_out=tuple(images[row].file for row in rows))


def kept(manifest: Manifest, finding: Finding) -> Remedies:
    """All pictures of `finding` as they are, so that it is found no more."""
    return Remedies(keep=tuple(manifest.images[row].file for row in finding.rows))


def _unknown(remedies: Remedies, files: Collection[str], classes: Sequence[str], no_file: str) -> list[str]:
    """What `remedies` name that is neither among `files` nor `classes`, in sentences; `no_file` says where there is no file "{}"."""
    there = set(files)
    names = [repr(name) for name in (*remedies.leave_out, *remedies.keep, *remedies.move) if name not in there]
    strange = [repr(name) for name in dict.fromkeys(remedies.move.values()) if name not in classes]
    problems = [f"There is no {no_file.format(listed(names, MANY_PROBLEMS))}"] if names else []
    if strange:
        classes_there = listed([repr(name) for name in classes], MANY_PROBLEMS)
        problems.append(f"There is no class {listed(strange, MANY_PROBLEMS)}. The classes are {classes_there}.")
    return problems


def _next(before: Manifest, manifest: Manifest, rows: Sequence[int], **changes: object) -> Manifest:
    """`manifest` with `changes` as the version after `before`, in which its images have these `rows`."""
    # Made anew: a copy would take over what was computed of the other's images.
    fields = {name: getattr(manifest, name) for name in Manifest.model_fields}
    return Manifest(**fields | changes | {"parent": before, "parent_rows": tuple(rows)})


def _changed(image: ImageEntry, label: int, decided: set[str]) -> ImageEntry:
    reviewed = image.reviewed or image.file in decided
    if (label, reviewed) == (image.label, image.reviewed):
        return image
    return image.model_copy(update={"label": label, "reviewed": reviewed, "suspicion": None})


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


def _all_but_the_largest(manifest: Manifest, rows: tuple[int, ...]) -> list[int]:
    keys = group_keys(manifest)
    stays: dict[int, int] = {}
    for row in rows:
        image, best = manifest.images[row], stays.get(int(keys[row]))
        if best is None or image.width * image.height > manifest.images[best].width * manifest.images[best].height:
            stays[int(keys[row])] = row
    return [row for row in rows if row not in stays.values()]
