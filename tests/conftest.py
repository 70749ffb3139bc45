"""Fixtures shared by all tests: a store of the test's own and folders of small pictures that can be told apart."""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tl_core import locks

# The table of backbones is read while tests are collected, before any fixture: without what the user keeps in a store.
os.environ["GRAFT_STORE"] = str(Path(tempfile.gettempdir()) / f"graft-tests-{os.getpid()}")
os.environ.pop("GRAFT_WEIGHTS_DIR", None)
# The embedded backbone's look at every picture that a test reads would take longer than all tests.
os.environ["GRAFT_FIND_GROUPS"] = "false"
# The networks of the tests gain nothing from a second thread, and beside other processes wait for it twentyfold.
os.environ["OMP_NUM_THREADS"] = "1"

PictureFolder = Callable[..., Path]
Once = Callable[[str, Callable[[Path], object]], Path]
PATIENCE = 600
"""Seconds after which a test gives up what it waits for: a guard against hanging on the slowest machine, never a measure."""

_COLOURS = [(200, 60, 50), (50, 90, 200), (60, 180, 80), (220, 180, 40), (150, 60, 180), (40, 180, 190)]


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store of this test's own, so that no test sees another's or the user's."""
    folder = tmp_path / "store"
    monkeypatch.setenv("GRAFT_STORE", str(folder))
    for variable in ("SPACE_ID", "GRAFT_KEEP_DAYS", "GRAFT_MAX_UPLOAD_MB", "GRAFT_CACHE_GB", "GRAFT_WORKSPACE_GB"):
        monkeypatch.delenv(variable, raising=False)
    return folder


@pytest.fixture
def decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are decoded in the process of the test, so that rows which it adds to tables are seen."""
    from tl_core.data import guarded, pixels

    monkeypatch.setattr(guarded, "shared", lambda: pixels)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once("name", make)` is a folder that `make(folder)` has filled, one time for all processes that the tests run in; see `lend`."""
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "once"
    shared.mkdir(exist_ok=True)

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, whole = shared / name, shared / f"{name}.whole"
        lock = locks.take(shared / f"{name}.lock", patience=PATIENCE)
        assert lock is not None, f"waited in vain for another process to make {name}"
        try:
            if not whole.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                whole.touch()
        finally:
            locks.release([lock])
        return folder

    return made


@pytest.fixture(scope="session")
def exported(once: Once) -> Callable[[int], Path]:
    """`exported(96)` is a cache whose only entry is the embedded backbone, exported for pictures of 96 pixels; see `lend`."""
    from tl_core.data.cache import Cache
    from tl_core.models.graphs.export import exported_backbone
    from tl_core.models.registry import network

    def at(size: int) -> Path:
        def make(root: Path) -> None:
            for _ in exported_backbone(network("efficientnet_lite0"), None, size, Cache(root, 10**9)):
                pass

        return once(f"exported-{size}", make)

    return at


def lend(kept: Path, to: Path) -> None:
    """Give the test's own folder `to` all that is in `kept`: large files by a link, the others as copies."""

    def give(source: str, target: str) -> None:
        if Path(source).stat().st_size > 100_000:
            os.link(source, target)
        else:
            shutil.copy2(source, target)

    shutil.copytree(kept, to, copy_function=give, dirs_exist_ok=True)


def until(met: Callable[[], object]) -> None:
    """Wait until `met()` is true."""
    deadline = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def picture(label: int, index: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture of class `label`: stripes in its colour and direction over noise, different for each `index`."""
    generator = np.random.default_rng([label, index])
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width]
    angle = label * 0.9 + generator.normal(0, 0.1)
    stripes = np.sin((rows * np.cos(angle) + columns * np.sin(angle)) * 0.5 + generator.uniform(0, 6)) > 0
    base = np.where(stripes[..., None], _COLOURS[label % len(_COLOURS)], (235, 235, 235))
    noisy = base + generator.normal(0, 20, base.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


@pytest.fixture
def picture_folder(tmp_path: Path) -> PictureFolder:
    """A factory of folders with one class folder each: `picture_folder({"cat": 12, "dog": 12})`."""

    def make(
        classes: Mapping[str, int] | None = None, *, size: tuple[int, int] = (64, 48), root: Path | None = None
    ) -> Path:
        folder = root or tmp_path / "pictures"
        for label, (name, count) in enumerate((classes or {"cat": 12, "dog": 12}).items()):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for index in range(count):
                picture(label, index, size).save(folder / name / f"{index:03}.jpg", quality=92)
        return folder

    return make
