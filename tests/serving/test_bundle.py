"""A bundle can be written, read and zipped; one that lies, is damaged or could do harm is refused in words."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

from tests.serving.conftest import WEIGHT, bundle_info
from tl_core.errors import BundleError
from tl_core.models.export import attach_head
from tl_core.serving import unpack
from tl_core.serving.bundle import Bundle, read_bundle, to_zip, write_bundle
from tl_core.serving.predictor import Predictor


def test_holds_four_files_and_reads_back(bundle: Bundle) -> None:
    assert sorted(file.name for file in bundle.folder.iterdir()) == [
        "MODEL_CARD.md",
        "bundle.json",
        "model.onnx",
        "model.safetensors",
    ]
    again = read_bundle(bundle.folder.parent)
    assert again.info == bundle.info
    assert np.array_equal(load_file(again.tensors)["fc.weight"], WEIGHT)
    assert [entry.name for entry in bundle.folder.parent.iterdir()] == ["bundle"]


def test_a_second_one_replaces_the_first_and_a_wrong_one_does_not(bundle: Bundle, graph: Path) -> None:
    tensors = {"fc.weight": WEIGHT * 2, "fc.bias": np.zeros(3, np.float32)}
    write_bundle(bundle.folder, info=bundle_info(name="second"), onnx=graph, tensors=tensors, card="")
    assert read_bundle(bundle.folder).info.name == "second"
    with pytest.raises(BundleError):
        write_bundle(bundle.folder, info=bundle_info(embedding_size=4), onnx=graph, tensors=tensors, card="")
    assert read_bundle(bundle.folder).info.name == "second"
    assert [entry.name for entry in bundle.folder.parent.iterdir()] == ["bundle"]


def test_zip_is_the_same_each_time_and_leaves_nothing_behind(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    first = to_zip(bundle.folder, tmp_path / "out" / "a.zip")
    second = to_zip(bundle.folder.parent, tmp_path / "out" / "b.zip")
    assert first.read_bytes() == second.read_bytes()
    assert sorted(file.name for file in first.parent.iterdir()) == ["a.zip", "b.zip"]
    opened = read_bundle(first)
    assert opened.folder.is_relative_to(tmp_path / "temporary")
    assert opened.info == bundle.info
    del opened
    assert not list((tmp_path / "temporary").iterdir())


def test_a_zip_made_again_on_a_mac_is_read(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "mac.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in bundle.folder.iterdir():
            archive.write(file, f"my bundle/{file.name}")
        archive.writestr("__MACOSX/my bundle/._bundle.json", b"x")
        archive.writestr("my bundle/.DS_Store", b"x")
    assert read_bundle(path).info == bundle.info


def zip_of(bundle: Bundle, path: Path, extra: dict[str, bytes], *, leave_out: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in bundle.folder.iterdir():
            if file.name != leave_out:
                archive.write(file, file.name)
        for name, content in extra.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../evil.onnx", "leads out"),
        ("a/../../model.onnx", "leads out"),
        ("/tmp/evil", "leads out"),
        ("..\\evil.txt", "leads out"),
        ("C:\\evil.txt", "leads out"),
        ("model.pkl", "no place"),
        ("run.py", "no place"),
        ("data.zip", "no place"),
        ("a/b/model.onnx", "no place"),
    ],
)
def test_a_zip_with_more_than_a_bundle_is_refused(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(inside))
    path = zip_of(bundle, tmp_path / "b.zip", {name: b"x"})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BundleError, match=words):
        read_bundle(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_link_in_a_zip_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    path = zip_of(bundle, tmp_path / "b.zip", {}, leave_out="model.onnx")
    with zipfile.ZipFile(path, "a") as archive:
        entry = zipfile.ZipInfo("model.onnx")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(BundleError, match="a link"):
        read_bundle(path)


def test_a_name_that_comes_twice_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="twice"):
        read_bundle(zip_of(bundle, tmp_path / "b.zip", {"inner/model.onnx": b"x"}))


def test_a_zip_bomb_is_stopped_while_it_is_written(bundle: Bundle, tmp_path: Path) -> None:
    path = zip_of(bundle, tmp_path / "b.zip", {"model.onnx": bytes(60_000_000)}, leave_out="model.onnx")
    assert path.stat().st_size < 200_000
    with pytest.raises(BundleError, match="zip bomb"):
        read_bundle(path)


def test_what_is_too_large_is_stopped_while_it_is_written(bundle: Bundle, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(5_000_000)
    path = zip_of(bundle, tmp_path / "b.zip", {"bundle.json": noise}, leave_out="bundle.json")
    with pytest.raises(BundleError, match=r"more than 4 MB"):
        read_bundle(path)


def test_a_large_graph_is_refused_by_its_size(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(unpack.MAX_BYTES, "model.onnx", 100)
    with pytest.raises(BundleError, match="MB are read"):
        read_bundle(bundle.folder)


def test_a_damaged_zip_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    whole = to_zip(bundle.folder, tmp_path / "b.zip").read_bytes()
    damaged = tmp_path / "damaged.zip"
    damaged.write_bytes(whole[:300] + bytes(50) + whole[350:])
    with pytest.raises(BundleError, match="damaged"):
        read_bundle(damaged)
    damaged.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match="neither"):
        read_bundle(damaged)


def test_pickle_is_never_opened(bundle: Bundle, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    trap = pickle.dumps(Trap())
    (bundle.folder / "model.pkl").write_bytes(trap)
    with pytest.raises(BundleError, match=r"model\.pkl"):
        read_bundle(bundle.folder)
    (bundle.folder / "model.pkl").unlink()
    for name in ("model.safetensors", "model.onnx"):
        content = (bundle.folder / name).read_bytes()
        (bundle.folder / name).write_bytes(trap)
        with pytest.raises(BundleError, match=name):
            read_bundle(bundle.folder)
        (bundle.folder / name).write_bytes(content)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx", "model.safetensors"])
def test_a_missing_file_is_named(bundle: Bundle, name: str) -> None:
    (bundle.folder / name).unlink()
    with pytest.raises(BundleError, match=name):
        read_bundle(bundle.folder)


def test_other_folders_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="neither a bundle nor a finished run"):
        read_bundle(tmp_path)
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(BundleError, match="not finished"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": ["red", "green"]}, "2, 3"),
        ({"classes": ["red", "green", "blue", "pink"]}, "does not fit"),
        ({"classes": ["red", "red", "blue"]}, "twice"),
        ({"classes": ["red"]}, "1 classes"),
        ({"classes": "red"}, "classes"),
        ({"image_size": 64}, r"64"),
        ({"image_size": 10**9}, "image size"),
        ({"interpolation": "../../etc"}, "interpolation"),
        ({"temperature": 0}, "temperature"),
        ({"temperature": None}, "temperature"),
        ({"embedding_size": 5}, "does not fit"),
        ({"schema_version": 2}, "schema_version"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_description_that_lies_is_refused(bundle: Bundle, changes: dict[str, object], words: str) -> None:
    path = bundle.folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(BundleError, match=words):
        read_bundle(bundle.folder)


def test_a_description_that_is_no_json_is_refused(bundle: Bundle) -> None:
    (bundle.folder / "bundle.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(BundleError, match=r"bundle\.json"):
        read_bundle(bundle.folder)


def external(model: onnx.ModelProto) -> None:
    tensor = next(item for item in model.graph.initializer if item.name == "head.weight")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "/etc/passwd", "offset": "0", "length": "36"}.items():
        tensor.external_data.add(key=key, value=value)


def external_constant(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "hidden")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["hidden"], value=tensor))


def own_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("evil", 1))
    model.graph.node[0].domain = "evil"


def endless(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", "", "scaled"], ["x"], body=body))


def greedy(model: onnx.ModelProto) -> None:
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "huge")
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["huge"], ["zeros"]))


def greedy_in_secret(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Shape", ["images"], ["sizes"]))
    model.graph.node.insert(1, helper.make_node("Mul", ["sizes", "sizes"], ["larger"]))
    model.graph.node.insert(2, helper.make_node("NonZero", ["larger"], ["where"]))
    model.graph.node.insert(3, helper.make_node("Squeeze", ["where"], ["some"]))
    model.graph.node.insert(4, helper.make_node("ConstantOfShape", ["some"], ["zeros"]))


def other_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def no_map(model: onnx.ModelProto) -> None:
    del model.graph.output[2]


def more_classes(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4


def parts_that_do_not_fit(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Gemm").input[1] = "axes"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (external, "another file"),
        (external_constant, "another file"),
        (own_operator, "operators of its own"),
        (endless, "graph inside|Loop"),
        (greedy, "more memory"),
        (greedy_in_secret, "more memory"),
        (other_input, "one input"),
        (float_input, "one input|takes pictures"),
        (no_map, "logits, embedding and map"),
        (more_classes, "4 classes"),
        (parts_that_do_not_fit, "do not fit"),
    ],
)
def test_a_graph_that_could_do_harm_is_refused(
    bundle: Bundle, spoil: Callable[[onnx.ModelProto], None], words: str
) -> None:
    path = bundle.folder / "model.onnx"
    model = onnx.load(path)
    spoil(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=words):
        read_bundle(bundle.folder)


def test_a_graph_that_answers_otherwise_than_it_declares_is_refused(bundle: Bundle, graph: Path) -> None:
    model = onnx.load(graph)
    head = next(item for item in model.graph.initializer if item.name == "head.weight")
    head.CopyFrom(numpy_helper.from_array(np.ones((5, 3), np.float32), "head.weight"))
    bias = next(item for item in model.graph.initializer if item.name == "head.bias")
    bias.CopyFrom(numpy_helper.from_array(np.ones(5, np.float32), "head.bias"))
    onnx.save(model, bundle.folder / "model.onnx")
    with pytest.raises(BundleError):
        Predictor(bundle.folder).logits(np.zeros((1, 32, 32, 3), np.uint8))


def test_a_head_that_does_not_fit_is_not_attached(tmp_path: Path, graph: Path) -> None:
    from tl_core.errors import ModelError

    backbone = tmp_path / "backbone.onnx"
    for weight, bias, words in (
        (np.zeros((3, 4)), np.zeros(3), "does not fit"),
        (np.zeros((3, 3)), np.zeros(2), "does not fit"),
        (np.full((3, 3), np.nan), np.zeros(3), "no numbers"),
    ):
        with pytest.raises(ModelError, match=words):
            attach_head(backbone, weight.astype(np.float32), bias.astype(np.float32), tmp_path / "x.onnx")
    with pytest.raises(ModelError, match="not an exported backbone"):
        attach_head(graph, WEIGHT, np.zeros(3, np.float32), tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()
