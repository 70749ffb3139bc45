"""Where in a picture the evidence for a class lies, from the map of a bundle's graph and the weights of its head, in NumPy.

That is exact where the logits are one linear layer on the mean of the map, also with a layer norm between them. For other networks
`tl_core.models.gradient_maps` computes the evidence with torch. What is drawn here of the evidence is the same for both.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tl_core.documents.bundle_info import BundleInfo
from tl_core.errors import BundleError, UnknownName
from tl_core.models.families.family import Family
from tl_core.models.registry import network
from tl_core.serving.bundle import Bundle, head_name
from tl_core.serving.bundle_files import TENSORS

LEVELS = (0.25, 0.5, 0.75)
"""Shares of the peak at which contours are drawn; the higher, the thicker."""
HOT = 0.5
"""Share of the peak from which on a place belongs to the hottest part."""
_INFERNO = (
    *((0, 0, 4), (27, 12, 65), (74, 12, 107), (120, 28, 109), (165, 44, 96)),
    *((207, 68, 70), (237, 105, 37), (251, 155, 6), (247, 209, 61), (252, 255, 164)),
)
"""Matplotlib's colours Inferno, from cold to hot: even steps of perceived lightness, which colour-blind people see, too."""
_OPACITY = (0.3, 0.6)
"""Of the colours over the picture, where it is cold and at the peak."""


class Peak(NamedTuple):
    """Where the heat is highest, as fractions of the picture's width and height, from its upper left corner."""

    x: float
    y: float


def linear(info: BundleInfo) -> bool:
    """Whether `class_weights` can be read off such a bundle: a linear layer follows the mean of its map, or a layer norm and then that.

    Networks of attention are left out: their blocks mix the places, so the last map says little about where something is.
    """
    layout = _layout(info)
    return layout is not None and not layout.mixes_places and (info.linear_on_pooled or layout.pooled_norm != "")


def class_weights(bundle: Bundle) -> NDArray[np.float32]:
    """The weights (C, K) by which the channels of the map speak for each class, in comparison with the mean of all classes.

    Times the map, summed over the channels and averaged over the positions, they give the logits without bias and less their mean,
    which makes no difference to the probabilities (class activation mapping, Zhou et al. 2016). A layer norm between the mean and the
    head divides by the spread of the picture's own channels: then they give the logits up to this factor, which all classes share.

    Raises:
        BundleError: the logits are not linear in the map, or the tensors do not fit.
    """
    from safetensors import safe_open

    name, layout = head_name(bundle.info), _layout(bundle.info)
    if name is None or layout is None or not linear(bundle.info):
        raise BundleError(
            f"A heatmap cannot be read off {bundle.info.backbone}: more follows its map than one layer, or Graft does not know it here."
        )
    with safe_open(bundle.tensors, framework="numpy") as tensors:
        head: NDArray[np.float32] = tensors.get_tensor(name).astype(np.float32)
        weights = head.reshape(head.shape[:2])
        if not bundle.info.linear_on_pooled:
            norm = f"{layout.pooled_norm}.weight"
            present = norm in tensors.keys()  # noqa: SIM118 - the reader is no mapping
            scale = tensors.get_tensor(norm).astype(np.float32) if present else np.empty(0, np.float32)
            if scale.shape != weights.shape[1:]:
                raise BundleError(
                    f"{TENSORS} does not fit {bundle.info.backbone}: {norm} is missing or has another size."
                )
            # The norm takes the mean of the channels away, so that does not speak for any class.
            weights = weights * scale
            weights = weights - weights.mean(axis=1, keepdims=True)
    compared: NDArray[np.float32] = weights - weights.mean(axis=0)
    return compared


def _layout(info: BundleInfo) -> Family | None:
    try:
        return network(info.backbone).layout
    except UnknownName:
        return None


