"""The rules by which folders become classes and splits. A file is opened only where it has no extension, to see whether it is a
picture.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tl_core.data.formats import BY_EXTENSION, HEAD_BYTES, NOT_READ, UNKNOWN, ImageFormat, recognised
from tl_core.data.sources import SourceFile, shortened, shown, shown_path
from tl_core.documents.manifest import Manifest, Refusal, Split
from tl_core.documents.spec import ClassesFrom
from tl_core.errors import LayoutError

SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "training_set"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "test_set"), "test"),
}

_STRAY_FOLDERS = frozenset(["__macosx", "@eadir", "$recycle.bin"])


@dataclass(frozen=True)
class Item:
    """One picture that is to be read."""

    path: Path
    name: str
    """Original path inside the folder, for display."""
    class_name: str
    split: Split | None
    folder: tuple[str, ...]
    """The folder that gives the class, with those above it, as the user named them; never used as a path."""
    group: str | None = None
    """The group that the user gave it, see `data/given_groups`."""


@dataclass(frozen=True)
class Layout:
    """What was found in a folder: pictures with their classes, and what was set aside."""

    items: tuple[Item, ...]
    classes: tuple[str, ...]
    """Display names of the classes, sorted."""
    refused: tuple[Refusal, ...]
    passed_over: int
    """Number of files that are no pictures."""
    folded_folders: int
    """Number of folders below a class folder whose pictures are counted as that class."""


def find(files: Sequence[SourceFile], classes_from: ClassesFrom = "first", *, into: Manifest | None = None) -> Layout:
    """Say which file is a picture of which class, and in which of the user's own splits.

    The class is the first folder below the root (`first`) or the last one above the picture (`innermost`). Folders that wrap
    everything are passed through, unless a data set that the pictures are added to (`into`) has a class or split of that name.
    `train`, `val` and `test` folders (in any case, with their usual other names) count as splits only where all folders at that
    level are such and each holds class folders.

    Raises:
        LayoutError: no picture lies in a class folder.
    """
    pictures: list[SourceFile] = []
    refused: list[Refusal] = []
    passed_over = 0
    for file in files:
        known = UNKNOWN if _is_stray(file) else _format(file)
        if known is UNKNOWN:
            passed_over += 1
        elif known.pillow:
            pictures.append(file)
        else:
            refused.append(Refusal(file=shown_path(file.parts), kind="unsupported_format", message=NOT_READ))
    if not pictures:
        raise LayoutError(
            f"There are no pictures here ({passed_over + len(refused):,} other files were found). Give a folder that holds one folder of "
            "pictures for each class."
        )

    depth = _wrapping(pictures, into)
    split_level = _are_splits(pictures, depth)
    class_level = depth + 1 if split_level else depth
    keyed: list[tuple[SourceFile, str, Split | None, int]] = []
    folded: set[tuple[str, ...]] = set()
    for file in pictures:
        folders = file.parts[:-1]
        if len(folders) <= class_level:
            refused.append(
                Refusal(
                    file=shown_path(file.parts),
                    kind="no_class",
                    message="The picture lies outside of the class folders, so nothing says what it shows. Move it into one.",
                )
            )
            continue
        level = class_level if classes_from == "first" else len(folders) - 1
        folded.update(folders[: stop + 1] for stop in range(level + 1, len(folders)))
        split = SPLIT_NAMES[_key(folders[depth])] if split_level else None
        keyed.append((file, shown(folders[level]) or "unnamed", split, level))
    if not keyed:
        raise LayoutError(
            f"The {len(pictures):,} pictures lie beside each other in one folder, so nothing says what they show. "
            "Put the pictures of each class into a folder that has the class's name."
        )
    names = _display_names({key for _, key, _, _ in keyed})
    items = tuple(
        Item(file.path, shown_path(file.parts), names[key], split, file.parts[: level + 1])
        for file, key, split, level in keyed
    )
    return Layout(
        items=items,
        classes=tuple(sorted(names.values())),
        refused=tuple(refused),
        passed_over=passed_over,
        folded_folders=len(folded),
    )


def _key(folder: str) -> str:
    return folder.strip().lower()


def _is_stray(file: SourceFile) -> bool:
    return any(part.startswith(".") for part in file.parts) or any(
        part.lower() in _STRAY_FOLDERS for part in file.parts
    )


def _format(file: SourceFile) -> ImageFormat:
    """The format that the file's extension stands for, or, without an extension, a format that is read."""
    suffix = PurePosixPath(file.parts[-1]).suffix.lower()
    if suffix:
        return BY_EXTENSION.get(suffix, UNKNOWN)
    try:
        with file.path.open("rb") as opened:
            found = recognised(opened.read(HEAD_BYTES))
    except OSError:
        return UNKNOWN
    return found if found.pillow and not found.named_only else UNKNOWN


def _wrapping(pictures: Sequence[SourceFile], into: Manifest | None) -> int:
    """How many levels of folders only wrap the rest: each is the single folder of its level, has folders in it, and is no class or split
    of `into`.
    """
    depth = 0
    while True:
        tops = {file.parts[depth] for file in pictures if len(file.parts) > depth + 1}
        below = {file.parts[depth + 1] for file in pictures if len(file.parts) > depth + 2}
        loose = any(len(file.parts) == depth + 2 for file in pictures)
        if len(tops) != 1 or not below or (loose and len(below) < 2):
            return depth
        if into and (shown(*tops) in into.classes or (into.own_splits and _key(*tops) in SPLIT_NAMES)):
            return depth
        depth += 1


def _are_splits(pictures: Sequence[SourceFile], depth: int) -> bool:
    tops = {file.parts[depth] for file in pictures if len(file.parts) > depth + 1}
    holding_classes = {file.parts[depth] for file in pictures if len(file.parts) > depth + 2}
    return bool(tops) and tops == holding_classes and all(_key(top) in SPLIT_NAMES for top in tops)


def _display_names(keys: set[str]) -> dict[str, str]:
    """Names that are short enough to be shown and still differ from one another."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    # Of each shortened name, the last number that was tried: thousands of names can begin alike.
    numbers: Counter[str] = Counter()
    for key in sorted(keys):
        name = short = shortened(key)
        while name in taken:
            numbers[short] += 1
            name = f"{short} ({numbers[short] + 1})"
        taken.add(name)
        names[key] = name
    return names
