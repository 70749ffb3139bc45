"""What the user's DATA stands for: the files of a folder or zip, their names made safe to show, and which of them are pictures of which class.

The name that a user gave a file is display text only: where the file lies on disk is `SourceFile.path`, which may differ. A file is opened only
where it has no extension, to see whether it is a picture.
"""

import hashlib
import json
import os
import re
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tl_core.data.formats import BY_EXTENSION, HEAD_BYTES, NOT_READ, UNKNOWN, ImageFormat, recognised
from tl_core.documents.manifest import Manifest, Refusal, Split
from tl_core.documents.spec import ClassesFrom, IngestSpec
from tl_core.errors import LayoutError, NotFound, SpecError

LONGEST_NAME = 100
"""Characters of a class name that are shown."""
DEEPEST = 100
"""Levels of folders inside one another that are allowed."""
LONGEST_COMPONENT = 150
"""Length of the longest name of a file or folder that is written, bytes; well under the limit of every file system."""
SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "training_set"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "test_set"), "test"),
}
_STRAY_FOLDERS = frozenset(["__macosx", "@eadir", "$recycle.bin"])
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
_SAMPLE = "sample:"


class SourceFile(NamedTuple):
    """A file as it was given, and where its bytes are."""

    path: Path
    """Where the file lies on disk."""
    parts: tuple[str, ...]
    """Its folders and its own name, as the user gave them: raw text, never used as a path."""


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


def source_of(
    data: str | os.PathLike[str], classes_from: ClassesFrom = "first", *, groups: str | os.PathLike[str] | None = None
) -> IngestSpec:
    """What reads `data`, which is the name of a folder or zip, or `sample:NAME`, with the CSV `groups` (`data/given_groups`).

    Raises:
        NotFound: no such file or folder, or no such CSV.
        UnknownName: no such sample.
        SpecError: a file that is no zip.
    """
    spec = _source_of(os.fspath(data), classes_from)
    if groups is None:
        return spec
    file = path_of(groups).expanduser().absolute()
    if not file.is_file():
        raise NotFound(f"There is no file {os.fspath(groups)}. Give a CSV with the columns file and group.")
    return spec.model_copy(update={"groups_file": str(file)})


def _source_of(text: str, classes_from: ClassesFrom) -> IngestSpec:
    if text.startswith(_SAMPLE):
        from tl_core.data.samples import SAMPLES

        name = text.removeprefix(_SAMPLE)
        return IngestSpec(source_kind="sample", source=name, name=SAMPLES.named(name).title, classes_from=classes_from)
    path = path_of(text).expanduser().absolute()
    if path.is_dir():
        return IngestSpec(source_kind="folder", source=str(path), name=path.resolve().name, classes_from=classes_from)
    if not path.exists():
        raise NotFound(f"There is no file or folder {text}. Give a folder of pictures, a zip of one, or sample:digits.")
    if not zipfile.is_zipfile(path):
        raise SpecError(
            f"{text} is neither a folder nor a zip. Give a folder of pictures, a zip of one, or sample:digits."
        )
    return IngestSpec(source_kind="zip", source=str(path), name=path.stem, classes_from=classes_from)


def path_of(name: str | os.PathLike[str]) -> Path:
    """`name` as a path. Raises NotFound for a blank name, because Path('') is the working folder."""
    text = os.fspath(name)
    if not text.strip():
        raise NotFound("The name of the file or folder is empty.")
    return Path(text)


def walk(root: Path) -> list[SourceFile]:
    """All regular files below `root`, in the order of their names; links are followed, but never in a circle.

    A folder that may not be opened is left out, as if it were empty. Of a data set in a store, whichever version of Graft wrote it, the
    copies are given in folders of their parts and classes.

    Raises:
        LayoutError: folders lie more than `DEEPEST` deep inside one another.
    """
    return _kept_pictures(root) or list(_walk(root, (), frozenset()))


def _kept_pictures(root: Path) -> list[SourceFile]:
    """The copies of the pictures where `root` is a data set in a store; else none."""
    try:
        # Where pictures were added later, the last of these manifests has all of them.
        grown = (root / "versions").glob("*-manifest.json")
        file = max(grown, key=lambda file: int(file.name.partition("-")[0]), default=root / "manifest.json")
        manifest = json.loads(file.read_bytes())
        classes, images = manifest["classes"], manifest["images"]
        split = any(image.get("split") for image in images)
        return [
            SourceFile(
                root / "images" / Path(image["file"]).name,
                (
                    *([image.get("split") or "train"] if split else []),
                    classes[image["label"]],
                    Path(image["file"]).name,
                ),
            )
            for image in images
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []


def _walk(folder: Path, parts: tuple[str, ...], above: frozenset[tuple[int, int]]) -> Iterator[SourceFile]:
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    if len(parts) > DEEPEST:
        raise LayoutError(f"Folders lie more than {DEEPEST} deep inside one another here. Give a folder higher up.")
    for entry in entries:
        inner = folder / entry.name
        # `Path.is_dir` and `is_file` return False for a link that leads nowhere or to itself; those of `entry` raise.
        if inner.is_dir():
            yield from _walk(inner, (*parts, entry.name), above | {identity})
        elif inner.is_file():
            yield SourceFile(inner, (*parts, entry.name))


def layout_of(
    files: Sequence[SourceFile], classes_from: ClassesFrom = "first", *, into: Manifest | None = None
) -> Layout:
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
        image_format = UNKNOWN if _is_stray(file) else _format(file)
        if image_format is UNKNOWN:
            passed_over += 1
        elif image_format.pillow:
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


def shown(text: str) -> str:
    """`text` made safe for a page or a terminal: one line of valid Unicode without control or direction characters.

    Letters of every script are kept, composed (NFC), so that a name from a Mac equals the same name from another system.
    """
    valid = text.encode("utf-8", "replace").decode("utf-8")
    composed = unicodedata.normalize("NFC", valid)
    return " ".join("".join(" " if _hidden(letter) else letter for letter in composed).split())


def shown_path(parts: tuple[str, ...]) -> str:
    """The original path of a file, for display."""
    return "/".join(shown(part) for part in parts)


def component(text: str, *, keep_dots: bool = False) -> str | None:
    """A safe folder or file name made from what a browser sent; None where nothing usable is left.

    A slash becomes a character that looks like one, so that a class may be called "a/b". Leading dots are removed, unless
    `keep_dots`: hidden files of an uploaded folder stay hidden, so that ingest passes them over and counts them.
    """
    name = " ".join(_UNSAFE.sub(" ", text).split()).replace("/", "\u2215").replace("\\", "\u2216").strip()
    if not keep_dots:
        name = name.lstrip(".").strip()
    if not name.strip("."):
        return None
    raw = name.encode()
    if len(raw) > LONGEST_COMPONENT:
        digest = hashlib.sha256(raw).hexdigest()[:8]
        name = f"{raw[: LONGEST_COMPONENT - 9].decode(errors='ignore')}~{digest}"
    return name


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    """`text` cut to at most `longest` characters, with an ellipsis where something was cut."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _hidden(letter: str) -> bool:
    category = unicodedata.category(letter)
    # The two joiners are needed to write Persian, Indic scripts and emoji; other format characters can reverse the text.
    return category in ("Cc", "Cs", "Cn", "Zl", "Zp") or (category == "Cf" and letter not in "\u200c\u200d")


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
            recognised_format = recognised(opened.read(HEAD_BYTES))
    except OSError:
        return UNKNOWN
    return recognised_format if recognised_format.pillow and not recognised_format.named_only else UNKNOWN


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
