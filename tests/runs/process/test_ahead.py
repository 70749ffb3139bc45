"""The backbone of the first run is exported while its pictures are read, by a process that ends with the one that wants it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PictureFolder, until
from tl_core import children
from tl_core.documents.options import TrainingOptions
from tl_core.models.graphs.export import backbone_key
from tl_core.models.registry import network
from tl_core.runs.process import ahead
from tl_core.runs.start import jobs
from tl_core.runs.store.store import Store

SIZE = 32
KEY = backbone_key(network("efficientnet_lite0"), None, SIZE)


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_EXPORT_AHEAD", "true")
    monkeypatch.setattr(ahead, "gpus", list)
    monkeypatch.setattr(ahead, "_started", {})


@pytest.mark.usefixtures("wanted")
def test_it_is_there_soon_after_the_pictures_are_read(picture_folder: PictureFolder) -> None:
    place = Store.default().command_line_workspace()
    folder = picture_folder({"cat": 12, "dog": 12})
    for _ in range(2):
        dataset = jobs.submit_ingest(
            place, source_kind="folder", source=folder, name="two", likely=TrainingOptions(image_size=SIZE)
        )
        jobs.finish(dataset, None)
    assert len(ahead._started) == 1
    until(lambda: Store.default().cache.get("backbones", KEY))


@pytest.mark.parametrize(
    "why", ["not wanted", "a GPU", "there", "little memory", "to be downloaded", "no such weights"]
)
@pytest.mark.usefixtures("wanted")
def test_nothing_is_started_where_it_is_of_no_use(why: str, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if why == "not wanted":
        monkeypatch.setenv("GRAFT_EXPORT_AHEAD", "false")
    elif why == "a GPU":
        monkeypatch.setattr(ahead, "gpus", lambda: ["a GPU"])
    elif why == "there":
        (store / "cache" / "backbones" / KEY).mkdir(parents=True)
    elif why == "little memory":
        monkeypatch.setattr(ahead, "available_mb", lambda device: 1_000)
    name = "resnet18" if why == "to be downloaded" else "efficientnet_lite0"
    ahead.export_ahead(Store.default(), name, "none such" if why == "no such weights" else None, SIZE)
    assert not ahead._started


def test_it_ends_with_its_parent(store: Path) -> None:
    # It waits for the entry's lock, which this test holds, so that it cannot end by itself.
    with Store.default().cache.entry("backbones", KEY):
        parent = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import time\nfrom tl_core.runs.process import ahead\nfrom tl_core.runs.store.store import Store\n"
                f"ahead.gpus = list\nahead.export_ahead(Store.default(), 'efficientnet_lite0', None, {SIZE})\n"
                "print(*(child.pid for child in ahead._started.values()), flush=True)\ntime.sleep(600)",
            ],
            stdout=subprocess.PIPE,
            env=children.environment(GRAFT_STORE=str(store), GRAFT_EXPORT_AHEAD="true"),
        )
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        until(lambda: _ended(child))
        parent.stdout.close()


def _ended(process: int) -> bool:
    """Whether it is gone, or only its parent's note of it is left."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
