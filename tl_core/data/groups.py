"""Finds pictures that show one thing: near-copies, augmented copies of one original, bursts, and frames of one film. Needs no network.

Pictures are compared by their frozen features, by their pixels and by their file names. Candidates are the nearest pictures by cosine, those
with nearly the same perceptual hash (signs of the low frequencies of the cosine transform; Zauner, "Implementation and Benchmarking of
Perceptual Image Hash Functions", 2010), and those whose names belong together. A pair is confirmed in one of three ways:

- near-copy: the features are alike and the pixels fit after turning, mirroring, scaling and shifting (`alignment`), far better than those of
  pictures of different classes do;
- augmented copy: the name of one says that it was made from the other, and the features are not far apart;
- burst: the names are numbered in a row, and by the features both are far nearer to each other than to what was taken before and after;
- film: the same name with numbers, and by the features neighbours are nearer to each other than to all other pictures, throughout.

Names alone join nothing. What is joined to one picture is joined to each other (union-find).
"""

import re
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import combinations, pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tl_core.data.alignment import COARSE, View, greys, middles, refined
from tl_core.data.pace import Pace
from tl_core.data.split import Joined, alike
from tl_core.documents.events import Event
from tl_core.documents.manifest import ImageEntry

GROUPS_VERSION = 5
"""Part of the cache keys of groups: raise it when the same pictures would give other groups."""
NEAREST = 6
"""How many of the nearest pictures each picture is compared with, by its features and again by its hash."""
ALIKE = 0.7
"""Cosine of the features from which a pair may be a near-copy."""
FITTING_BLURRED = 0.985
"""Correlation of the aligned pixels from which pictures without fine detail, such as enlarged ones, are near-copies."""
CERTAIN = 0.97
"""Correlation from which a pair is a near-copy whatever the classes are, and says nothing about how well different things fit."""
LACKING = 0.2
"""What the correlation of the aligned detail of near-copies may lack of 1, as a share of what that of pictures of different classes lacks."""
_OTHERS = 100
"""Pictures for which one of another class is looked for."""
NOT_FAR = 0.6
"""Cosine from which a name that tells of an original is believed."""
IN_A_ROW = 0.85
"""Cosine from which pictures that are numbered in a row may be of one moment."""
_HASH = 8
"""The hash has the signs of this many frequencies across and down, without the mean."""
_HASH_DISTANCE = 8
"""Bits in which the hashes of near-copies may differ."""
_BLOCK = 512
"""Rows of the matrix of all pairs that memory holds at once."""

_MADE = re.compile(
    r"(?P<original>.+?)(?:_(?:jpg|jpeg|png)\.rf\.[0-9a-f]+"
    r"|[ _.-]+(?:aug(?:mented)?|copy|copie|kopie|flip(?:ped)?|[hv]flip|mirror(?:ed)?|rot(?:ated?)?|crop(?:ped)?|noise|noisy|blur(?:red)?|"
    r"bright(?:ness)?|dark|contrast|jitter|shear|zoom)(?:[ _.-]{0,2}\(?\d+\)?)?)+",
    re.IGNORECASE,
)
"""A stem that says that the picture was made from another one."""
_NUMBERED = re.compile(r"(?P<series>.*?)(?P<number>\d+)")


