"""The exported backbone comes from the cache the second time, and then needs no torch."""

import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import tl_core
from tests.models.conftest import result_of
from tests.models.table import make_shallow
from tl_core.data.cache import Cache
from tl_core.errors import ModelError, SpecError, WeightsUnavailable
from tl_core.models.build import Backbone, build
from tl_core.models.graphs import export, from_torch, rules
from tl_core.models.graphs.edit import cut, stage_name
from tl_core.models.graphs.export import backbone_key, exported_backbone, keep_structure, structure_file
from tl_core.models.graphs.from_torch import export_backbone
from tl_core.models.registry import network
from tl_core.models.weights.obtain import find


def test_from_the_cache_without_torch(lite0: tuple[Cache, Path]) -> None:
    store, folder = lite0
    program = (
        "import sys; from pathlib import Path; from tl_core.data.cache import Cache;"
        "from tl_core.models.graphs.export import exported_backbone; from tl_core.models.registry import network\n"
        "try: next(exported_backbone(network('efficientnet_lite0'), None, 224, Cache(Path(sys.argv[1]), 10**9)))\n"
        "except StopIteration as stop: print(stop.value)\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(store.root)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, str(folder)), done.stderr
    assert sorted(file.name for file in folder.iterdir() if file.is_file()) == [
        "backbone.onnx",
        "backbone.safetensors",
        "structure.txt",
    ]


def test_a_graph_tells_nothing_of_the_machine_that_wrote_it(lite0: tuple[Cache, Path]) -> None:
    written = (lite0[1] / "backbone.onnx").read_bytes()
    for folder in (Path(tl_core.__file__).parents[1], Path(torch.__file__).parents[1], Path.home()):
        assert str(folder).encode() not in written


@pytest.mark.parametrize("stages", [(1, 4), (7,)])
def test_a_cut_answers_as_the_whole_does(lite0: tuple[Cache, Path], tmp_path: Path, stages: tuple[int, ...]) -> None:
    whole = lite0[1] / "backbone.onnx"
    names = [*(stage_name(stage) for stage in stages), "embedding"]
    cut(whole, names, tmp_path / "cut.onnx")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "cut.onnx")
    assert [output.name for output in session.get_outputs()] == names
    given = dict(zip(names, session.run(None, {"images": pictures}), strict=True))
    file = find(network("efficientnet_lite0")).path
    backbone = build(network("efficientnet_lite0"), weights="IMAGENET1K", weights_file=file, classes=None)
    with torch.no_grad():
        x = backbone.normalise(torch.from_numpy(pictures))
        for number, (_, stage) in enumerate(backbone.stages):
            x = stage(x)
            if number in stages:
                assert given[stage_name(number)].shape == tuple(x.shape)
                assert np.abs(given[stage_name(number)] - x.numpy()).max() <= 1e-3 * x.abs().max()
    embedding, last = onnxruntime.InferenceSession(whole).run(["embedding", "map"], {"images": pictures})
    assert np.allclose(given["embedding"], embedding, atol=1e-5)
    if 7 in stages:
        assert np.allclose(given[stage_name(7)], last, atol=1e-5)


def test_a_cut_holds_only_what_it_needs(lite0: tuple[Cache, Path], tmp_path: Path) -> None:
    cut(lite0[1] / "backbone.onnx", [stage_name(2)], tmp_path / "deep" / "cut.onnx")
    graph = onnx.load(tmp_path / "deep" / "cut.onnx").graph
    parameters = sum(math.prod(tensor.dims) for tensor in graph.initializer)
    row = network("efficientnet_lite0")
    assert 0.9 * sum(row.stage_parameters[:3]) < parameters < sum(row.stage_parameters[:3]) + 100
    assert len(graph.node) < len(onnx.load(lite0[1] / "backbone.onnx").graph.node) / 2
    with pytest.raises(ModelError, match="stage_8"):
        cut(lite0[1] / "backbone.onnx", [stage_name(8)], tmp_path / "cut.onnx")


