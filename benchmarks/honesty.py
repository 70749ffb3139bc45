"""Measures whether the figures of a fitted head hold, and writes what came of it to docs/honesty.md.

    python benchmarks/honesty.py FOLDER... --resplits 200

Each folder is a set of pictures with a folder for each class; the digits of scikit-learn are one more set. Features of
EfficientNet-Lite0 are computed once, by an ordinary run in the store KEEP, so the same command goes on where it stopped.

Coverage: IMAGES pictures are drawn from a set, evenly from its classes, and a head is fitted on them as a run does it. Its accuracy on
all other pictures of the set is compared with the interval of its headline, the nested cross-validated accuracy, and with that
of its test split. Gain: of a whole set, the old head (one on the training split, chosen by the validation split), the
head that cross-validation chooses, and the same on features each divided by its own standard deviation, are compared on the test
split of ten seeds.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.sections import put  # noqa: E402
from tl_core.data.pixel_arrays import load_pixels  # noqa: E402
from tl_core.data.split import assign, group_keys  # noqa: E402
from tl_core.documents.events import drive  # noqa: E402
from tl_core.documents.manifest import Manifest  # noqa: E402
from tl_core.documents.report import ENOUGH_TEST_IMAGES  # noqa: E402
from tl_core.evaluation.intervals import accuracy_interval, wilson_interval  # noqa: E402
from tl_core.runs.start import jobs  # noqa: E402
from tl_core.runs.start.jobs import finish  # noqa: E402
from tl_core.runs.store.store import Store, Workspace  # noqa: E402
from tl_core.runs.train.plan import Plan  # noqa: E402
from tl_core.training.frozen.features import frozen_features  # noqa: E402
from tl_core.training.head.cross_validated import TEST, CrossValidated, fit_cross_validated  # noqa: E402
from tl_core.training.head.fitted import fit_logistic  # noqa: E402
from tl_core.training.head.folds import MOST, stratified_folds  # noqa: E402

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
        manifest = self.manifest.model_copy(update={"images": images, "former": ()})
        return Pictures(self.name, manifest, self.features[rows], self.labels[rows])

    @property
    def classes(self) -> int:
        return len(self.manifest.classes)


def read(workspace: Workspace, folder: Path | None) -> Pictures:
    """The pictures of `folder`, or of the sample `digits`, with the features that a run on them leaves in the cache."""
    source = str(folder) if folder else "digits"
    kind = "folder" if folder else "sample"
    known = [
        found for found in workspace.datasets() if found.spec().source == source and found.status().state == "succeeded"
    ]
    dataset = (
        known[0] if known else jobs.submit_ingest(workspace, source_kind=kind, source=source, name=Path(source).name)
    )
    finish(dataset, None)
    runs = [run for run in workspace.runs() if run.spec().dataset == dataset.id and run.status().state == "succeeded"]
    run = runs[0] if runs else jobs.submit_training(workspace, dataset, strategy="feature_extraction")
    finish(run, None)
    plan = Plan(run)
    size, interpolation = plan.spec.image_size, plan.weights.interpolation
    pixels = drive(
        load_pixels(dataset.path, plan.manifest, size=size, interpolation=interpolation, cache=plan.cache), _ignored
    )
    features = drive(
        frozen_features(pixels, plan.network, plan.weights.name, device="cpu", cache=plan.cache, key=plan.key()),
        _ignored,
    )
    # A picture that is there twice would be on both sides.
    first = np.unique(group_keys(plan.manifest), return_index=True)[1]
    return Pictures(dataset.name, plan.manifest, np.array(features), plan.labels).some(np.sort(first))


def cross_validated(found: Pictures, seed: int, *, nested: bool, own_scales: bool = False) -> CrossValidated:
    """The head that a run with that seed fits on `found`. `own_scales`: features divided by their own standard deviations."""
    splits = assign(found.manifest, seed)
    learned = np.flatnonzero(splits != "test")
    rows = np.arange(len(splits)) if nested else learned
    folds = np.full(len(splits), TEST)
    folds[learned] = stratified_folds(found.labels[learned], group_keys(found.manifest)[learned])
    features = found.features / _scales(found.features[learned]) if own_scales else found.features
    return drive(
        fit_cross_validated(
            features[rows],
            found.labels[rows],
            folds[rows],
            classes=found.classes,
            nested=nested,
            pairs=int((splits == "test").sum()) < ENOUGH_TEST_IMAGES,
        ),
        _ignored,
    )


def _scales(features: NDArray[np.float32]) -> NDArray[np.float32]:
    deviations = features.std(axis=0)
    return np.asarray(np.maximum(deviations, 1e-3 * deviations.mean()))


def coverage(found: Pictures, resplits: int) -> tuple[int, int, list[float], list[float]]:
    """How many intervals hold the accuracy on the rest, those of the headline and those of the test, and the widths of both."""
    held, held_by_test, widths, widths_of_test = 0, 0, [], []
    for seed in range(resplits):
        rng = np.random.default_rng(seed)
        each = IMAGES // found.classes
        drawn = [rng.permutation(np.flatnonzero(found.labels == label))[:each] for label in range(found.classes)]
        rows = np.sort(np.concatenate(drawn))
        some = found.some(rows)
        head = cross_validated(some, seed, nested=True)
        assert head.nested is not None
        right = head.nested.argmax(axis=1) == some.labels
        rest = np.setdiff1d(np.arange(len(found.labels)), rows)
        truth = _accuracy(head.head.logits(found.features[rest]), found.labels[rest], found.classes)
        for interval, into in (
            (accuracy_interval(right, folds=FOLDS), widths),
            (_of_test(some, right, seed), widths_of_test),
        ):
            inside = interval[0] <= truth <= interval[1]
            held += inside and into is widths
            held_by_test += inside and into is widths_of_test
            into.append(interval[1] - interval[0])
    return held, held_by_test, widths, widths_of_test


def _accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64], classes: int) -> float:
    """The mean over the classes, since the drawn pictures hold equally many of each."""
    right = logits.argmax(axis=1) == labels
    return mean(float(right[labels == label].mean()) for label in range(classes))


def _of_test(some: Pictures, right: NDArray[np.bool_], seed: int) -> tuple[float, float]:
    return accuracy_interval(right[assign(some.manifest, seed) == "test"])


def gains(found: Pictures) -> NDArray[np.float64]:
    """Accuracy on the test of (SEEDS) seeds: the old head, cross-validation, and that with a scale for each feature; (SEEDS, 3)."""
    rows = []
    for seed in range(SEEDS):
        splits = assign(found.manifest, seed)
        train, val, test = (np.flatnonzero(splits == part) for part in ("train", "val", "test"))
        x, y = found.features, found.labels
        old = drive(fit_logistic(x[train], y[train], x[val], y[val], classes=found.classes), _ignored)
        one = cross_validated(found, seed, nested=False).head
        each = cross_validated(found, seed, nested=False, own_scales=True).head
        scaled = x[test] / _scales(x[splits != "test"])
        answers = old.logits(x[test]), one.logits(x[test]), each.logits(scaled)
        rows.append([float((said.argmax(axis=1) == y[test]).mean()) for said in answers])
    return np.array(rows)


def _ignored(event: object) -> None:
    pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--resplits", type=int, default=200, help="re-splits for the coverage, over all sets")
    parser.add_argument("--keep", type=Path, default=user_cache_path("graft") / "honesty")
    options = parser.parse_args()
    os.environ["GRAFT_STORE"] = str(options.keep)
    os.environ["GRAFT_KEEP_DAYS"] = "0"
    workspace = Store.default().command_line_workspace()
    workspace.make()
    sets = [read(workspace, folder) for folder in (*(folder.absolute() for folder in options.folders), None)]
    each = options.resplits // len(sets)
    lines = ["| set | re-splits | intervals that hold it | mean width | those of the test alone | mean width |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    total = total_of_test = 0
    for found in sets:
        held, by_test, widths, widths_of_test = coverage(found, each)
        total, total_of_test = total + held, total_of_test + by_test
        lines.append(
            f"| {found.name} | {each} | {held / each:.1%} | {mean(widths):.3f} | {by_test / each:.1%} | {mean(widths_of_test):.3f} |"
        )
        print(lines[-1], flush=True)
    count = each * len(sets)
    low, high = wilson_interval(total, count)
    lines.append(f"| all | {count} | {total / count:.1%} ({low:.1%} to {high:.1%}) | | {total_of_test / count:.1%} | |")
    said = (
        f"A head is fitted on about {IMAGES} pictures that are drawn evenly from the classes of a set, as a run does it, and judged on all the other "
        "pictures of the set, each class counted alike. How often does the 95 % interval of its headline, the nested cross-validated "
        "accuracy, hold that accuracy? Beside it, the interval of the test split alone, which is wider."
    )
    put(DOCUMENT, "Intervals", f"{said}\n\n" + "\n".join(lines), head=HEAD)
    lines = ["| set | pictures | validation part chooses | cross-validation | the same, a scale for each feature |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for found in sets:
        right = gains(found)
        gain = 100 * (right[:, 1:] - right[:, :1])
        cells = [f"{right[:, 0].mean():.3f}"] + [
            f"{right[:, at].mean():.3f} ({gain[:, at - 1].mean():+.1f} ± {stdev(gain[:, at - 1]) / SEEDS**0.5:.1f})"
            for at in (1, 2)
        ]
        lines.append(f"| {found.name} | {len(found.labels):,} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    said = (
        f"Accuracy on the test split, the mean of {SEEDS} seeds of a split of our own. In brackets the mean difference from the first column in "
        "percentage points, with its standard error. Graft fits the second one: one common scale for all features."
    )
    put(DOCUMENT, "The head", f"{said}\n\n" + "\n".join(lines), head=HEAD)


if __name__ == "__main__":
    main()
