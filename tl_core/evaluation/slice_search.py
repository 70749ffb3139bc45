"""Where a run fails: slices of the pictures on which its answers are wrong more often than elsewhere, and chance does not explain it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.report import ImageAnswer, Slice
from tl_core.evaluation.intervals import accuracy_interval
from tl_core.evaluation.slice_kinds import KINDS, Candidate, Pictures, candidates

FEWEST = 6
"""Pictures, each of a group of its own, that a slice and the rest need at least."""
PERMUTATIONS = 5_000
_AT_ONCE = 500
"""Permutations that memory holds at once."""
_NOTHING = 1e-9
"""Spread of statistics that are all the same, as far as numbers tell."""
_LEAST_SKEWNESS = 1e-3
"""Below it a distribution is symmetric as far as numbers tell."""
MOSTLY = 0.6
"""Share of the pictures of a cluster that have something in common from which it is said."""
MORE_THAN_ELSEWHERE = 1.5
"""How many times as common it must be in the cluster as among all pictures."""


def failing(
    pictures: Pictures, answers: Sequence[ImageAnswer], classes: Sequence[str], *, folds: int | None = None
) -> tuple[Slice, ...]:
    """Every slice of the pictures that was looked at, the one that chance explains least first.

    `answers` are those to `pictures`, in their order. Tested is whether a slice has more wrong answers than chance gives it: the wrong
    answers are permuted among the groups of pictures whose class is the same, so a hard class is not found once more. A group of pictures
    counts as one, with the share of its answers that are wrong. The p-values are corrected for all slices by the largest score that
    each permutation gives to any (single-step maxT, Westfall and Young 1993): of slices that overlap, that asks less than Holm's method does.
    If all wrong answers fall by chance, at most one data set in twenty has a finding.

    `folds`: how many the answers come from, where they are those of cross-validation; their intervals are wider (`intervals.widening`).
    """
    truth = np.array([answer.truth for answer in answers], dtype=np.int64)
    wrong = np.array([answer.predicted != answer.truth for answer in answers], dtype=bool)
    looked_at = comparable(pictures, truth)
    if not looked_at:
        return ()
    values = corrected_p_values(looked_at, pictures, wrong, truth)
    order = np.argsort(values, kind="stable")
    return tuple(
        _slice(looked_at[at], float(values[at]), pictures, looked_at, answers, truth, ~wrong, classes, folds)
        for at in order
    )


def comparable(pictures: Pictures, truth: NDArray[np.integer]) -> list[Candidate]:
    """The slices of `pictures` that have enough pictures in them and elsewhere, and both of some class of `truth` (N,)."""

    def enough(one: Candidate) -> bool:
        units = _units(one, pictures)
        fewest = min(len(np.unique(units[one.members.inside])), len(np.unique(units[~one.members.inside])))
        return fewest >= FEWEST and bool(np.intersect1d(truth[one.members.inside], truth[~one.members.inside]).size)

    return [one for one in candidates(pictures) if enough(one)]


def corrected_p_values(
    looked_at: Sequence[Candidate], pictures: Pictures, wrong: NDArray[np.bool_], truth: NDArray[np.integer]
) -> NDArray[np.float64]:
    """For each slice that is `looked_at` the probability, corrected for all of them, that chance gives it as many wrong answers.

    `wrong` (N,) says which answers to `pictures` are wrong, `truth` (N,) are class indices.
    """
    statistics = np.empty((len(looked_at), 1 + PERMUTATIONS))
    for alone in (False, True):
        some = [number for number, one in enumerate(looked_at) if KINDS[one.kind].copies_alone is alone]
        if some:
            inside = np.array([looked_at[number].members.inside for number in some])
            statistics[some] = _statistics(inside, wrong, truth, _units(looked_at[some[0]], pictures))
    scores = _normal_scores(statistics)
    largest = np.sort(scores.max(axis=0))
    return 1 - np.searchsorted(largest, scores[:, 0], side="left") / len(largest)


def _normal_scores(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row of `statistics`, (S, 1 + P) as `_statistics` gives them, on one scale, on which chance gives all about a normal distribution.

    Small slices have a skewed distribution, so their standard scores reach further than those of large ones. The cube root of Wilson and Hilferty
    (1931) removes the skewness of a Pearson type III curve, which fits the sums of a permutation test (Mielke and Berry 2007). How well it
    fits does not matter for what chance finds, since it is the same for all columns.
    """
    # Without the first column: what is far beyond chance would widen, and skew, what it is compared with.
    chance = statistics[:, 1:]
    spread = chance.std(axis=1, keepdims=True)
    centred = statistics - chance.mean(axis=1, keepdims=True)
    scaled = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > _NOTHING)
    skewness = (scaled[:, 1:] ** 3).mean(axis=1, keepdims=True)
    skewness = np.where(np.abs(skewness) < _LEAST_SKEWNESS, _LEAST_SKEWNESS, skewness)
    return np.asarray(6 / skewness * (np.cbrt(1 + skewness * scaled / 2) - 1) + skewness / 6)


