"""What a bundle's files say of themselves is not believed: descriptions that lie, graphs that could do harm."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.numpy import save_file

from tests.serving.conftest import WEIGHT, spoilt
from tests.serving.hostile_graphs import REFUSED, Spoil
from tl_core.errors import BundleError, ModelError
from tl_core.models.graphs.edit import attach_head
from tl_core.serving.bundle import Bundle, head_name, read_bundle
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
        ({"threshold": 1.5}, "threshold"),
        ({"embedding_size": 5}, "does not fit"),
        ({"schema_version": 2}, "another version of Graft"),
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


@pytest.mark.parametrize(("spoil", "words"), REFUSED.values(), ids=REFUSED)
def test_a_graph_that_could_do_harm_is_refused(bundle: Bundle, spoil: Spoil, words: str) -> None:
    spoilt(bundle, spoil)
    with pytest.raises(BundleError, match=words):
        read_bundle(bundle.folder)


def test_a_description_of_a_million_wrong_values_is_refused_in_a_few_words(bundle: Bundle) -> None:
    path = bundle.folder / "bundle.json"
    for values, words in ((1_000_000, "values"), (40_000, "more")):
        path.write_text(f'{{"classes": [{",".join(["1"] * values)}]}}')
        with pytest.raises(BundleError, match=words) as raised:
            read_bundle(bundle.folder)
        assert len(raised.value.message) < 3000


def test_weights_that_begin_with_a_long_list_are_refused(bundle: Bundle) -> None:
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"tensor{number}": entry for number in range(30_000)}).encode()
    (bundle.folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(BundleError, match="begins with a list"):
        read_bundle(bundle.folder)


def test_a_head_may_be_a_convolution_of_one_position_only(bundle: Bundle) -> None:
    name, shape = head_name(bundle.info), (len(bundle.info.classes), bundle.info.embedding_size)
    assert name is not None
    save_file({name: np.zeros((*shape, 1, 1), np.float32)}, bundle.tensors)
    read_bundle(bundle.folder)
    save_file({name: np.zeros((*shape, 1, 3), np.float32)}, bundle.tensors)
    with pytest.raises(BundleError, match=rf"the head {name} is .*1, 3"):
        read_bundle(bundle.folder)


def test_a_graph_that_answers_otherwise_than_it_declares_is_refused(bundle: Bundle) -> None:
    def five_classes(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.name in ("head.weight", "head.bias"):
                values = numpy_helper.to_array(tensor)
                tensor.CopyFrom(numpy_helper.from_array(np.ones((5, *values.shape[1:]), np.float32), tensor.name))

    spoilt(bundle, five_classes)
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
