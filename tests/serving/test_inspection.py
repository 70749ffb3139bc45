"""What a bundle's files say of themselves is not believed: descriptions that lie, graphs that could do harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.serving.conftest import WEIGHT
from tl_core.errors import BundleError, ModelError
from tl_core.models.graphs.edit import attach_head
from tl_core.serving.bundle import Bundle, read_bundle
from tl_core.serving.predictor import Predictor


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


def greedy_by_what_it_sees(model: onnx.ModelProto) -> None:
    """As many rows as the picture has bright pixels, and a table of all pairs of them."""
    numbers = {"flat": [-1], "zero": [0], "one": [1]}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()
    )
    nodes = [
        helper.make_node("Reshape", ["images", "flat"], ["row"]),
        helper.make_node("Cast", ["row"], ["bright"], to=TensorProto.BOOL),
        helper.make_node("Compress", ["row", "bright"], ["some"]),
        helper.make_node("Unsqueeze", ["some", "zero"], ["across"]),
        helper.make_node("Unsqueeze", ["some", "one"], ["down"]),
        helper.make_node("Mul", ["across", "down"], ["pairs"]),
    ]
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)


def greedy_by_the_dozen(model: onnx.ModelProto) -> None:
    shape = numpy_helper.from_array(np.array([1 << 28], np.int64), "large")
    model.graph.initializer.append(shape)
    names = [f"zeros{number}" for number in range(12)]
    for name in names:
        model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["large"], [name]))
    model.graph.node.append(helper.make_node("Sum", names, ["sum"]))


def words(model: onnx.ModelProto) -> None:
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    gemm.output[0] = "numbers"
    model.graph.node.append(helper.make_node("Cast", ["numbers"], ["logits"], to=TensorProto.STRING))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING


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
        (greedy_by_what_it_sees, "more memory"),
        (greedy_by_the_dozen, "more memory"),
        (words, "numbers of 32 bits"),
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
