"""Exports a backbone while the pictures for it are still being read, so that the first run finds it in the cache.

The export is half of a first run's time, and nothing of it depends on the pictures. It is done by `python -m tl_core.runs.process.ahead`, a
process that ends with the one that started it. If it fails, the run exports the backbone itself, and says what is wrong.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tl_core import children, settings
from tl_core.errors import GraftError
from tl_core.hardware import available_mb, gpus, quota_threads
from tl_core.models.graphs.export import backbone_key, exported_backbone
from tl_core.models.registry import network
from tl_core.models.weights.obtain import available
from tl_core.runs.process.local import end_with_parent
from tl_core.runs.store.store import Store

NICENESS = 10
_NEEDED_MB = 2_000
"""Memory that must be free: three times what the export of a small backbone takes."""
_started: dict[tuple[Path, str], subprocess.Popen[bytes]] = {}
"""By store and key of the backbone: what this process has started. The object keeps the pipe open, at whose end the child ends."""


def export_ahead(store: Store, backbone: str, weights: str | None = None, image_size: int | None = None) -> None:
    """Start to export `backbone` for pictures of `image_size` pixels (None: that of its weights) into the cache of `store`.

    Nothing is started where the operator does not want it, the machine has a GPU (whose runs may not need it), the backbone is in the cache,
    its weights would have to be downloaded, memory is short, or this process has started it before.
    """
    if not settings.current().export_ahead or gpus():
        return
    # What is wrong with the names, or with the operator's folder of weights, the run says.
    with suppress(GraftError, OSError):
        found = network(backbone)
        known = found.weights_row(weights)
        size = image_size or known.input_size
        key = backbone_key(found, known.name, size)
        if (store.root, key) in _started or store.cache.get("backbones", key) or not available(found, known.name):
            return
        if (available_mb("cpu") or _NEEDED_MB) < _NEEDED_MB:
            return
        child = _started[store.root, key] = subprocess.Popen(
            children.command("tl_core.runs.process.ahead", backbone, known.name, str(size)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=quota_threads() | children.environment(GRAFT_STORE=str(store.root)),
        )
        threading.Thread(target=child.wait, daemon=True, name=f"export {child.pid}").start()


def main(name: str, weights: str, image_size: str) -> NoReturn:
    os.nice(NICENESS)
    threading.Thread(target=end_with_parent, daemon=True).start()
    for _ in exported_backbone(network(name), weights, int(image_size), Store.default().cache):
        pass
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
