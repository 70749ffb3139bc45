"""Judges "how many more photos?" backwards: from half of a set, is the whole set's accuracy in the interval? Writes docs/data.md.

    python benchmarks/growth.py DATA... [--trials 120]

DATA are folders or `sample:NAME`. Each trial draws pictures of one of the sets, between twelve a class and 600 in all, halves
them by class, and continues the learning curve of one half to twice its pictures. What is compared is the cross-validated
accuracy of all that were drawn.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.frozen_sets import DOCUMENT, HEAD, KEEP, FrozenSet, cross_validated, frozen_set
from benchmarks.sections import put
from tl_core.evaluation.growth import growth
from tl_core.evaluation.intervals import wilson_interval
from tl_core.training.head.fitted import fit_parts

FEWEST_OF_CLASS, MOST = 12, 600


def trial(pictures: FrozenSet, seed: int) -> tuple[bool, float, float] | None:
    """Whether the interval holds, its width, and the accuracy less the expected one; None where a class has too few pictures."""
    rng = np.random.default_rng(seed)
    classes, count = len(pictures.manifest.classes), len(pictures.labels)
    wanted = round(np.exp(rng.uniform(np.log(FEWEST_OF_CLASS * classes), np.log(min(count, MOST)))))
    rows = rng.permutation(count)[:wanted]
    features, labels, groups = pictures.features[rows], pictures.labels[rows], pictures.groups[rows]
    if np.bincount(labels, minlength=classes).min() < 8:
        return None
    half = np.concatenate(
        [(own := rng.permutation(np.flatnonzero(labels == label)))[: len(own) // 2] for label in range(classes)]
    )
    accuracy = float((cross_validated(features, labels, groups)[1].logits.argmax(axis=1) == labels).mean())
    folds, chosen = cross_validated(features[half], labels[half], groups[half])
    parts = fit_parts(features[half], labels[half], folds, groups[half], classes=classes, c=chosen.c)
    found = growth(parts.sizes, parts.right, labels[half], groups[half])
    low, high = found.interval
    return low <= accuracy <= high, high - low, accuracy - found.twice


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="folders, or sample:NAME")
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--keep", type=Path, default=KEEP)
    options = parser.parse_args()
    sets = [frozen_set(data, keep=options.keep) for data in options.data]
    found: dict[str, list[tuple[bool, float, float]]] = defaultdict(list)
    seed = 0
    while sum(map(len, found.values())) < options.trials:
        pictures = sets[seed % len(sets)]
        judged = trial(pictures, 1_000 + seed)
        seed += 1
        if judged:
            found[pictures.name].append(judged)
            print(f"{pictures.name}: {judged}", flush=True)
    found["all"] = [one for some in found.values() for one in some]
    rows = [
        f"| {name} | {len(some)} | {sum(held for held, *_ in some)} | {mean(width for _, width, _ in some):.3f} "
        f"| {mean(off for *_, off in some):+.3f} |"
        for name, some in found.items()
    ]
    held, trials = sum(held for held, *_ in found["all"]), len(found["all"])
    low, high = wilson_interval(held, trials)
    text = (
        f"From half of the pictures, the accuracy of all lay in the 95 % interval in {held} of {trials} trials "
        f"({held / trials:.0%}, 95 % interval {low:.0%} to {high:.0%})."
        " The law was chosen on other draws from these sets; other kinds of pictures were not tried.\n\n"
        "| set | trials | held | mean width | accuracy less the expected one, mean |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(rows)
    )
    put(DOCUMENT, "How many more photos", text, head=HEAD)
    print(text)


if __name__ == "__main__":
    main()
