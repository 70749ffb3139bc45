"""Measures how often chance gives a finding of "Where it fails", and from how many pictures on a failure is found.

    python benchmarks/where_it_fails.py DATA... --tries 500

DATA are folders with a folder of pictures for each class, or `sample:NAME`. Features of EfficientNet-Lite0 are computed once and kept in the
store KEEP. The slices are those of the real pictures; the answers are drawn: by chance, with an error rate of its own for each class and
groups of pictures that are wrong together, or with failures planted in some pictures. The result is written to docs/honesty.md.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.frozen_sets import KEEP, FrozenSet, frozen_set  # noqa: E402
from benchmarks.honesty import DOCUMENT, HEAD  # noqa: E402
from benchmarks.sections import put  # noqa: E402
from tl_core.documents.report import SIGNIFICANT  # noqa: E402
from tl_core.evaluation import slice_search  # noqa: E402
from tl_core.evaluation.intervals import wilson_interval  # noqa: E402
from tl_core.evaluation.slice_search import Candidate, Pictures, distances_to_middles  # noqa: E402

COUNTS = (100, 300, 1000)
"""Judged pictures, drawn from a set."""
USUAL = 0.1
"""Error rate of the pictures in which nothing is planted."""
TIMES = (3, 6)
"""How many times as often the planted ones are wrong."""
PLANTED = 0.2
"""Share of the pictures in which a failure is planted, by brightness, folder and neighbourhood."""
CLUSTERS = 6
"""Clusters, other ones than those that are looked at, of which one fails."""
OF_CHANCE = 300
"""Judged pictures where errors fall by chance."""
DRAWS = 5
"""Times that these are drawn from each set."""


def drawn(
    found: FrozenSet, count: int, seed: int
) -> tuple[Pictures, NDArray[np.int64], NDArray[np.bool_], NDArray[np.intp]]:
    """Some pictures of a set, their classes, which of them lie in a folder that was made up, and their rows."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(found.labels))[:count])
    elsewhere = rng.random(len(rows)) < PLANTED
    images = [
        found.manifest.images[row].model_copy(update={"name": f"{'garden' if away else 'house'}/{row}.jpg"})
        for row, away in zip(rows.tolist(), elsewhere.tolist(), strict=True)
    ]
    groups, distances = found.groups[rows], distances_to_middles(found.features, rows)
    return (
        Pictures(images=images, groups=groups, copies=groups, distances=distances),
        found.labels[rows],
        elsewhere,
        rows,
    )


