"""A small real bundle: a network of a few weights that tells pictures apart by colour, exported as ours are."""

import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.serving.hostile_graphs import Spoil
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.manifest import SplitRecord
from tl_core.models.graphs.edit import attach_head
from tl_core.serving.bundle import Bundle, write_bundle
from tl_core.serving.bundle_files import MODEL_CARD, ONNX

SIZE = 32
CLASSES = ("red", "green", "blue")


def backbone_graph() -> onnx.ModelProto:
    """uint8 (N, 32, 32, 3) to a map of 8 x 8 averages of each colour, and their mean."""
    nodes = [
        helper.make_node("Transpose", ["images"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["nchw"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "scale"], ["scaled"]),
        helper.make_node("AveragePool", ["scaled"], ["map"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("ReduceMean", ["map", "axes"], ["embedding"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 3]),
            helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", 3, 8, 8]),
        ],
        [
            numpy_helper.from_array(np.float32(255), "scale"),
            numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def bundle_info(**changes: object) -> BundleInfo:
    values: dict[str, object] = {
        "name": "colours",
        "classes": CLASSES,
        "image_size": SIZE,
        "interpolation": "bilinear",
        "backbone": "resnet18",
        "weights": "IMAGENET1K_V1",
        "licence": "BSD-3-Clause",
        "strategy": "feature_extraction",
        "seed": 0,
        "temperature": 1.0,
        "embedding_size": 3,
        "linear_on_pooled": True,
        "created": time.time(),
        "versions": {"graft": "0.1.0"},
    }
    return BundleInfo.model_validate(values | changes)


SPLIT = SplitRecord(parts={})
WEIGHT = (np.eye(3) * 12).astype(np.float32)


def spoilt(bundle: Bundle, spoil: Spoil, name: str = ONNX) -> Path:
    """The graph of `bundle`, changed, in its file of that name."""
    model = onnx.load(bundle.onnx)
    spoil(model)
    (bundle.folder / name).write_bytes(model.SerializeToString())
    return bundle.folder / name


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A whole graph, head attached."""
    onnx.save(backbone_graph(), tmp_path / "backbone.onnx")
    attach_head(tmp_path / "backbone.onnx", WEIGHT, np.zeros(3, np.float32), tmp_path / "whole.onnx")
    return tmp_path / "whole.onnx"


@pytest.fixture
def bundle(tmp_path: Path, graph: Path) -> Bundle:
    written = write_bundle(
        tmp_path / "run" / "bundle",
        info=bundle_info(),
        split=SPLIT,
        onnx=graph,
        tensors={"fc.weight": WEIGHT, "fc.bias": np.zeros(3, np.float32)},
    )
    (written.folder / MODEL_CARD).write_text("# colours\n")
    return written