def test_the_stages_names_cost_nothing(lite0: tuple[Cache, Path]) -> None:
    graph = onnx.load(lite0[1] / "backbone.onnx").graph
    assert [output.name for output in graph.output] == ["embedding", "map"]
    read = {name for node in graph.node for name in node.input} | {"embedding", "map"}
    assert all(set(node.output) & read for node in graph.node), "a node computes what nobody reads"
    assert "Identity" not in {node.op_type for node in graph.node}


def test_the_printed_structure_stands_beside_the_graph(lite0: tuple[Cache, Path]) -> None:
    lines = (lite0[1] / "structure.txt").read_text().splitlines()
    assert lines[0] == "EfficientNet  # images (3, 224, 224)"
    assert any(
        line.startswith("  (conv_stem): Conv2dSame(3, 32,") and line.endswith("-> (32, 112, 112)") for line in lines
    )
    assert "  (classifier): Linear(in_features=1280, out_features=number of classes), the new head" in lines
    assert len(lines) < 300


def test_where_a_network_is_trained_without_its_graph_the_same_text_is_kept(
    lite0: tuple[Cache, Path], tmp_path: Path
) -> None:
    store, exported = lite0
    row = network("efficientnet_lite0")
    assert structure_file(row, None, 224, store) == exported / "structure.txt"
    other = Cache(tmp_path, 10**9)
    assert structure_file(row, None, 224, other) is None
    trained = build(row, weights=None, classes=5)
    keep_structure(trained, row.default_weights, 224, other)
    file = structure_file(row, None, 224, other)
    assert file is not None
    assert file.read_text() == (exported / "structure.txt").read_text()
    keep_structure(trained, row.default_weights, 192, full := Cache(tmp_path / "full", 10))
    assert structure_file(row, None, 192, full) is None


def test_a_long_structure_is_folded(
    random_backbone: Callable[[str], Backbone], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = random_backbone("resnet18")
    whole = from_torch.structure(backbone, 64)
    monkeypatch.setattr(from_torch, "LONGEST", 50)
    folded = from_torch.structure(backbone, 64)
    assert "    (0 to 1): 2 x BasicBlock -> (64, 16, 16)" in folded.splitlines()
    assert folded.count("\n") < whole.count("\n")
    assert (whole.count("BasicBlock"), folded.count("BasicBlock")) == (8, 7)


def test_a_network_that_fits_no_file_is_refused_before_its_weights_are_fetched(tmp_path: Path) -> None:
    row = network("vit_h_14")
    with pytest.raises(ModelError, match=r"vit_h_14 is too large: its weights take 2\.5 GB"):
        result_of(exported_backbone(row, None, row.weights_row().input_size, Cache(tmp_path, 10**9)))


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


@pytest.mark.parametrize("file", ["backbone.onnx", "backbone.safetensors", "structure.txt"])
@pytest.mark.parametrize("damage", ["cut", "noise", "gone"])
def test_a_damaged_backbone_is_exported_again(
    lite0: tuple[Cache, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, damage: str
) -> None:
    good = lite0[1]
    monkeypatch.setattr(export, "_fill", lambda *arguments: shutil.copytree(good, arguments[-1]))
    store = Cache(tmp_path, 10**9)
    _, exported = result_of(exported_backbone(network("efficientnet_lite0"), None, 224, store))
    content = (good / file).read_bytes()
    if damage == "gone" or file == "structure.txt":
        (exported / file).unlink()
    else:
        (exported / file).write_bytes(content[: len(content) // 2] if damage == "cut" else b"\xff noise" * 1000)
    assert result_of(exported_backbone(network("efficientnet_lite0"), None, 224, store))[1] == exported
    assert (exported / file).read_bytes() == content


def test_a_network_whose_bundle_would_be_refused_is_refused_when_it_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAX_NODES", 3)
    with pytest.raises(ModelError, match=r"squeezenet1_1 cannot be used .* operators; up to 3 are read"):
        export_backbone(make_shallow(network("squeezenet1_1")), 64, tmp_path / "backbone.onnx")