def evidence(spatial: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much each position of the map `spatial` (K, h, w) speaks for each class, (C, h, w); below 0 it speaks against it.

    `weights` (C, K) are `class_weights`.
    """
    positions: NDArray[np.float32] = np.tensordot(weights, spatial, axes=1).astype(np.float32)
    return positions


def margins(info: BundleInfo, positions: int) -> tuple[float, float]:
    """How far the picture reaches beyond the map's `positions` in a row, on the left and the right, in positions: for `heat`.

    Convolutions without padding cut the edges off, as in Inception.
    """
    layout = _layout(info)
    if layout is None or layout.map_places is None:
        return 0.0, 0.0
    first, step = layout.map_places
    before = first / step - 0.5
    return before, info.image_size / step - positions - before


def heat(
    positions: NDArray[np.float32], width: int, height: int, margins: tuple[float, float] = (0.0, 0.0)
) -> NDArray[np.float32]:
    """The evidence for one class, `positions` (h, w), over a picture of `width` and `height` pixels: (height, width), from 0 to 1 at the peak.

    All 0 where no position speaks for the class. The picture reaches `margins` beyond the positions, on the left and the right as at the
    top and the bottom, in positions.
    """
    cut: NDArray[np.float32] = np.maximum(positions, 0).astype(np.float32)
    rows, columns = _spline(cut.shape[0], height, *margins), _spline(cut.shape[1], width, *margins)
    wide = np.asarray(rows @ cut @ columns.T, dtype=np.float32)
    peak = float(wide.max(initial=0.0))
    return wide / peak if peak > 0 else wide


def _spline(positions: int, pixels: int, before: float, after: float) -> NDArray[np.float32]:
    """The weights (pixels, positions) of a cubic B-spline, which makes no new peaks, with zeros beyond the edges.

    Were the outermost values repeated there, a peak near an edge would be drawn at the edge.
    """
    places = (np.arange(pixels, dtype=np.float32) + 0.5) / pixels * (before + positions + after) - before - 0.5
    far = np.abs(places[:, None] - np.arange(positions, dtype=np.float32))
    near = 2 / 3 - far**2 + far**3 / 2
    tail = np.maximum(2 - far, 0) ** 3 / 6
    return np.where(far < 1, near, tail).astype(np.float32)


def peak_of(hot: NDArray[np.float32]) -> Peak | None:
    """Where `hot` (height, width), which `heat` gave, is highest; None where it is 0 everywhere."""
    if not hot.any():
        return None
    row, column = np.unravel_index(int(hot.argmax()), hot.shape)
    return Peak((float(column) + 0.5) / hot.shape[1], (float(row) + 0.5) / hot.shape[0])


def hidden(pixels: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """`pixels` uint8 (S, S, 3) with the places `where` (S, S) in the mean colour of the picture (occlusion, Zeiler and Fergus 2014)."""
    covered = pixels.copy()
    covered[where] = pixels.mean(axis=(0, 1)).round()
    return covered


def overlay(picture: Image.Image, hot: NDArray[np.float32]) -> Image.Image:
    """`picture` (RGB) with the heat `hot`, of the same size, over it: in colours, and with contours at `LEVELS` of the peak.

    Where nothing is hot, the picture is only darker. White contours with a dark rim, the thicker the hotter, are seen on every ground.
    """
    warm = (hot * 255).round().astype(np.uint8)
    colours = Image.fromarray(_palette()[warm])
    cold, hottest = _OPACITY
    opacity = Image.fromarray(warm).point([round(255 * cold + (hottest - cold) * step) for step in range(256)])
    drawn = Image.composite(colours, picture.convert("RGB"), opacity)
    down, across = np.gradient(hot)
    steepness: NDArray[np.floating] = np.maximum(np.hypot(down, across), 1e-6)
    line = max(1.0, min(hot.shape) / 250)
    rim, white = np.zeros(hot.shape, dtype=bool), np.zeros(hot.shape, dtype=bool)
    for number, level in enumerate(LEVELS, start=1):
        # Half the width in pixels, times the steepness: how far from the level the contour reaches.
        off: NDArray[np.floating] = np.abs(hot - np.float32(level))
        white |= off < steepness * np.float32(line * number / 2)
        rim |= off < steepness * np.float32(line * number / 2 + 1)
    for colour, mask in (((0, 0, 0), rim), ((255, 255, 255), white)):
        drawn.paste(colour, mask=Image.fromarray(mask.astype(np.uint8) * 255))
    return drawn


@cache
def _palette() -> NDArray[np.uint8]:
    """The colours of 256 steps, uint8 (256, 3)."""
    steps = np.linspace(0, 1, len(_INFERNO))
    channels = [np.interp(np.linspace(0, 1, 256), steps, channel) for channel in zip(*_INFERNO, strict=True)]
    colours: NDArray[np.uint8] = np.stack(channels, axis=1).round().astype(np.uint8)
    return colours
