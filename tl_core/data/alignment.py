"""Whether two pictures show the same view: one is turned, mirrored, scaled and shifted until it fits the other. Needs no network.

Frozen features tell what is in a picture, so two hands that make one sign are nearly as alike to them as two copies of one photo. The pixels
tell them apart: the normalised cross-correlation of the middle of one picture with the other is high for a copy that was turned by up to
15 degrees, mirrored, cut down to 80 % of its sides or changed in brightness, and low for another photo of a similar thing. The placing is found
at a small size. What is compared at that placing is the finest detail that such changes leave, without what runs straight across or down the
whole picture: stripes, shelves and wires are alike in pictures of different things.
"""

from collections.abc import Sequence
from functools import cache, cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

SIDE = 56
"""Pixels a side to which pictures are reduced where a placing is looked for."""
DETAIL_SIDE = 112
"""Pixels a side to which they are reduced where their detail is compared."""
_MIDDLE = 0.6
"""Share of the sides of one picture that is looked for in the other."""
_SAMPLES = 16
_TURNS = np.radians((-14.0, -7.0, 0.0, 7.0, 14.0))
_SCALES = np.log((0.8, 0.9, 1.0, 1.12, 1.25))
_SHIFTS = (-0.13, 0.0, 0.13)
COARSE = 0.8
"""A correlation of the roughly placed middle below which no finer placing is looked for."""
_SMOOTH = 0.93
_SMOOTH_BLURRED = 0.97
"""Correlation that must be reached after a few rounds of placing more finely, and the same for pictures without fine detail."""
_FINE, _COARSER = 1.0, 3.0
"""Standard deviation of the Gaussian under which pictures are placed, and of the one whose result is taken off to compare pictures without
fine detail, pixels of `SIDE`."""
_DETAIL = 0.7, 1.5
"""Standard deviations of the Gaussians between which fine detail lies, pixels of `DETAIL_SIDE`."""
_FLAT = 3.0
"""Standard deviation of grey values (0 to 255) below which a picture has nothing to compare."""

_DETAILED = 0.05
"""Share of the contrast that is finer than two of the reduced pixels, from which a picture has detail."""


def greys(pixels: NDArray[np.uint8], side: int = SIDE) -> NDArray[np.float32]:
    """Luminance of `pixels` (N, S, S, 3), reduced to float32 (N, `side`, `side`) by the mean of blocks; S is at least `side`."""
    step = pixels.shape[1] // side
    weights = np.array([0.299, 0.587, 0.114], np.float32) / step**2
    whole = np.uint16 if step**2 * 255 < 2**16 else np.uint32
    reduced = np.empty((len(pixels), side, side), np.float32)
    for start in range(0, len(pixels), 64):
        part = pixels[start : start + 64, : step * side, : step * side]
        # Whole numbers, summed first down, where the values of a row lie side by side, and then across.
        down = sum((part[:, row::step] for row in range(1, step)), part[:, ::step].astype(whole))
        across = sum((down[:, :, column::step] for column in range(1, step)), down[:, :, ::step])
        reduced[start : start + 64] = across @ weights
    return reduced


