"""Features come from the graph once, then from the cache, and are never silently wrong."""

from collections.abc import Generator
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.training.twin import finish
from tl_core.data.cache import Cache
from tl_core.documents.events import Event, Progress
from tl_core.errors import DiskFull, ModelError
from tl_core.training.frozen import onnx_runtime
from tl_core.training.frozen.features import computed_key, kept_features
from tl_core.training.frozen.onnx_runtime import Wanted, embed_rows, run_graph


def _graph(path: Path, *, broken: bool = False) -> Path:
    """A graph whose embedding is each picture's mean colour; `broken`: the logarithm of less than nothing."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["mean"], keepdims=0),
        *(
            [helper.make_node("Neg", ["mean"], ["less"]), helper.make_node("Log", ["less"], ["embedding"])]
            if broken
            else []
        ),
    ]
    if not broken:
        nodes.append(helper.make_node("Identity", ["mean"], ["embedding"]))
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 16, 16, 3])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def _extract(graph: Path, pixels: np.ndarray, *, cache: Cache, key: str) -> Generator[Event, None, np.ndarray]:
    return kept_features(partial(run_graph, graph), pixels, cache=cache, key=key)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (21, 16, 16, 3), dtype=np.uint8)


def test_computed_once_then_from_the_cache(tmp_path: Path, pixels: np.ndarray) -> None:
    graph, cache = _graph(tmp_path / "graph.onnx"), Cache(tmp_path / "cache", 10**8)
    found, events = finish(_extract(graph, pixels, cache=cache, key="k"))
    assert found.dtype == np.float32
    assert found == pytest.approx(pixels.mean(axis=(1, 2)), rel=1e-5)
    assert isinstance(events[-1], Progress)
    assert (events[-1].stage, events[-1].done, events[-1].total) == ("features", 21, 21)
    graph.unlink()
    again, events = finish(_extract(graph, pixels, cache=cache, key="k"))
    assert np.array_equal(again, found)
    assert events == []


def test_another_key_is_computed_anew(tmp_path: Path, pixels: np.ndarray) -> None:
    graph, cache = _graph(tmp_path / "graph.onnx"), Cache(tmp_path / "cache", 10**8)
    finish(_extract(graph, pixels, cache=cache, key=computed_key("pixels", "backbone")))
    other, _ = finish(_extract(graph, pixels[::-1], cache=cache, key=computed_key("slexip", "backbone")))
    assert other[0] == pytest.approx(pixels[-1].mean(axis=(0, 1)), rel=1e-5)
    assert computed_key("a", "bc") != computed_key("ab", "c")


def test_stopping_half_way_leaves_nothing(tmp_path: Path, pixels: np.ndarray) -> None:
    graph, cache = _graph(tmp_path / "graph.onnx"), Cache(tmp_path / "cache", 10**8)
    running = _extract(graph, pixels, cache=cache, key="k")
    next(running)
    running.close()
    assert cache.get("features", "k") is None
    assert list((tmp_path / "cache" / "features").iterdir()) == []


def test_values_that_are_no_numbers_are_an_error_in_words(tmp_path: Path, pixels: np.ndarray) -> None:
    graph, cache = _graph(tmp_path / "graph.onnx", broken=True), Cache(tmp_path / "cache", 10**8)
    with pytest.raises(ModelError, match="another backbone"):
        finish(_extract(graph, pixels, cache=cache, key="k"))
    assert cache.get("features", "k") is None


def test_features_that_find_no_room_are_said_as_a_full_disk(
    tmp_path: Path, pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx_runtime, "allocate", full)
    with pytest.raises(DiskFull):
        finish(_extract(_graph(tmp_path / "g.onnx"), pixels, cache=Cache(tmp_path / "cache", 10**8), key="k"))


def test_float16_holds_what_fits_and_clips_what_does_not(tmp_path: Path) -> None:
    rows = onnx_runtime.new_rows(tmp_path / "rows", (2, 2), np.float16)
    onnx_runtime.write_rows(rows, 0, np.array([[1.5, 1e6], [-1e6, 0.0]], dtype=np.float32))
    rows.flush()
    assert np.load(tmp_path / "rows").tolist() == [[1.5, 65504.0], [-65504.0, 0.0]]


def test_chosen_rows_are_those_of_the_whole(tmp_path: Path, pixels: np.ndarray) -> None:
    graph = _graph(tmp_path / "graph.onnx")
    finish(run_graph(graph, [Wanted("embedding", tmp_path / "all", np.float32)], pixels))
    chosen = np.array([20, 0, 7])
    assert np.array_equal(embed_rows(graph, pixels, chosen), np.load(tmp_path / "all")[chosen])
