"""Checks bundle.json and model.safetensors of a bundle, which may come from a stranger, before they are used.

The files are parsed as data, and no weights are loaded; `graph_check` has the check of model.onnx.
"""

import math
from pathlib import Path

from tl_core.data.pixels import INTERPOLATIONS
from tl_core.documents.bundle_info import BundleInfo
from tl_core.errors import BundleError, DocumentError, UnknownName
from tl_core.models.registry import network
from tl_core.serving.bundle_files import INFO, TENSORS

MAX_CLASSES = 10_000
MAX_VALUES = 5 * MAX_CLASSES
"""The most values of bundle.json, counted by its commas, of which names of classes hold some, too."""
MAX_HEADER = 2_000_000
"""The most bytes of the list of tensors in model.safetensors: 100 for each tensor are usual."""
SIZES = range(16, 1025)
"""Possible image sizes, in pixels."""


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
