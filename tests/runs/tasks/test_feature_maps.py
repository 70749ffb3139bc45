"""Filters and feature maps: files of what is really in the network, however a stage's output lies."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.training.conftest import exported, small_families
from tests.training.twin import FAMILY, by_torch, finish, pictures, twin
from tl_core.data.cache import Cache
from tl_core.documents.events import Notice
from tl_core.models.graphs.export import ONNX_NAME, TENSORS_NAME
from tl_core.runs.tasks.feature_maps import GAP, feature_maps, filter_grid, first_filters, maps_of, strongest

__all__ = ["exported", "small_families"]
PICTURE = pictures(1)[0][0]


def test_filters_and_maps_are_written_and_named(exported: Path, tmp_path: Path) -> None:
    found, _ = finish(
        feature_maps(exported, FAMILY.stage_names, PICTURE, tmp_path, cache=Cache(tmp_path / "cache", 10**8))
    )
    assert np.array_equal(np.asarray(Image.open(tmp_path / found.picture)), PICTURE)
    assert (found.filters, found.filter_count, found.filter_size) == ("filters.png", 8, 3)
    assert Image.open(tmp_path / "filters.png").mode == "RGB"
    assert {row.stage for row in found.maps} == {"stem", "stage1"}
    (stem,) = by_torch(PICTURE[None])
    for row in found.maps:
        assert np.asarray(Image.open(tmp_path / row.file)).ndim == 2
        if row.stage == "stem":
            assert (row.height, row.width) == (16, 16)
            seen = np.asarray(Image.open(tmp_path / row.file)).astype(float)[5::11, 5::11]
            assert np.corrcoef(seen.ravel(), stem[row.channel].ravel())[0, 1] > 0.9


def test_the_first_filters_are_those_of_the_first_convolution(exported: Path) -> None:
    assert np.array_equal(first_filters(exported / TENSORS_NAME), twin().tensors()["stem.0.weight"].numpy())


def test_a_network_without_colour_filters_says_so(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / exported.name
    folder.mkdir()
    (folder / ONNX_NAME).write_bytes((exported / ONNX_NAME).read_bytes())
    save_file({"patches.weight": torch.zeros(8, 48)}, folder / TENSORS_NAME)
    found, events = finish(
        feature_maps(folder, FAMILY.stage_names, PICTURE, tmp_path, cache=Cache(tmp_path / "cache", 10**8))
    )
    assert found.filters is None
    assert any(isinstance(event, Notice) for event in events)
    assert found.maps


def test_of_many_filters_the_strongest_are_shown(tmp_path: Path) -> None:
    weights = torch.randn(100, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    weights[:40] *= 0.01
    save_file({"patches.weight": weights}, tmp_path / "t")
    filters = first_filters(tmp_path / "t")
    assert filters.shape == (64, 3, 4, 4)
    assert np.array_equal(filters[-60:], weights[40:].numpy())


def test_grey_is_zero_and_colour_is_weight() -> None:
    filters = np.zeros((9, 3, 2, 2), dtype=np.float32)
    filters[0, 0] = 0.5
    filters[8, 2] = -2
    grid = filter_grid(filters)
    assert grid.shape == (2 * 40 + GAP, 8 * 40 + 7 * GAP, 3)
    assert grid[0, 0].tolist() == [255, 128, 128]
    assert grid[-1, 0].tolist() == [128, 128, 0]
    assert grid[0, 40].tolist() == [255, 255, 255]


def test_every_layout_is_read_as_maps() -> None:
    maps = np.random.default_rng(0).normal(size=(6, 4, 4)).astype(np.float32)
    tokens = np.concatenate([np.full((3, 6), 99.0), maps.reshape(6, 16).T])
    for given in (maps, maps.transpose(1, 2, 0), tokens):
        assert np.array_equal(maps_of(given[None]), maps)
    assert maps_of(np.zeros((1, 8))) is None


def test_the_strongest_tell_places_apart() -> None:
    maps = np.random.default_rng(0).normal(size=(20, 4, 4)).astype(np.float32)
    maps[7] *= 9
    maps[3] = 1000
    chosen = strongest(maps)
    assert chosen[0] == 7
    assert 3 not in chosen
