"""Measures whether the figures of a fitted head hold, and writes what came of it to docs/honesty.md.

    python benchmarks/honesty.py DATA... --resplits 200

DATA are folders with a folder of pictures for each class, or `sample:NAME`. Features of EfficientNet-Lite0 are computed once and kept in
the store KEEP.

Coverage: IMAGES pictures are drawn from a set, evenly from its classes, and a head is fitted on them as a run does it. Its accuracy on
all other pictures of the set is compared with the interval of its headline, the nested cross-validated accuracy, with Wilson's
interval of the same answers, and with that of its test split. Gain: of a whole set, the head on the training split, chosen by the
validation split, the head that cross-validation chooses, and the same on features each divided by its own standard deviation, are compared
on the test split of ten seeds. Calibration: the expected calibration error of the second head on the test split, before and after its
temperature.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.frozen_sets import KEEP, FrozenSet, frozen_set, result  # noqa: E402
from benchmarks.sections import put  # noqa: E402
from tl_core.data.split import assign, group_keys  # noqa: E402
from tl_core.documents.manifest import Manifest  # noqa: E402
from tl_core.documents.report import ENOUGH_TEST_IMAGES  # noqa: E402
from tl_core.evaluation.calibration import (  # noqa: E402
    reliability,
    significant_temperature,
    top_label,
)
from tl_core.evaluation.intervals import accuracy_interval, wilson_interval  # noqa: E402
from tl_core.evaluation.metrics import probabilities  # noqa: E402
from tl_core.training.head.fitted import MOST, TEST, CrossValidated, fit_cross_validated, fit_logistic, stratified_folds  # noqa: E402  # noqa: E402

DOCUMENT = ROOT / "docs" / "honesty.md"
IMAGES = 150
"""Pictures that a head of the coverage has in all."""
FOLDS = MOST + 1
"""Folds of the nested cross-validation, the test among them."""
SEEDS = 10
"""Seeds of the comparison of heads."""
HEAD = """# Do the figures hold?

Written by `benchmarks/honesty.py`, with the frozen features of EfficientNet-Lite0 at 224 px.
"""


@dataclass(frozen=True)
class Pictures:
    """A set of pictures as the benchmark uses it, without a split of its maker's."""

    name: str
    manifest: Manifest
    features: NDArray[np.float32]
    """(N, D)"""
    labels: NDArray[np.int64]
    """(N,)"""

    def some(self, rows: NDArray[np.intp]) -> Pictures:
        images = tuple(self.manifest.images[row].model_copy(update={"split": None}) for row in rows)
        manifest = self.manifest.model_copy(update={"images": images})
        return Pictures(self.name, manifest, self.features[rows], self.labels[rows])

    @property
    def classes(self) -> int:
        return len(self.manifest.classes)


def alone(found: FrozenSet) -> Pictures:
    """One picture of each group, since others of it could be on the other side."""
    first = np.sort(np.unique(found.groups, return_index=True)[1])
    return Pictures(found.name, found.manifest, found.features, found.labels).some(first)


def cross_validated(found: Pictures, seed: int, *, nested: bool, own_scales: bool = False) -> CrossValidated:
    """The head that a run with that seed fits on `found`. `own_scales`: features divided by their own standard deviations."""
    splits = assign(found.manifest, seed)
    learned = np.flatnonzero(splits != "test")
    rows = np.arange(len(splits)) if nested else learned
    folds = np.full(len(splits), TEST)
    folds[learned] = stratified_folds(found.labels[learned], group_keys(found.manifest)[learned])
    features = found.features / _scales(found.features[learned]) if own_scales else found.features
    return result(
        fit_cross_validated(
            features[rows],
            found.labels[rows],
            folds[rows],
            classes=found.classes,
            nested=nested,
            pairs=int((splits == "test").sum()) < ENOUGH_TEST_IMAGES,
        ),
    )


def _scales(features: NDArray[np.float32]) -> NDArray[np.float32]:
    deviations = features.std(axis=0)
    return np.asarray(np.maximum(deviations, 1e-3 * deviations.mean()))


INTERVALS: dict[str, Callable[[NDArray[np.bool_], NDArray[np.str_]], tuple[float, float]]] = {
    "cross-validated": lambda right, splits: accuracy_interval(right, folds=FOLDS),
    "as if independent": lambda right, splits: accuracy_interval(right),
    "test alone": lambda right, splits: accuracy_interval(right[splits == "test"]),
}
"""Intervals of answers that are right or not, (N,), in these parts of a split, (N,)."""


def coverage(found: Pictures, seeds: range) -> dict[str, list[tuple[bool, float]]]:
    """For each of `INTERVALS` and seed, whether it holds the accuracy on the rest, and its width."""
    told: dict[str, list[tuple[bool, float]]] = {name: [] for name in INTERVALS}
    each = IMAGES // found.classes
    for seed in seeds:
        rng = np.random.default_rng(seed)
        drawn = [rng.permutation(np.flatnonzero(found.labels == label))[:each] for label in range(found.classes)]
        rows = np.sort(np.concatenate(drawn))
        some = found.some(rows)
        head = cross_validated(some, seed, nested=True)
        assert head.nested is not None
        right = head.nested.argmax(axis=1) == some.labels
        rest = np.setdiff1d(np.arange(len(found.labels)), rows)
        truth = _accuracy(head.head.logits(found.features[rest]), found.labels[rest], found.classes)
        for name, interval in INTERVALS.items():
            low, high = interval(right, assign(some.manifest, seed))
            told[name].append((low <= truth <= high, high - low))
    return told


def _accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> float:
    """The mean over the classes, since the drawn pictures hold equally many of each."""
    right = logits.argmax(axis=1) == labels
    return mean(float(right[labels == label].mean()) for label in range(classes))


