"""Measures how often `compare` is wrong about two classifiers, and whether the pictures that it asks for suffice, and writes docs/honesty.md.

    .venv/bin/python benchmarks/verdicts.py

Pairs of classifiers are simulated: B names rightly what A does, but for a known share of the pictures on which exactly one of the two is right.
Where pictures form groups, of one to seven, both answer most pictures of a group as they answer the first one.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.sections import put  # noqa: E402
from tl_core.evaluation.comparison import LEVEL, compare, images_needed, p_value  # noqa: E402
from tl_core.evaluation.intervals import wilson_interval  # noqa: E402

DOCUMENT = ROOT / "docs" / "honesty.md"
PAIRS = 500
ALIKE = 0.8
"""Share of the pictures of a group that are answered as its first one."""
SETTINGS = (
    # accuracy of A, of B, share of the pictures on which exactly one is right, pictures, whether they form groups
    (0.80, 0.80, 0.10, 90, False),
    (0.80, 0.80, 0.30, 90, False),
    (0.95, 0.95, 0.04, 400, False),
    (0.80, 0.80, 0.20, 2000, False),
    (0.80, 0.80, 0.20, 90, True),
    (0.90, 0.90, 0.10, 400, True),
    (0.80, 0.80, 0.20, 2000, True),
    (0.80, 0.82, 0.20, 90, False),
    (0.80, 0.85, 0.15, 90, False),
    (0.80, 0.90, 0.14, 90, False),
    (0.90, 0.93, 0.06, 400, False),
    (0.80, 0.85, 0.15, 90, True),
    (0.80, 0.85, 0.15, 400, True),
)
Simulated = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def simulated(rng: np.random.Generator, a: float, b: float, differ: float, images: int, *, grouped: bool) -> Simulated:
    """Answers of A and of B, labels, and groups of `images` pictures, (N,) each: 0 is right, 1 wrong."""
    only_a, only_b = (differ - (b - a)) / 2, (differ + (b - a)) / 2
    kinds = rng.choice(4, images, p=[a - only_a, only_a, only_b, 1 - a - only_b])
    groups = np.arange(images)
    if grouped:
        sizes = rng.integers(1, 8, images)
        groups = np.repeat(np.arange(images), sizes)[:images]
        first = kinds[np.searchsorted(groups, groups)]
        kinds = np.where(rng.random(images) < ALIKE, first, kinds)
    return (kinds >= 2).astype(np.int64), (kinds % 2).astype(np.int64), np.zeros(images, np.int64), groups


def nets_of(answers: Simulated) -> NDArray[np.int64]:
    """How many pictures more B names rightly than A in each group."""
    a, b, _, groups = answers
    return np.bincount(groups, a - b).astype(np.int64)


def judged(a: float, b: float, differ: float, images: int, *, grouped: bool, seed: int) -> str:
    """A row: how often the verdict is wrong, says that it cannot tell, and how often the interval holds the true difference."""
    rng = np.random.default_rng(seed)
    found = [compare(*simulated(rng, a, b, differ, images, grouped=grouped)) for _ in range(PAIRS)]
    right = "better" if b > a else "cannot_tell"
    wrong = sum(one.verdict not in (right, "cannot_tell") for one in found)
    unsure = sum(one.verdict == "cannot_tell" for one in found) / PAIRS
    held = sum(one.interval[0] <= b - a <= one.interval[1] for one in found) / PAIRS
    return (
        f"| {a:.2f} | {b:.2f} | {differ:.2f} | {images:,} | {'yes' if grouped else 'no'} | {wrong} of {PAIRS} | "
        f"{unsure:.1%} | {held:.1%} |"
    )


def promised(a: float, b: float, differ: float, images: int, *, grouped: bool, seed: int) -> str:
    """A row: how many pictures are needed for this difference, how often they suffice, and what runs on `images` pictures ask for."""
    rng = np.random.default_rng(seed)
    many = simulated(rng, a, b, differ, 200_000, grouped=grouped)
    needed = images_needed(nets_of(many), 200_000)
    assert needed is not None
    found = 0
    for _ in range(PAIRS):
        nets = nets_of(simulated(rng, a, b, differ, needed, grouped=grouped))
        found += p_value(nets) < LEVEL and nets.sum() > 0
    low, high = wilson_interval(found, PAIRS)
    asked = [compare(*simulated(rng, a, b, differ, images, grouped=grouped)).images_needed for _ in range(PAIRS)]
    told = [one for one in asked if one is not None]
    ends = np.quantile(told, [0.25, 0.5, 0.75])
    return (
        f"| {a:.2f} | {b:.2f} | {differ:.2f} | {'yes' if grouped else 'no'} | {needed:,} | {found / PAIRS:.1%} ({low:.0%} to {high:.0%}) | "
        f"{images:,} | {ends[1]:,.0f} ({ends[0]:,.0f} to {ends[2]:,.0f}) |"
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    verdicts = ["| A | B | one is right | pictures | groups | wrong verdict | cannot tell | interval holds |"]
    verdicts.append("| --- " * 8 + "|")
    needs = ["| A | B | one is right | groups | needed | found with so many | pictures | asked for there |"]
    needs.append("| --- " * 8 + "|")
    for seed, (a, b, differ, images, grouped) in enumerate(SETTINGS):
        verdicts.append(judged(a, b, differ, images, grouped=grouped, seed=seed))
        print(verdicts[-1], flush=True)
        if b > a:
            needs.append(promised(a, b, differ, images, grouped=grouped, seed=seed))
            print(needs[-1], flush=True)
    said = (
        f"Written by `benchmarks/verdicts.py`. {PAIRS} pairs of classifiers with known accuracies are simulated for each row, and compared as `compare` "
        "does it. Where A and B are equally good, `better` and `worse` are wrong; where B is better, `worse` is. “One is right” is the share of the pictures "
        "that exactly one of the two names rightly. In rows with groups, of one to seven pictures, both answer four of five pictures of a group as "
        "they answer its first one."
    )
    after = (
        "How many pictures are needed for such a difference, how often that many find it (80 % is promised; in brackets the 95 % interval), and how many "
        "pairs that cannot be told apart ask for: their median, and in brackets the middle half. Few pictures say little of the shares that the "
        "number is computed from, so it is told as “about”."
    )
    put(
        DOCUMENT,
        "Which is better",
        "\n".join([said, "", *verdicts, "", after, "", *needs]),
        head="# Do the figures hold?\n",
    )


if __name__ == "__main__":
    main()
