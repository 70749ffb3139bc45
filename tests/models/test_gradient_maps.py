"""The evidence lies on the patch that decides the class, in small networks that have learned so, most of them from random weights.

`python -m tests.models.test_gradient_maps NAME...` prints the rows of the table in docs/honesty.md, or some of them.
"""

import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.models.planted import CLASSES, PATCHES, Planted, packaged, shallow, teach
from tests.serving.conftest import bundle_info
from tl_core.models.gradient_maps import class_evidence
from tl_core.models.registry import network
from tl_core.serving import heatmaps
from tl_core.serving.bundle import Bundle
from tl_core.serving.bundle_files import TENSORS

PICTURES, NEEDED = 50, 45


class Taught(NamedTuple):
    """How a small network of a family is taught."""

    network: str
    size: int = 160
    """Side of the pictures, pixels."""
    side: int = 56
    """Side of the patch, pixels."""
    rate: float = 2e-3
    repeats: int = 1
    """Blocks of a kind that work."""
    packaged: bool = False
    """Whether the whole network with the weights of its package is taught, not a shallow one with random weights."""

    @property
    def named(self) -> str:
        return f"{self.network}, from its weights" if self.packaged else self.network


QUICK = (
    Taught("shufflenet_v2_x0_5", 128, 48),
    Taught("deit_tiny_patch16_224", 112, 40, 5e-4, 2),
)
"""Linear on the mean of the map, and of tokens."""
FURTHER = (
    Taught("mobilenet_v3_small"),
    Taught("efficientnet_lite0", rate=4e-4),
    Taught("efficientnet_lite0", rate=5e-4, packaged=True),
    Taught("mobilenetv4_conv_small"),
    Taught("convnextv2_atto", rate=1e-3),
    Taught("squeezenet1_1", 128, 48, 5e-4),
    Taught("resnet18", 128, 48, 1e-3),
    Taught("alexnet", rate=2e-4),
    Taught("mnasnet0_5", rate=4e-4),
    Taught("mobilenet_v2", rate=4e-4),
    Taught("vit_small_patch14_dinov2", 112, 40, 3e-4, 2),
    Taught("eva02_tiny_patch14_336", 112, 40, 5e-4, 2),
    Taught("vit_small_patch16_dinov3", 112, 40, 3e-4, 2),
    Taught("efficientnet_b0"),
    Taught("regnet_y_400mf"),
    Taught("googlenet", 128, 48, 1e-3),
    Taught("densenet121", 128, 48, 1e-3),
    Taught("vit_base_patch16_clip_224", 112, 40, 1e-4, 2),
    Taught("vit_base_patch16_siglip_224", 112, 40, 1e-4, 2),
    Taught("vit_b_16", 112, 40, 1e-4, 2),
    Taught("convnext_tiny", 128, 48, 3e-4),
    Taught("efficientnet_v2_s", 128, 48, 1e-3),
    Taught("vgg11_bn", 128, 48, 1e-4),
    Taught("inception_v3", 299, 104, 5e-5),
    Taught("swin_t", 128, 48, 3e-4),
    Taught("swin_v2_t", 128, 48, 3e-4),
    Taught("maxvit_t", 224, 80, 5e-4),
)
"""The smallest network of each further published architecture."""


class Found(NamedTuple):
    way: str
    right: int
    """Answers that are right."""
    peaks: int
    """Pictures whose heat for the answer is highest within the patch."""


def judge(taught: Taught, folder: Path) -> Found:
    row = network(taught.network)
    backbone = packaged(row) if taught.packaged else shallow(row, taught.size, repeats=taught.repeats)
    teach(backbone, taught.size, taught.side, rate=taught.rate, most=300)
    new = Planted(PICTURES, taught.size, taught.side, seed=7, classes=PATCHES)
    info = bundle_info(
        backbone=taught.network,
        classes=tuple("abcd"),
        image_size=taught.size,
        embedding_size=backbone.network.embedding_size,
        linear_on_pooled=backbone.network.layout.linear_on_pooled,
    )
    save_file(backbone.tensors(), folder / TENSORS)
    weights = heatmaps.class_weights(Bundle(folder, info)) if heatmaps.linear(info) else None
    right = peaks = 0
    for number, pixels in enumerate(new.pixels):
        with torch.no_grad():
            images = backbone.normalise(torch.from_numpy(pixels)[None])
            answer = int(backbone(images).argmax())
            spatial = backbone.map(backbone.spatial(images))[0].numpy()
        if weights is None:
            (positions,) = class_evidence(backbone, pixels, [answer])
        else:
            positions = heatmaps.evidence(spatial, weights)[answer]
        hot = heatmaps.heat(positions, taught.size, taught.size, heatmaps.margins(info, len(positions)))
        peak = heatmaps.peak_of(hot)
        right += answer == new.labels[number]
        peaks += peak is not None and new.held(number, *peak)
    return Found("gradients" if weights is None else "map", right, peaks)


@pytest.mark.parametrize("taught", QUICK, ids=lambda taught: taught.network)
def test_the_patch_that_decides_the_class_is_hottest(taught: Taught, tmp_path: Path) -> None:
    found = judge(taught, tmp_path)
    assert found.right >= NEEDED
    assert found.peaks >= NEEDED


@pytest.mark.slow
@pytest.mark.parametrize("taught", FURTHER, ids=lambda taught: taught.named)
def test_the_patch_is_hottest_in_every_family(taught: Taught, tmp_path: Path) -> None:
    test_the_patch_that_decides_the_class_is_hottest(taught, tmp_path)


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "vit_b_16", "swin_t", "mobilenet_v3_small"])
def test_classes_are_compared_with_their_mean_and_do_not_depend_on_which_others_are_asked_for(name: str) -> None:
    backbone = shallow(network(name), 112)
    pixels = Planted(1, 112, 40, seed=1).pixels[0]
    first, second = class_evidence(backbone, pixels, [0, 2]), class_evidence(backbone, pixels, [2, 1])
    assert first.shape == (2, *second.shape[1:])
    assert np.array_equal(first[1], second[0])
    every = class_evidence(backbone, pixels, range(CLASSES))
    assert np.allclose(every.sum(0), 0, atol=1e-4 * np.abs(every).max())


@pytest.mark.parametrize(
    ("name", "side"), [("deit_tiny_patch16_224", 16), ("vit_small_patch14_dinov2", 14), ("swin_t", 16)]
)
def test_where_attention_mixes_the_places_the_evidence_is_that_of_patches(name: str, side: int) -> None:
    found = class_evidence(shallow(network(name), 112), Planted(1, 112, 40, seed=1).pixels[0], [0])
    assert found.shape == (1, 112 // side, 112 // side)


def test_the_functions_of_torch_are_as_they_were_afterwards() -> None:
    backbone = shallow(network("deit_tiny_patch16_224"), 112)
    names = ("layer_norm", "scaled_dot_product_attention", "softmax")
    before = [getattr(nn.functional, name) for name in names]
    class_evidence(backbone, Planted(1, 112, 40, seed=1).pixels[0], [0])
    assert [getattr(nn.functional, name) for name in names] == before


def main(names: list[str]) -> None:
    for taught in (*QUICK, *FURTHER):
        if not names or taught.network in names:
            with tempfile.TemporaryDirectory() as folder:
                found = judge(taught, Path(folder))
            family = network(taught.network).layout.published
            name = f"`{taught.network}`, from its weights" if taught.packaged else f"`{taught.network}`"
            print(f"| {family} | {name} | {found.way} | {found.right} | {found.peaks} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