def _held(told: dict[str, list[tuple[bool, float]]]) -> str:
    return " | ".join(
        f"{mean(held for held, _ in some):.1%} | {mean(width for _, width in some):.3f}" for some in told.values()
    )


def heads(found: Pictures) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Figures on the test split of `SEEDS` seeds. Accuracy of the head that the validation split chooses, of that of
    cross-validation, and of that with a scale for each feature: (SEEDS, 3). The calibration error of the second one before and
    after its temperature: (SEEDS, 2).
    """
    accuracies, errors = [], []
    for seed in range(SEEDS):
        splits = assign(found.manifest, seed)
        train, val, test = (np.flatnonzero(splits == part) for part in ("train", "val", "test"))
        x, y = found.features, found.labels
        by_val = result(fit_logistic(x, y, train, val, classes=found.classes))
        one = cross_validated(found, seed, nested=False)
        each = cross_validated(found, seed, nested=False, own_scales=True)
        scaled = x[test] / _scales(x[splits != "test"])
        answers = by_val.logits(x[test]), one.head.logits(x[test]), each.head.logits(scaled)
        accuracies.append([float((said.argmax(axis=1) == y[test]).mean()) for said in answers])
        degrees = 1.0, significant_temperature(one.logits, y[splits != "test"])
        errors.append([reliability(*top_label(probabilities(answers[1] / by), y[test])).ece for by in degrees])
    return np.array(accuracies), np.array(errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="folders, or sample:NAME")
    parser.add_argument("--resplits", type=int, default=200, help="re-splits for the coverage, over all sets")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first re-split for the coverage")
    parser.add_argument("--keep", type=Path, default=KEEP)
    options = parser.parse_args()
    sets = [alone(frozen_set(data, keep=options.keep)) for data in options.data]
    each = options.resplits // len(sets)
    lines = [f"| set | re-splits | {' | '.join(f'{name} | mean width' for name in INTERVALS)} |"]
    lines.append("| --- " * (2 + 2 * len(INTERVALS)) + "|")
    total: dict[str, list[tuple[bool, float]]] = {name: [] for name in INTERVALS}
    for found in sets:
        told = coverage(found, range(options.first_seed, options.first_seed + each))
        total = {name: total[name] + told[name] for name in INTERVALS}
        lines.append(f"| {found.name} | {each} | {_held(told)} |")
        print(lines[-1], flush=True)
    count = each * len(sets)
    lines.append(f"| all | {count} | {_held(total)} |")
    low, high = wilson_interval(sum(held for held, _ in total["cross-validated"]), count)
    said = (
        f"A head is fitted on about {IMAGES} pictures that are drawn evenly from the classes of a set, as a run does it, and judged on all the other "
        "pictures of the set, each class counted alike. How often does the 95 % interval of its headline, the nested cross-validated "
        "accuracy, hold that accuracy? Beside it, Wilson's interval of the same answers as if no two came from the same head, and the interval of the "
        "test split alone.\n\nThe headline's interval has the variance of so many independent answers times 2 - 1 / K, for K folds whose figures "
        "have a correlation of 1 / K (Nadeau and Bengio 2003). That was decided with other re-splits of these sets, with seeds from 10,000 on; here "
        f"they are from {options.first_seed:,} on."
    )
    after = f"Of all re-splits, {low:.1%} to {high:.1%} hold (95 % interval)."
    put(DOCUMENT, "Intervals", "\n".join([said, "", *lines, "", after]), head=HEAD)
    lines = ["| set | pictures | validation part chooses | cross-validation | the same, a scale for each feature |"]
    lines.append("| --- | --- | --- | --- | --- |")
    gains, errors = [], []
    for found in sets:
        right, error = heads(found)
        gain = 100 * (right[:, 1:] - right[:, :1])
        gains.append(gain.mean(axis=0))
        errors.append(100 * error)
        cells = [f"{right[:, 0].mean():.3f}"] + [
            f"{right[:, at].mean():.3f} ({gain[:, at - 1].mean():+.1f} ± {stdev(gain[:, at - 1]) / SEEDS**0.5:.1f})"
            for at in (1, 2)
        ]
        lines.append(f"| {found.name} | {len(found.labels):,} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    lines.append(f"| mean | | | {' | '.join(f'{gain:+.1f}' for gain in np.mean(gains, axis=0))} |")
    said = (
        f"Accuracy on the test split, the mean of {SEEDS} seeds of a split of our own. In brackets the mean difference from the first column in "
        "percentage points, with its standard error. Graft fits the second one: one common scale for all features."
    )
    put(DOCUMENT, "The head", "\n".join([said, "", *lines]), head=HEAD)
    lines = ["| set | before | after | difference |", "| --- | --- | --- | --- |"]
    for found, error in zip(sets, errors, strict=True):
        change = error[:, 1] - error[:, 0]
        lines.append(
            f"| {found.name} | {error[:, 0].mean():.1f} | {error[:, 1].mean():.1f} "
            f"| {change.mean():+.1f} ± {stdev(change) / SEEDS**0.5:.1f} |"
        )
        print(lines[-1], flush=True)
    before, after_it = np.mean(errors, axis=(0, 1))
    lines.append(f"| mean | {before:.1f} | {after_it:.1f} | {after_it - before:+.1f} |")
    said = (
        f"Expected calibration error on the test split in percentage points, the mean of {SEEDS} seeds, before and after the temperature that the "
        "out-of-fold answers give, which is 1 where chance explains another one. A few answers alone give an error of some points, even where every probability is the true one."
    )
    put(DOCUMENT, "Probabilities", "\n".join([said, "", *lines]), head=HEAD)


if __name__ == "__main__":
    main()