def find_groups(
    images: Sequence[ImageEntry], features: NDArray[np.floating], pixels: NDArray[np.uint8]
) -> Generator[Event, None, NDArray[np.intp]]:
    """The group of each of `images`, shape (N,): 0, 1, ... in the order of their first pictures, and -1 for a picture that is alone.

    `features` (N, D) are those of the frozen backbone and `pixels` uint8 (N, S, S, 3) what it was given; both may be memory maps, and are
    read in blocks. Yields progress of the stage `groups`. Byte-identical pictures are always in one group.
    """
    count = len(images)
    grey = greys(pixels)
    unit = _unit(features)
    nearest = _nearest(unit)
    joined = Joined(count)
    for same in alike(image.sha256 for image in images):
        joined.all(same)

    def overlap(one: int, other: int) -> float:
        return max(
            float(_view(grey, pixels, images, whole).coarse(middles(grey[[part]]))[0][0])
            for whole, part in ((one, other), (other, one))
        )

    for one, other in _named_pairs(images, unit, nearest, overlap):
        joined.pair(one, other)
    pace = Pace("groups", count)
    others = _of_other_classes(images, unit)
    pairs = sorted(_candidates(unit, nearest, _hashes(grey)).union(filter(None, others)))
    views: dict[int, View] = {}

    def correlations(fits: Sequence[_Fit]) -> list[float]:
        if len(views) > _VIEWS:
            views.clear()
        for fit in fits:
            views.update({row: _view(grey, pixels, images, row) for row in (fit.one, fit.other) if row not in views})
        return refined([(views[fit.whole], views[fit.one + fit.other - fit.whole], fit.placing) for fit in fits])

    # Matrices are so small from here on that threads would wait for each other longer than they compute.
    with threadpool_limits(1):
        fits = yield from _coarse_fits(pairs, grey, pixels, images, pace)
        placed = {(fit.one, fit.other): fit for fit in fits}
        judging = [placed[pair] for pair in others if pair in placed]
        fitting = _fitting([*correlations(judging), *[0.0] * (len(others) - len(judging))])
        for start in range(0, len(fits), _TOGETHER):
            yield from pace.at((count + fits[start].one) // 2)
            some = [fit for fit in fits[start : start + _TOGETHER] if joined.root(fit.one) != joined.root(fit.other)]
            for fit, correlation in zip(some, correlations(some), strict=True):
                detailed = views[fit.one].detailed and views[fit.other].detailed
                if correlation >= (fitting if detailed else FITTING_BLURRED):
                    joined.pair(fit.one, fit.other)
    yield from pace.at(count)
    return joined.groups()


_TOGETHER = 64
"""Pairs of pictures that are placed together."""
_VIEWS = 1_000
"""Prepared pictures that are kept, at about 80 kilobytes each."""


class _Fit(NamedTuple):
    """Two pictures, the middle of one of which is found in the other."""

    one: int
    other: int
    whole: int
    """In which of them."""
    placing: int


def _coarse_fits(
    pairs: Sequence[tuple[int, int]],
    grey: NDArray[np.float32],
    pixels: NDArray[np.uint8],
    images: Sequence[ImageEntry],
    pace: Pace,
) -> Generator[Event, None, list[_Fit]]:
    """Those of `pairs` that fit roughly, in their order. The middle of each is looked for in the other: what was cut out of a picture is
    found in it only."""
    partners: dict[int, list[int]] = defaultdict(list)
    for one, other in pairs:
        partners[one].append(other)
        partners[other].append(one)
    parts = middles(grey)
    best: dict[tuple[int, int], tuple[float, int, int]] = {}
    for row, others in sorted(partners.items()):
        yield from pace.at(row // 2)
        view = _view(grey, pixels, images, row)
        for other, correlation, placing in zip(
            others, *(each.tolist() for each in view.coarse(parts[others])), strict=True
        ):
            pair = min(row, other), max(row, other)
            if correlation >= COARSE and (pair not in best or correlation > best[pair][0]):
                best[pair] = correlation, row, placing
    return [_Fit(*pair, *best[pair][1:]) for pair in pairs if pair in best]


def _view(grey: NDArray[np.float32], pixels: NDArray[np.uint8], images: Sequence[ImageEntry], row: int) -> View:
    return View(grey[row], pixels[row], images[row].width / images[row].height)


def _of_other_classes(images: Sequence[ImageEntry], unit: NDArray[np.float32]) -> list[tuple[int, int] | None]:
    """For `_OTHERS` pictures the pair, the smaller row first, with the nearest one of another class; None where none is near."""
    labels = np.array([image.label for image in images])
    rows = _evenly(len(images), _OTHERS)
    cosines = np.where(labels[rows, None] == labels, -1.0, unit[rows] @ unit.T)
    nearest = cosines.argmax(axis=1)
    neighbours = zip(rows.tolist(), nearest.tolist(), cosines.max(axis=1) >= ALIKE, strict=True)
    return [(min(row, other), max(row, other)) if alike else None for row, other, alike in neighbours]


def _fitting(correlations: Sequence[float]) -> float:
    """The correlation from which detailed pictures are near-copies. `correlations`: those of pictures with the nearest one of another class.

    Parts from one machine, or cells of one panel, are so much alike that their pixels fit, too. How well pictures of different things fit is
    the correlation that one in ten of these exceeds.
    """
    others = [max(0.0, correlation) for correlation in correlations if correlation < CERTAIN]
    usual = float(np.quantile(others, 0.9)) if others else 0.0
    return min(CERTAIN, 1 - LACKING * (1 - usual))


def _unit(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """`features` with rows of length 1."""
    rows = np.array(features, dtype=np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return rows


def _nearest(unit: NDArray[np.float32]) -> NDArray[np.intp]:
    """The rows of the `NEAREST` highest cosines of each row, the highest first: (N, K)."""
    blocks = [_highest(unit[start : start + _BLOCK] @ unit.T, start) for start in range(0, len(unit), _BLOCK)]
    return np.concatenate([*blocks, np.empty((0, max(0, min(NEAREST, len(unit) - 1))), dtype=np.intp)])


def _highest(likeness: NDArray[np.float32], start: int) -> NDArray[np.intp]:
    """The columns of the `NEAREST` highest values of each row of `likeness`, the highest first: (N, K). Row 0 is the picture `start`, whose
    likeness to itself becomes -inf."""
    rows = np.arange(len(likeness))
    likeness[rows, start + rows] = -np.inf
    most = min(NEAREST, likeness.shape[1] - 1)
    best = np.argpartition(-likeness, max(0, most - 1), axis=1)[:, :most]
    order = np.argsort(-np.take_along_axis(likeness, best, axis=1), axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1)


def _hashes(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """The perceptual hash of each picture, as 1 and -1: (N, `_HASH`, `_HASH`). The mean, which is no sign, is 0."""
    side = grey.shape[1]
    waves = np.cos(np.pi / side * np.outer(np.arange(_HASH), np.arange(side) + 0.5)).astype(np.float32)
    signs = np.sign(waves @ grey @ waves.T).astype(np.float32)
    signs[:, 0, 0] = 0
    return np.asarray(signs)


def _candidates(
    unit: NDArray[np.float32], nearest: NDArray[np.intp], hashes: NDArray[np.float32]
) -> set[tuple[int, int]]:
    """Pairs of rows, the smaller first, whose features are alike and that are near by features or by hash, mirrored or not."""
    count = len(unit)
    pairs: set[tuple[int, int]] = set()
    alternating = np.where(np.arange(_HASH) % 2, -1.0, 1.0).astype(np.float32)
    # Mirroring a picture turns the signs of the odd frequencies.
    mirrored = [
        hashes * across * down for across in (1, alternating[None, None, :]) for down in (1, alternating[None, :, None])
    ]
    least = _HASH * _HASH - 1 - 2 * _HASH_DISTANCE
    flat = hashes.reshape(count, -1)
    for start in range(0, count, _BLOCK):
        block = flat[start : start + _BLOCK]
        agreement = np.max([block @ turned.reshape(count, -1).T for turned in mirrored], axis=0)
        best = _highest(agreement, start)
        for row in range(len(block)):
            by_hash = best[row][agreement[row, best[row]] >= least]
            near = np.unique(np.concatenate([by_hash, nearest[start + row]]))
            cosines = unit[near] @ unit[start + row]
            pairs.update(
                (min(start + row, other), max(start + row, other)) for other in near[cosines >= ALIKE].tolist()
            )
    return pairs


def _named_pairs(
    images: Sequence[ImageEntry],
    unit: NDArray[np.float32],
    nearest: NDArray[np.intp],
    overlap: Callable[[int, int], float],
) -> Iterator[tuple[int, int]]:
    """Pairs whose names belong together and whose features agree. `overlap`: the correlation of two rows that are placed roughly."""
    paths = [PurePosixPath(image.name) for image in images]
    made = [_MADE.fullmatch(path.stem) for path in paths]
    originals = [derived["original"] if derived else path.stem for derived, path in zip(made, paths, strict=True)]
    for rows in alike((path.parent.name, original) for path, original in zip(paths, originals, strict=True)):
        if any(made[row] for row in rows):
            yield from (
                (one, other) for one, other in combinations(rows, 2) if float(unit[one] @ unit[other]) >= NOT_FAR
            )
    yield from _in_a_row(paths, unit, nearest)
    yield from _in_a_film(paths, unit, overlap)


def _series(paths: Sequence[PurePosixPath]) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """For each class folder and beginning of a name, the numbers at the end of the names, each with its row, in the order of the numbers.
    Folders of one name are one class, in a training and in a test folder."""
    series: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for row, path in enumerate(paths):
        numbered = _NUMBERED.fullmatch(path.stem)
        if numbered:
            series[path.parent.name, numbered["series"]].append((int(numbered["number"]), row))
    return {name: sorted(members) for name, members in series.items()}


def _in_a_row(
    paths: Sequence[PurePosixPath], unit: NDArray[np.float32], nearest: NDArray[np.intp]
) -> Iterator[tuple[int, int]]:
    """Pairs numbered in a row that are far more alike than either is to what is not near it in its row."""
    numbered = _series(paths)
    place = {row: (series, number) for series, members in numbered.items() for number, row in members}

    def elsewhere(row: int, members: Sequence[tuple[int, int]]) -> float:
        """The distance (1 - cosine) of the nearest picture that is not near `row` in its series; 0 where the whole series is near."""
        series, number = place[row]
        away = [other for at, other in members if abs(at - number) > _MOMENT]
        if not away:
            return 0.0
        others = [other for other in nearest[row].tolist() if other not in place or place[other][0] != series]
        return 1 - float((unit[away + others] @ unit[row]).max())

    for members in numbered.values():
        for (first, one), (second, other) in pairwise(members):
            distance = 1 - float(unit[one] @ unit[other])
            if (
                second - first <= _STEP
                and distance <= 1 - IN_A_ROW
                and distance <= _NEARER * min(elsewhere(one, members), elsewhere(other, members))
            ):
                yield one, other


def _in_a_film(
    paths: Sequence[PurePosixPath], unit: NDArray[np.float32], overlap: Callable[[int, int], float]
) -> Iterator[tuple[int, int]]:
    """Pairs of neighbours in a series that is a film.

    A camera that wanders comes back to what it has shown, so a frame may be as near to others of its film as to its neighbours. Yet in a film
    the distance of neighbours is usually far less than that of other frames, which is not so where numbers are given to different things;
    and neighbours are nearer to each other than to any picture outside, which is not so where numbers follow the places of like things.
    Most neighbours overlap, which parts of one picture that was cut up do not.
    """
    for members in _series(paths).values():
        outside = len(unit) - len(members)
        if len(members) < _FRAMES or outside < _OUTSIDE * len(members):
            continue
        numbers, rows = np.array(members).T
        frames = unit[rows]
        some = _evenly(len(rows), _COMPARED)
        far = (1 - frames[some] @ frames[some].T)[some[:, None] - some > _MOMENT]
        beside = _distances(frames, 1)
        if np.median(beside) > _NEARER * np.median(far):
            continue
        to_others = np.empty(len(rows), dtype=np.float32)
        for start in range(0, len(rows), _BLOCK):
            cosines = frames[start : start + _BLOCK] @ unit.T
            cosines[:, rows] = -1
            to_others[start : start + _BLOCK] = 1 - cosines.max(axis=1)
        if (beside < np.minimum(to_others[:-1], to_others[1:])).mean() < _THROUGHOUT:
            continue
        at = _evenly(len(rows) - 1, _OVERLAPS)
        if np.median([overlap(*pair) for pair in zip(rows[at].tolist(), rows[at + 1].tolist(), strict=True)]) < COARSE:
            continue
        longest, farthest = _STEP * np.median(np.diff(numbers)), max(1 - IN_A_ROW, _CUT * float(np.median(beside)))
        # The frame after the next one is taken, too: one that is blurred does not cut a film in two.
        for ahead in (1, 2):
            distances = _distances(frames, ahead)
            near = (distances <= farthest) & (distances < np.minimum(to_others[:-ahead], to_others[ahead:]))
            near &= numbers[ahead:] - numbers[:-ahead] <= longest
            yield from zip(rows[:-ahead][near].tolist(), rows[ahead:][near].tolist(), strict=True)


def _evenly(count: int, most: int) -> NDArray[np.intp]:
    """At most `most` of the rows 0 to `count` - 1, evenly from all of them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(np.intp))


def _distances(frames: NDArray[np.float32], ahead: int) -> NDArray[np.float32]:
    """1 - cosine of each of `frames` (N, D) and the one so many `ahead`: (N - `ahead`,)."""
    return np.asarray(1 - np.einsum("nd,nd->n", frames[:-ahead], frames[ahead:]))


_STEP = 2
"""How far apart the numbers of pictures in a row may be: one that was deleted is passed over. In a film, a multiple of the usual step."""
_MOMENT = 3
"""Pictures whose numbers differ by more are what those in a row are compared with: in a film, distances grow with the time between."""
_NEARER = 0.5
"""Share of the distance to other pictures within which those in a row are of one moment."""
_FRAMES = 8
"""The fewest pictures that may be seen to be a film."""
_OUTSIDE = 0.2
"""The fewest pictures outside of a film, as a share of its frames, among which the nearest one says something."""
_COMPARED = 200
"""Frames, evenly from a film, between which the usual distance is taken."""
_OVERLAPS = 25
"""Pairs of neighbours, evenly from a film, whose pixels are compared."""
_THROUGHOUT = 0.8
"""Share of the neighbours in a film that are nearer to each other than to any picture outside."""
_CUT = 3.0
"""A distance of so many times the usual one of neighbours may be a cut to another scene, unless it is small."""