def by_chance(found: FrozenSet, tries: int) -> int:
    """In how many of so many data sets, whose errors fall by chance, there is a finding."""
    findings = 0
    for draw in range(DRAWS):
        pictures, truth, _, _ = drawn(found, OF_CHANCE, draw)
        looked_at = slice_search.comparable(pictures, truth)
        for seed in range(tries // DRAWS):
            rng = np.random.default_rng(1000 * draw + seed)
            rate = rng.uniform(0.05, 0.4, int(truth.max()) + 1)
            at = np.unique(pictures.groups, return_index=True, return_inverse=True)
            wrong = (rng.random(len(at[1])) < rate[truth[at[1]]])[at[2]]
            findings += bool(_found(looked_at, pictures, wrong, truth))
    return findings


def planted(found: FrozenSet, count: int, seed: int) -> dict[tuple[str, int], bool]:
    """Which failures are found, by what they were planted in and how many times as often those pictures are wrong."""
    pictures, truth, elsewhere, rows = drawn(found, count, seed)
    rng = np.random.default_rng(seed)
    brightness = np.array([image.measured["brightness"] for image in pictures.images])
    unit = found.features / np.linalg.norm(found.features, axis=1, keepdims=True)
    near = unit[rows] @ unit[rows[rng.integers(len(rows))]]
    clusters = KMeans(CLUSTERS, n_init=1, random_state=seed).fit(found.features).labels_[rows]
    failing = {
        "dark pictures": brightness <= np.quantile(brightness, PLANTED),
        "a folder": elsewhere,
        "look-alikes of a picture": near >= np.quantile(near, 1 - PLANTED),
        "a cluster": clusters == rng.integers(CLUSTERS),
    }
    looked_at = slice_search.comparable(pictures, truth)
    told = {}
    for what, where in failing.items():
        for times in TIMES:
            wrong = rng.random(len(rows)) < np.where(where, times * USUAL, USUAL)
            hits = _found(looked_at, pictures, wrong, truth)
            told[what, times] = any(where[one.inside].mean() >= 0.5 for one in hits)
    return told


def _found(
    looked_at: list[Candidate], pictures: Pictures, wrong: NDArray[np.bool_], truth: NDArray[np.int64]
) -> list[Candidate]:
    values = slice_search.corrected_p_values(looked_at, pictures, wrong, truth)
    return [
        one
        for one, value in zip(looked_at, values, strict=True)
        if value <= SIGNIFICANT and wrong[one.inside].mean() > wrong[~one.inside].mean()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="folders, or sample:NAME")
    parser.add_argument("--tries", type=int, default=500, help="data sets whose errors fall by chance, over all sets")
    parser.add_argument(
        "--planted", type=int, default=50, help="data sets with planted failures, of each set and count"
    )
    parser.add_argument("--permutations", type=int, default=slice_search.PERMUTATIONS)
    parser.add_argument("--keep", type=Path, default=KEEP)
    options = parser.parse_args()
    slice_search.PERMUTATIONS = options.permutations
    sets = [frozen_set(data, keep=options.keep) for data in options.data]
    each = options.tries // len(sets)
    lines, findings = ["| set | data sets | with a finding |", "| --- | --- | --- |"], 0
    for found in sets:
        some = by_chance(found, each)
        findings += some
        lines.append(f"| {found.name} | {each} | {some / each:.1%} |")
        print(lines[-1], flush=True)
    low, high = wilson_interval(findings, each * len(sets))
    lines.append(f"| all | {each * len(sets)} | {findings / each / len(sets):.1%} ({low:.1%} to {high:.1%}) |")
    shares: dict[tuple[str, int], list[str]] = defaultdict(list)
    for count in COUNTS:
        told: dict[tuple[str, int], list[bool]] = defaultdict(list)
        for found in sets:
            if len(found.labels) >= count:
                for seed in range(options.planted):
                    for key, hit in planted(found, count, seed).items():
                        told[key].append(hit)
        for key, hits in told.items():
            shares[key].append(f"{np.mean(hits):.0%}")
        print(count, {key: cells[-1] for key, cells in shares.items()}, flush=True)
    power = [f"| planted in | {' | '.join(f'{count:,} pictures' for count in COUNTS)} |"]
    power.append("| --- " * (1 + len(COUNTS)) + "|")
    power += [f"| {what}, {times} times as often | {' | '.join(cells)} |" for (what, times), cells in shares.items()]
    text = (
        f"Slices of {OF_CHANCE} pictures that are drawn from a set, {DRAWS} times from each. Errors fall by chance, with an error rate of its own for each "
        "class, and all pictures of a group are right or wrong together. In how many data sets does any slice become a finding, at "
        f"{SIGNIFICANT:.0%} corrected for all?"
    )
    after = (
        f"Failures are planted in a fifth of the pictures: {USUAL:.0%} of the other answers are wrong, and of those so many times as many. In how many data "
        f"sets is there a finding half of whose pictures or more are those? {options.planted} data sets of each set and count. The cluster is one of "
        f"{CLUSTERS} of a k-means of its own. Pictures are compared with others of their class, so of a cluster or of look-alikes that are most of "
        "a class little is left to compare with: the matrix shows that class. "
        f"Both tables are made with {options.permutations:,} permutations."
    )
    put(DOCUMENT, "Where it fails", "\n".join([text, "", *lines, "", after, "", *power]), head=HEAD)


if __name__ == "__main__":
    main()
