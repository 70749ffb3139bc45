"""Writes, reads, checks and zips a bundle: the trained classifier as the files of `bundle_files`.

A bundle can be used without Graft and holds no pickle. It may come from a stranger, so reading one checks every file: all are parsed as
data, and no weights are loaded. `onnx_graph` has the check of model.onnx.
"""

import io
import math
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl_core.data.archive import extract
from tl_core.data.pixels import INTERPOLATIONS
from tl_core.data.sources import shortened, shown
from tl_core.disk import PassingFolder, appearing, remove
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.manifest import SplitRecord
from tl_core.errors import BundleError, DataError, DocumentError, NotFound, UnknownName
from tl_core.models.registry import network
from tl_core.serving.bundle_files import BUNDLE_FILES, FOLDER, INFO, ONNX, SPLIT, TENSORS
from tl_core.serving.onnx_graph import Ends, check_graph

MAX_CLASSES = 10_000
MAX_VALUES = 5 * MAX_CLASSES
"""The most values of bundle.json, counted by its commas, of which names of classes hold some, too."""
MAX_HEADER = 2_000_000
"""The most bytes of the list of tensors in model.safetensors: 100 for each tensor are usual."""
SIZES = range(16, 1025)
"""Possible image sizes, in pixels."""
_PICKLES = frozenset([".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".npy", ".npz"])

_MACOS_BYTES = 1_000_000
"""The most bytes of a file that macOS adds to a zip."""
_PART = 1 << 18
"""Bytes of a file that are read at once."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were checked."""

    folder: Path
    info: BundleInfo
    _holder: Any = None
    """The temporary folder of an unpacked zip, which is deleted with this object."""

    @property
    def onnx(self) -> Path:
        return self.folder / ONNX

    @property
    def tensors(self) -> Path:
        return self.folder / TENSORS

    def split(self) -> SplitRecord:
        """In which part of the run's split each picture was.

        Raises:
            BundleError: the file is damaged or gone.
        """
        try:
            return SplitRecord.read(self.folder / SPLIT)
        except (NotFound, DocumentError) as error:
            raise BundleError(error.message) from error


def write_bundle(
    folder: Path, *, info: BundleInfo, split: SplitRecord, onnx: Path, tensors: Mapping[str, NDArray[Any]]
) -> Bundle:
    """Write a bundle to `folder`, which appears by one rename once all required files are written and checked.

    `onnx` is a graph of `models.graphs.edit.attach_head`, `tensors` the arrays by the names of the library's network. An
    earlier bundle in `folder` is replaced.

    Raises:
        BundleError: the files do not fit one another.
        DiskFull: no space is left.
    """
    from safetensors.numpy import save_file

    with appearing(folder, "the bundle") as temporary:
        temporary.mkdir()
        shutil.copyfile(onnx, temporary / ONNX)
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, temporary / TENSORS)
        info.write(temporary / INFO)
        split.write(temporary / SPLIT)
        read_bundle(temporary)
    return Bundle(folder, info)


def read_bundle(path: Path, *, check: Callable[[Path, Ends], object] = check_graph) -> Bundle:
    """Read and check the bundle at `path`: a bundle folder, the folder of a run that has one, or a bundle zip.

    A zip is unpacked to a temporary folder that is deleted with the returned object. `check` checks the graph.

    Raises:
        NotFound: there is nothing at `path`.
        BundleError: it is no bundle, or one that cannot be used or trusted; the message says what is wrong.
        DiskFull: no space is left to unpack a zip.
    """
    if not path.exists():
        raise NotFound(f"There is no {path}. Name a run folder, a bundle folder or a bundle zip.")
    if path.is_dir():
        return _checked(_bundle_folder(path), None, check)
    if not zipfile.is_zipfile(path):
        raise BundleError(f"{path.name} is neither a run folder, a bundle folder nor a bundle zip.")
    holder = PassingFolder()
    try:
        _unpack(path, Path(holder.name))
        return _checked(Path(holder.name), holder, check)
    except BaseException:
        holder.cleanup()
        raise


def _unpack(path: Path, into: Path) -> None:
    """Unpack the bundle zip at `path` to the folder `into`, without one folder around the files and without what macOS adds."""
    most = sum(row.most_bytes for row in BUNDLE_FILES.values())
    try:
        files = extract(path, into / "unpacked", max_bytes=most, most_of=partial(_most_of, path.name))
    except DataError as error:
        raise BundleError(error.message) from error
    for file in files:
        target = into / file.parts[-1]
        if target.exists():
            raise BundleError(f"{path.name} holds {target.name} twice.")
        if not _of_macos(file.parts):
            file.path.rename(target)
    remove(into / "unpacked")


def _most_of(zip_name: str, parts: tuple[str, ...]) -> int:
    if _of_macos(parts):
        return _MACOS_BYTES
    if parts[-1] not in BUNDLE_FILES or len(parts) > 2:
        name = shortened(shown("/".join(parts)))
        raise BundleError(f"{zip_name} holds {name!r}, which has no place in a bundle. It was not unpacked.")
    return BUNDLE_FILES[parts[-1]].most_bytes


def _of_macos(parts: tuple[str, ...]) -> bool:
    return "__MACOSX" in parts or parts[-1] == ".DS_Store"


def to_zip(folder: Path, out: Path, *, check: Callable[[Path, Ends], object] = check_graph) -> Path:
    """Zip the bundle in `folder` (whatever `read_bundle` reads) to the file `out`, which appears by one rename; returns it.

    The same bundle always gives the same bytes. `check` checks the graph.

    Raises:
        NotFound, BundleError: as `read_bundle`.
        DiskFull: no space is left.
    """
    bundle = read_bundle(folder, check=check)
    with appearing(out, str(out)) as temporary, temporary.open("wb") as file:
        file.writelines(zip_parts(bundle.folder))
    return out


def zip_parts(folder: Path) -> Iterator[bytes]:
    """The zip of the bundle folder `folder`, part by part while its files are read; they are not checked.

    The same bundle always gives the same bytes.
    """
    made = _Parts()
    # Sizes stand after the content, since parts that were passed on cannot be changed. Programs that read a zip from its beginning
    # find them there only if the content is deflated, so weights are deflated, too, in blocks that are stored as they are.
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, row in BUNDLE_FILES.items():
            file = folder / name
            if not file.is_file():
                continue
            archive.compresslevel = None if row.compressed else 0
            with file.open("rb") as source, archive.open(name, "w") as target:
                while content := source.read(_PART):
                    target.write(content)
                    yield made.taken()
            archive.getinfo(name).external_attr = 0o100644 << 16
    yield made.taken()


class _Parts(io.RawIOBase):
    """A file to write a zip to, whose content is taken away again and again."""

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, content: Any) -> int:
        self._held += content
        return len(content)

    def taken(self) -> bytes:
        content = bytes(self._held)
        self._held.clear()
        return content


