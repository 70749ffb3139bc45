"""The exported backbone comes from the cache the second time, and then needs no torch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import tl_core
from tests.models.conftest import result_of
from tl_core.data.cache import Cache
from tl_core.errors import SpecError, WeightsUnavailable
from tl_core.models import export
from tl_core.models.export import backbone_key, exported_backbone
from tl_core.models.registry import network


def test_from_the_cache_without_torch(lite0: tuple[Cache, Path]) -> None:
    store, folder = lite0
    program = (
        "import sys; from pathlib import Path; from tl_core.data.cache import Cache;"
        "from tl_core.models.export import exported_backbone; from tl_core.models.registry import network\n"
        "try: next(exported_backbone(network('efficientnet_lite0'), None, 224, Cache(Path(sys.argv[1]), 10**9)))\n"
        "except StopIteration as stop: print(stop.value)\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(store.root)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, str(folder)), done.stderr
    assert sorted(file.name for file in folder.iterdir() if file.is_file()) == ["backbone.onnx", "backbone.safetensors"]


def test_a_graph_tells_nothing_of_the_machine_that_wrote_it(lite0: tuple[Cache, Path]) -> None:
    written = (lite0[1] / "backbone.onnx").read_bytes()
    for folder in (Path(tl_core.__file__).parents[1], Path(torch.__file__).parents[1], Path.home()):
        assert str(folder).encode() not in written


def test_whatever_changes_the_answers_changes_the_key() -> None:
    lite0, resnet = network("efficientnet_lite0"), network("resnet50")
    keys = {
        backbone_key(lite0, None, 224),
        backbone_key(lite0, None, 192),
        backbone_key(resnet, None, 224),
        backbone_key(resnet, "IMAGENET1K_V1", 224),
    }
    assert len(keys) == 4
    assert backbone_key(resnet, "IMAGENET1K_V2", 224) == backbone_key(resnet, None, 224)


def test_nothing_is_left_in_the_cache_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    row = network("resnet18")
    unreachable = row.weights[0].model_copy(update={"url": "http://127.0.0.1:9/resnet18-f37072fd.pth"})
    store = Cache(tmp_path / "cache", 10**9)
    with pytest.raises(WeightsUnavailable):
        result_of(exported_backbone(row.model_copy(update={"weights": (unreachable,)}), None, 224, store))
    with pytest.raises(SpecError):
        result_of(exported_backbone(row, None, 8, store))
    assert not [file for file in (tmp_path / "cache" / "backbones").rglob("*") if file.is_file()]


@pytest.mark.parametrize("file", ["backbone.onnx", "backbone.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "noise", "gone"])
def test_a_damaged_backbone_is_exported_again(
    lite0: tuple[Cache, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, damage: str
) -> None:
    good = lite0[1]
    monkeypatch.setattr(export, "_fill", lambda *arguments: shutil.copytree(good, arguments[-1]))
    store = Cache(tmp_path, 10**9)
    _, exported = result_of(exported_backbone(network("efficientnet_lite0"), None, 224, store))
    content = (good / file).read_bytes()
    if damage == "gone":
        (exported / file).unlink()
    else:
        (exported / file).write_bytes(content[: len(content) // 2] if damage == "cut" else b"\xff noise" * 1000)
    assert result_of(exported_backbone(network("efficientnet_lite0"), None, 224, store))[1] == exported
    assert (exported / file).read_bytes() == content