def middles(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """The middle of each picture of `greys`, as it is looked for in others: (N, K), each with mean 0 and length 1."""
    parts = [
        _normalised(_sampled(_blurred(grey[start : start + 64], _FINE), _STILL[None])[:, 0])
        for start in range(0, len(grey), 64)
    ]
    return np.concatenate(parts) if parts else np.empty((0, _SAMPLES**2), np.float32)


class View:
    """One picture, ready to be compared with many."""

    def __init__(self, grey: NDArray[np.float32], pixels: NDArray[np.uint8], aspect: float = 1.0) -> None:
        """`grey`: a picture of `greys`, (SIDE, SIDE); `pixels`: the same one, (S, S, 3), S at least `DETAIL_SIDE`; `aspect`: width / height
        that it had before it was made square."""
        self._aspect = aspect
        contrast = float(grey.std())
        self.flat = contrast < _FLAT
        """Whether there is nothing to compare."""
        self._smooth: NDArray[np.float32] = _blurred(grey, _FINE)
        self.detailed = float((grey - self._smooth).std()) >= _DETAILED * contrast
        """Whether there is fine detail, which an enlarged or blurred picture lacks."""
        self._grey, self._pixels = grey, pixels

    @cached_property
    def _middle(self) -> NDArray[np.float32]:
        return np.asarray(_normalised(_sampled(self._smooth, _STILL[None]))[0])

    @cached_property
    def _coarser(self) -> NDArray[np.float32]:
        return self._grey - _blurred(self._grey, _COARSER)

    @cached_property
    def _detail(self) -> NDArray[np.float32]:
        grey = greys(self._pixels[None], DETAIL_SIDE)[0]
        return _blurred(grey, _DETAIL[0]) - _blurred(grey, _DETAIL[1])

    def coarse(self, parts: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
        """For each of `parts` (P, K), the `middles` of others, its highest correlation with a part of this picture, and the number of its
        placing: (P,) each."""
        # A rounded aspect, so that few banks are made; a strip of 1 : 20 or narrower must not come to 0.
        samples = (self._smooth - self._smooth.mean()).ravel()[_bank(round(min(max(self._aspect, 0.1), 10.0), 1))]
        squares = np.einsum("mk,mk->m", samples, samples) - samples.shape[1] * np.square(samples.mean(1))
        # The means of the parts are 0, so that those of the samples need not be subtracted.
        correlations = samples @ parts.T / np.sqrt(np.maximum(squares, 1e-6))[:, None]
        best = correlations.argmax(axis=0)
        return correlations[best, np.arange(len(parts))], best

    def _correlation(self, other: "View", placing: NDArray[np.float64]) -> float:
        """That of the detail of the middle of `other` with this picture at `placing`."""
        if not (self.detailed and other.detailed):
            here = _sampled(self._coarser, placing[None], self._aspect, samples=2 * _SAMPLES)
            there = _sampled(other._coarser, _STILL[None], samples=2 * _SAMPLES)
        else:
            here = _evened(_sampled(self._detail, placing[None], self._aspect, samples=4 * _SAMPLES))
            there = _evened(_sampled(other._detail, _STILL[None], samples=4 * _SAMPLES))
        return float(_normalised(here)[0] @ _normalised(there)[0])


def refined(fits: Sequence[tuple[View, View, int]]) -> list[float]:
    """For each two pictures and the number of a placing of the second one's middle in the first: the correlation of the detail of that middle
    with the first picture, at the best placing beside that one; -1 where none fits, or where one of them has no contrast."""
    correlations = [-1.0] * len(fits)
    tried = [at for at, (whole, part, _) in enumerate(fits) if not (whole.flat or part.flat)]
    for at, placing in zip(tried, _beside([fits[at] for at in tried]), strict=True):
        if placing is not None:
            whole, part, _ = fits[at]
            correlations[at] = whole._correlation(part, placing)
    return correlations


def _beside(fits: Sequence[tuple[View, View, int]]) -> list[NDArray[np.float64] | None]:
    """The placings (6,) that are found by steps in one direction, which are halved where none helps; all of them are tried together, since
    each is a small sum."""
    if not fits:
        return []
    smooth = np.stack([whole._smooth for whole, _, _ in fits])
    middle = np.stack([part._middle for _, part, _ in fits])
    aspect = np.array([whole._aspect for whole, _, _ in fits])
    least = np.array([_SMOOTH if whole.detailed and part.detailed else _SMOOTH_BLURRED for whole, part, _ in fits])
    placings = _PLACINGS[[placing for _, _, placing in fits]]
    steps = np.tile([np.radians(3.5), 0.06, 0.065, 0.065], (len(fits), 1))
    going = np.arange(len(fits))
    for number in range(_ROUNDS):
        near = np.repeat(placings[going, None], len(_BESIDE), axis=1)
        near[:, :, 2:] += _BESIDE * steps[going, None]
        samples = _normalised(_sampled(smooth[going], near, aspect[going, None]))
        correlations = np.einsum("fmk,fk->fm", samples, middle[going])
        best = correlations.argmax(axis=1)
        fit = np.full(len(going), True) if number < _TRIED else correlations.max(axis=1) >= least[going]
        placings[going] = near[np.arange(len(going)), best]
        steps[going[best == 0]] /= 2
        going = going[fit]
    fitting = set(going.tolist())
    return [placings[at] if at in fitting else None for at in range(len(fits))]


_PLACINGS: NDArray[np.float64] = np.array(list(product((1, -1), (1, -1), _TURNS, _SCALES, _SHIFTS, _SHIFTS)))
"""Each row: mirrored across and down (-1) or not (1), turn in radians, logarithm of the scale, shift across and down in half sides."""
_PLACINGS = _PLACINGS[np.abs(_PLACINGS[:, 4:]).max(1) <= 1.08 - _MIDDLE * np.exp(_PLACINGS[:, 3])]
_STILL: NDArray[np.float64] = np.array([1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
_BESIDE: NDArray[np.float64] = np.concatenate([np.zeros((1, 4)), np.eye(4), -np.eye(4)])
_ROUNDS = 14
_TRIED = 4


@cache
def _grid(samples: int) -> NDArray[np.float64]:
    """Where the samples of the middle lie, across and down, in half sides from the centre: (2, samples * samples)."""
    ticks = ((np.arange(samples) + 0.5) / samples * 2 - 1) * _MIDDLE
    down, across = np.meshgrid(ticks, ticks, indexing="ij")
    return np.stack([across.ravel(), down.ravel()])


def _points(
    placings: NDArray[np.float64], samples: int, aspect: float | NDArray[np.float64], size: int
) -> NDArray[np.float64]:
    """Where the samples of the middle lie in the other picture, in pixels: (2, ..., samples * samples), down and across, for `placings`
    (..., 6)."""
    mirror_x, mirror_y, turn, log_scale, shift_x, shift_y = np.moveaxis(placings, -1, 0)
    scale = np.exp(log_scale) * (size / 2)
    cosine, sine = np.cos(turn) * scale, np.sin(turn) * scale
    turned = np.stack(
        [
            np.stack([sine * aspect * mirror_x, cosine * mirror_y], axis=-1),
            np.stack([cosine * mirror_x, -sine / aspect * mirror_y], axis=-1),
        ]
    )
    middle = (np.stack([shift_y, shift_x]) + 1) * (size / 2) - 0.5
    return np.asarray(turned @ _grid(samples) + middle[..., None])


def _sampled(
    grey: NDArray[np.float32],
    placings: NDArray[np.float64],
    aspect: float | NDArray[np.float64] = 1.0,
    *,
    samples: int = _SAMPLES,
) -> NDArray[np.float32]:
    """Samples (..., M, K) of `grey` (..., S, S) under each of the placings (M, 6), or under its own ones (..., M, 6), bilinear; beyond the edge
    lies the edge. K is the square of `samples`."""
    size = grey.shape[-1]
    points = _points(placings, samples, aspect, size).clip(0, size - 1)
    corner = np.minimum(points.astype(np.intp), size - 2)
    down, across = (points - corner).astype(np.float32)
    at = corner[0] * size + corner[1]
    if placings.ndim == 2:
        flat = grey.reshape(*grey.shape[:-2], size * size)
    else:
        # One picture after the other, each with its own places.
        flat, at = grey.ravel(), at + (np.arange(len(grey)) * size * size)[:, None, None]
    left, right = (flat[..., at + side] * (1 - down) + flat[..., at + size + side] * down for side in (0, 1))
    return np.asarray(left * (1 - across) + right * across)


def _blurred(grey: NDArray[np.float32], deviation: float) -> NDArray[np.float32]:
    """`grey` (..., S, S) under a Gaussian of this standard deviation in pixels; beyond the edge lies the picture's mirror image."""
    blur = _gaussian(deviation, grey.shape[-1])
    return np.asarray(blur @ grey @ blur.T)


@cache
def _gaussian(deviation: float, size: int) -> NDArray[np.float32]:
    """The matrix (`size`, `size`) that blurs a column."""
    reach = np.arange(-round(4 * deviation), round(4 * deviation) + 1)
    weights = np.exp(-0.5 * np.square(reach / deviation))
    at = np.arange(size)[:, None] + reach
    blur = np.zeros((size, size))
    np.add.at(
        blur,
        (np.arange(size)[:, None], np.where(at < 0, -1 - at, np.where(at < size, at, 2 * size - 1 - at))),
        weights,
    )
    return np.asarray(blur / weights.sum(), dtype=np.float32)


def _evened(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Samples (M, K) of squares without the mean of each line across and down, and of these the square roots, so that one strong edge is not
    all that counts."""
    side = round(rows.shape[1] ** 0.5)
    squares = rows.reshape(-1, side, side)
    left = (
        squares - squares.mean(1, keepdims=True) - squares.mean(2, keepdims=True) + squares.mean((1, 2), keepdims=True)
    )
    return np.asarray((np.sign(left) * np.sqrt(np.abs(left))).reshape(rows.shape))


def _normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """`rows` (..., K) with mean 0 and length 1."""
    centred = rows - rows.mean(-1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-3))


@cache
def _bank(aspect: float) -> NDArray[np.intp]:
    """For each of `_PLACINGS`, the indices into a flat picture of the samples: (M, K)."""
    down, across = _points(_PLACINGS, _SAMPLES, aspect, SIDE).round().clip(0, SIDE - 1).astype(np.intp)
    return np.asarray(down * SIDE + across)
