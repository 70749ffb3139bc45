"""Evidence that is read off the bundle, and how it is drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file

from tests.models.planted import shallow
from tests.models.table import make_shallow, pictures, small_size
from tests.serving.conftest import SIZE, SPLIT, WEIGHT, bundle_info
from tl_core.errors import BundleError
from tl_core.models.build import Backbone
from tl_core.models.registry import network
from tl_core.serving.bundle import Bundle, write_bundle
from tl_core.serving.heatmaps import (
    LEVELS,
    class_weights,
    evidence,
    heat,
    hidden,
    linear,
    margins,
    overlay,
    peak_of,
)
from tl_core.serving.predictor import Predictor

RED, BLUE = (255, 0, 0), (0, 0, 255)


def halves() -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", (SIZE, SIZE), RED)
    image.paste(BLUE, (SIZE // 2, 0, SIZE, SIZE))
    return image


def test_the_evidence_lies_where_the_class_is(bundle: Bundle) -> None:
    predictor = Predictor(bundle)
    found = predictor.insight(predictor.pixels(halves())).evidence
    assert found.shape == (3, 8, 8)
    red, green, blue = (heat(each, 40, 32) for each in found)
    assert red.shape == (32, 40)
    assert red.max() == blue.max() == 1
    assert blue[6:-6, 26:-6].min() > 0.8
    assert blue[:, :12].max() < 0.1
    assert peak_of(red).x < 0.5 < peak_of(blue).x  # type: ignore[union-attr]
    assert not green.any()
    assert peak_of(green) is None


def test_the_mean_of_the_evidence_is_the_logits_without_what_all_classes_share(bundle: Bundle) -> None:
    predictor = Predictor(bundle)
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    logits = predictor.logits(pixels[None])[0]
    mean = predictor.insight(pixels).evidence.mean(axis=(1, 2))
    assert np.allclose(mean, logits - logits.mean(), atol=1e-4)


def test_a_layer_norm_before_the_head_is_folded_exactly_up_to_one_factor(tmp_path: Path) -> None:
    row = network("convnextv2_atto")
    backbone = make_shallow(row)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        x = backbone.normalise(pictures(row, 1))
        spatial, logits = backbone.map(backbone.spatial(x))[0].numpy(), backbone(x)[0].numpy()
    bundle = as_bundle(tmp_path, backbone)
    assert linear(bundle.info)
    mean = evidence(spatial, class_weights(bundle)).mean(axis=(1, 2))
    bias = head_bias(backbone)
    # What the norm's and the head's biases add is no evidence, and the factor is the spread of the picture's channels.
    rest = logits - bias - (logits - bias).mean()
    pooled = spatial.mean(axis=(1, 2))
    assert np.allclose(mean / np.sqrt(pooled.var() + 1e-6), rest, atol=1e-3 * np.abs(rest).max())


def head_bias(backbone: Backbone) -> NDArray[np.float32]:
    norm = backbone.module.get_submodule(backbone.network.layout.pooled_norm)
    assert isinstance(norm, torch.nn.LayerNorm)
    assert backbone.head is not None
    with torch.no_grad():
        found: NDArray[np.float32] = (backbone.head.weight @ norm.bias + backbone.head.bias).numpy()
    return found


def as_bundle(folder: Path, backbone: Backbone) -> Bundle:
    row, size = backbone.network, small_size(backbone.network)
    info = bundle_info(
        backbone=row.name,
        image_size=size,
        classes=tuple("abcdefg"),
        embedding_size=row.embedding_size,
        linear_on_pooled=row.layout.linear_on_pooled,
    )
    save_file(backbone.tensors(), folder / "model.safetensors")
    return Bundle(folder, info)


def test_no_evidence_where_more_than_one_layer_follows(tmp_path: Path, graph: Path) -> None:
    info = bundle_info(linear_on_pooled=False)
    bundle = write_bundle(tmp_path / "b", info=info, split=SPLIT, onnx=graph, tensors={"fc.weight": WEIGHT})
    assert not linear(info)
    assert Predictor(bundle).insight(np.zeros((SIZE, SIZE, 3), np.uint8)).evidence.size == 0
    with pytest.raises(BundleError, match="heatmap"):
        class_weights(bundle)


@pytest.mark.parametrize("backbone", ["swin_t", "vit_small_patch16_dinov3"])
def test_attention_mixes_the_places_so_nothing_is_read_off_the_map(backbone: str) -> None:
    assert network(backbone).layout.linear_on_pooled
    assert not linear(bundle_info(backbone=backbone))


def test_a_norm_that_the_tensors_lack_is_refused_in_words(tmp_path: Path, graph: Path) -> None:
    info = bundle_info(linear_on_pooled=False, backbone="convnextv2_atto")
    bundle = write_bundle(tmp_path / "b", info=info, split=SPLIT, onnx=graph, tensors={"head.fc.weight": WEIGHT})
    with pytest.raises(BundleError, match=r"head\.norm\.weight is missing"):
        class_weights(bundle)


def test_a_peak_at_an_edge_is_drawn_in_its_own_cell() -> None:
    positions = np.zeros((4, 4), np.float32)
    positions[3, 0], positions[2, 0] = 1, 0.9
    peak = peak_of(heat(positions, 200, 100))
    assert peak is not None
    assert 0 < peak.x < 0.25
    assert 0.6 < peak.y < 0.95


def test_where_convolutions_cut_the_edges_off_a_position_is_drawn_at_the_middle_of_what_it_sees() -> None:
    size = 171
    info = bundle_info(backbone="inception_v3", image_size=size)
    for position in range(4):
        positions = np.zeros((4, 4), np.float32)
        positions[position, position] = 1
        peak = peak_of(heat(positions, size, size, margins(info, 4)))
        assert peak is not None
        assert peak.x * size == pytest.approx(37.5 + 32 * position, abs=1)
        assert peak.y == peak.x
    assert margins(bundle_info(backbone="resnet18"), 4) == (0, 0)


@pytest.mark.parametrize(("size", "positions"), [(138, 2), (139, 3)])
def test_inception_has_one_position_more_where_its_edges_are_as_wide_as_the_table_says(
    size: int, positions: int
) -> None:
    row = network("inception_v3")
    assert row.layout.map_places is not None
    first, step = row.layout.map_places
    backbone = shallow(row, size)
    pixels = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    with torch.no_grad():
        spatial = backbone.map(backbone.spatial(backbone.normalise(pixels)))
    assert spatial.shape[2:] == (positions, positions)
    assert positions == (size - 2 * first - 1) // step + 1


def test_the_overlay_tells_hot_from_cold_without_colour() -> None:
    positions = np.zeros((5, 5), np.float32)
    positions[2, 2] = 1
    hot = heat(positions, 250, 250)
    drawn = np.asarray(overlay(Image.new("RGB", (250, 250), (120, 130, 90)), hot).convert("L")).astype(int)
    line = drawn[125]
    assert line[125] > line[5] + 60, "the peak is lighter"
    # From the edge to the peak, each contour is crossed once: white with a dark rim.
    white = np.flatnonzero(np.diff((line[:125] == 255).astype(int)) == 1)
    assert len(white) == len(LEVELS)


def test_a_picture_without_heat_is_only_darker() -> None:
    picture = Image.new("RGB", (60, 40), (200, 200, 200))
    drawn = np.asarray(overlay(picture, np.zeros((40, 60), np.float32)))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == 1
    assert drawn.max() < 200


def test_what_is_hidden_has_the_mean_colour_and_the_rest_is_as_it_was() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:, 2:] = (200, 100, 40)
    where = np.zeros((4, 4), bool)
    where[0] = True
    covered = hidden(pixels, where)
    assert (covered[0] == (100, 50, 20)).all()
    assert np.array_equal(covered[1:], pixels[1:])
    assert (pixels[0, 0] == 0).all()