def _bundle_folder(path: Path) -> Path:
    for folder in (path, path / FOLDER):
        if (folder / INFO).is_file():
            return folder
    if (path / "spec.json").is_file():
        raise BundleError(f"The run in {path} has no bundle: it has not finished.")
    raise BundleError(f"{path} holds no {INFO}, so it is neither a bundle nor a finished run.")


def _checked(folder: Path, holder: Any, check: Callable[[Path, Ends], object]) -> Bundle:
    for file in folder.iterdir():
        if file.suffix.lower() in _PICKLES:
            raise BundleError(
                f"The bundle holds {file.name}, which may run code when it is opened and has no place in a bundle. "
                "It was not opened."
            )
    for name, row in BUNDLE_FILES.items():
        file = folder / name
        if row.required and not file.is_file():
            raise BundleError(f"The bundle lacks {name}. Export it again.")
        size, most = file.stat().st_size if file.is_file() else 0, row.most_bytes
        if size > most:
            raise BundleError(f"{name} has {size:,} bytes; up to {most:,} are read.")
    info = read_info(folder / INFO)
    check_tensors(folder / TENSORS, info)
    check(folder / ONNX, Ends(len(info.classes), info.image_size, info.embedding_size))
    return Bundle(folder, info, holder)


def read_info(path: Path) -> BundleInfo:
    """The content of a bundle.json, which must follow the schema, and whose values must be possible.

    Raises:
        BundleError: with all problems at once.
    """
    text = path.read_bytes()
    # A value that is wrong takes a kilobyte of memory, and a file of a few megabytes may hold a million.
    values = text.count(b",")
    if values > MAX_VALUES:
        raise BundleError(f"{INFO} holds about {values:,} values; up to {MAX_VALUES:,} are read.")
    try:
        info = BundleInfo.parse(text, INFO)
    except DocumentError as error:
        raise BundleError(error.message) from error
    _check_info(info)
    return info


def _check_info(info: BundleInfo) -> None:
    classes = len(info.classes)
    possible = {
        f"it names {classes} classes, 2 to {MAX_CLASSES:,} are possible": 2 <= classes <= MAX_CLASSES,
        "it names a class twice": len(set(info.classes)) == classes,
        f"its image size is {info.image_size}, {SIZES[0]} to {SIZES[-1]} are possible": info.image_size in SIZES,
        f"its interpolation is {info.interpolation[:40]!r}, known are {', '.join(INTERPOLATIONS)}": (
            info.interpolation in INTERPOLATIONS
        ),
        f"its temperature is {info.temperature}, which must be above 0": 0 < info.temperature < math.inf,
        f"its threshold is {info.threshold}, which must be a probability above 0": (
            info.threshold is None or 0 < info.threshold <= 1
        ),
        f"its embedding size is {info.embedding_size}": info.embedding_size >= 1,
    }
    problems = [problem for problem, right in possible.items() if not right]
    if problems:
        raise BundleError(f"{INFO} cannot be true: {'; '.join(problems)}.")


def check_tensors(path: Path, info: BundleInfo) -> None:
    """Refuse a model.safetensors that cannot be parsed, or whose head does not fit the classes of `info`.

    Raises:
        BundleError: the message says what is wrong.
    """
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > MAX_HEADER:
        raise BundleError(f"{TENSORS} begins with a list of {header:,} bytes; up to {MAX_HEADER:,} are read.")
    try:
        with safe_open(path, framework="numpy") as tensors:
            names = set(tensors.keys())
            head = head_name(info)
            shape = tuple(tensors.get_slice(head).get_shape()) if head in names else ()
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{TENSORS} is damaged or no safetensors file; it was not used.") from error
    # The weight of a head that is a 1x1 convolution has two further dimensions, both 1.
    if head is not None and (shape[:2] != (len(info.classes), info.embedding_size) or set(shape[2:]) - {1}):
        problem = f"is {str(shape)[:80]}" if shape else "is missing"
        raise BundleError(
            f"{TENSORS} does not fit {INFO}: the head {head} {problem}, "
            f"{(len(info.classes), info.embedding_size)} is needed."
        )


def head_name(info: BundleInfo) -> str | None:
    """The name of the head's weight in model.safetensors; None for a backbone that is not in the registry."""
    try:
        return f"{network(info.backbone).head}.weight"
    except UnknownName:
        return None
