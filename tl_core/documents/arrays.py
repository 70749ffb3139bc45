"""Files of named arrays (.npz), which the documents of a run that are no JSON consist of. They hold no pickle."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl_core.disk import write_atomically
from tl_core.errors import DocumentError, NotFound


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write `arrays` (NumPy arrays and scalars) to `path`, whole or not at all. Raises DiskFull."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_atomically(path, content.getvalue())


def read_arrays(path: Path, what: str, *, required: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Every array of the file at `path`, by its name. `what` the file holds, for messages.

    Raises:
        NotFound: there is no such file.
        DocumentError: it is damaged, or lacks an array that is `required`.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays}
    except FileNotFoundError:
        raise NotFound(f"There are no {what} at {path}.") from None
    except (ValueError, KeyError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DocumentError(f"{path} holds no {what}: {error}.") from None
    missing = [name for name in required if name not in found]
    if missing:
        raise DocumentError(f"{path} holds no {what}: {missing[0]!r} is missing.")
    return found