def _statistics(
    inside: NDArray[np.bool_], wrong: NDArray[np.bool_], truth: NDArray[np.integer], units: NDArray[np.integer]
) -> NDArray[np.float64]:
    """How much is wrong in each slice (S, N), (S, 1 + PERMUTATIONS): first as it is, then permuted within the classes."""
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    sizes = np.bincount(unit)
    share = np.bincount(unit, weights=wrong) / sizes
    weights = np.array([np.bincount(unit, weights=members) / sizes for members in inside])
    of_class = [np.flatnonzero(truth[first] == label) for label in np.unique(truth[first])]
    generator = np.random.default_rng(0)
    found = [weights @ share[:, np.newaxis]]
    for start in range(0, PERMUTATIONS, _AT_ONCE):
        permuted = np.tile(share, (min(_AT_ONCE, PERMUTATIONS - start), 1))
        for rows in of_class:
            permuted[:, rows] = generator.permuted(permuted[:, rows], axis=1)
        found.append(weights @ permuted.T)
    # Equal sums that were added up in another order are equal.
    return np.asarray(np.round(np.concatenate(found, axis=1), 9), dtype=np.float64)


def _units(one: Candidate, pictures: Pictures) -> NDArray[np.integer]:
    """Which pictures (N,) count as one where that slice is tested."""
    return pictures.copies if KINDS[one.kind].copies_alone else pictures.groups


def _slice(
    one: Candidate,
    p_value: float,
    pictures: Pictures,
    looked_at: Sequence[Candidate],
    answers: Sequence[ImageAnswer],
    truth: NDArray[np.int64],
    right: NDArray[np.bool_],
    classes: Sequence[str],
    folds: int | None,
) -> Slice:
    name, detail, inside, distance = one.members
    found = Slice(
        kind=one.kind,
        name=name,
        detail=detail if distance is None else _in_common(inside, truth, looked_at, classes),
        images=int(inside.sum()),
        errors=int((~right[inside]).sum()),
        accuracy=float(right[inside].mean()),
        interval=accuracy_interval(right[inside], _units(one, pictures)[inside], folds=folds),
        elsewhere=float(right[~inside].mean()),
        p_value=p_value,
    )
    if not found.found:
        return found
    rows = np.flatnonzero(inside)
    nearest = rows if distance is None else rows[np.argsort(distance[rows], kind="stable")]
    shown = nearest[np.argsort(right[nearest], kind="stable")]
    return found.model_copy(update={"answers": tuple(answers[row] for row in shown)})


def _in_common(
    inside: NDArray[np.bool_], truth: NDArray[np.int64], looked_at: Sequence[Candidate], classes: Sequence[str]
) -> str:
    """What most pictures of a cluster have in common, in words; empty where nothing is."""
    often = np.bincount(truth[inside], minlength=len(classes)).argsort(kind="stable")[::-1].tolist()
    described = [(classes[often[0]], truth == often[0])]
    if not _common(truth == often[0], inside):
        described = [(f"{classes[often[0]]} or {classes[often[1]]}", np.isin(truth, often[:2]))]
    described += [(other.members.name, other.members.inside) for other in looked_at if KINDS[other.kind].describes]
    shares: dict[str, float] = {}
    for name, having in described:
        if _common(having, inside):
            shares[name] = max(float(having[inside].mean()), shares.get(name, 0.0))
    common = sorted(shares.items(), key=lambda named: -named[1])[:3]
    said = ", ".join(f"{name} ({100 * share:.0f} %)" for name, share in common)
    return f"mostly {said}" if said else ""


def _common(having: NDArray[np.bool_], inside: NDArray[np.bool_]) -> bool:
    share = float(having[inside].mean())
    return share >= MOSTLY and share >= MORE_THAN_ELSEWHERE * float(having.mean())
