"""Flips a share of the labels of whole sets and measures how many of the flipped ones are suspected; writes docs/data.md.

    python benchmarks/suspect_labels.py DATA... [--flipped 0.05] [--seeds 3]

DATA are folders or `sample:NAME`. "Graft" is `evaluation.suspects`, the other rows are cleanlab's filters alone. Recall is the share
of the flipped labels that are suspected, precision the share of the suspected ones that were flipped, both the mean over sets and
seeds. Labels that were wrong before count as false suspicions, so that the true precision is higher.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.frozen_sets import DOCUMENT, HEAD, KEEP, cross_validated, frozen_set
from benchmarks.sections import put
from tl_core.evaluation.calibration import temperature
from tl_core.evaluation.metrics import probabilities
from tl_core.evaluation.suspects import suspect_labels

FILTERS = (
    "low_self_confidence",
    "low_normalized_margin",
    "confident_learning",
    "both",
    "prune_by_class",
    "prune_by_noise_rate",
    "predicted_neq_given",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="folders, or sample:NAME")
    parser.add_argument("--flipped", type=float, default=0.05)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, default=KEEP)
    options = parser.parse_args()
    from cleanlab.filter import find_label_issues

    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    by_set: list[str] = []
    for data in options.data:
        pictures = frozen_set(data, keep=options.keep)
        classes, own = len(pictures.manifest.classes), []
        for seed in range(-1, options.seeds):
            rng = np.random.default_rng(max(seed, 0))
            flipped = np.zeros(len(pictures.labels), dtype=bool)
            if seed >= 0:
                flipped[rng.permutation(len(flipped))[: round(options.flipped * len(flipped))]] = True
            labels = (pictures.labels + flipped * rng.integers(1, classes, len(flipped))) % classes
            logits = cross_validated(pictures.features, labels, pictures.groups)[1].logits
            answers = probabilities(logits / temperature(logits, labels))
            masks = {"Graft": np.isin(np.arange(len(labels)), [one.row for one in suspect_labels(answers, labels)])}
            if seed < 0:
                unflipped = int(masks["Graft"].sum())
                continue
            masks |= {name: find_label_issues(labels, answers, filter_by=name, n_jobs=1) for name in FILTERS}
            for name, mask in masks.items():
                found[name].append((mask[flipped].mean(), flipped[mask].mean() if mask.any() else 0.0))
            own.append(found["Graft"][-1])
            print(f"{pictures.name}, seed {seed}: recall {own[-1][0]:.2f}, precision {own[-1][1]:.2f}", flush=True)
        recall, precision = (mean(one[place] for one in own) for place in (0, 1))
        by_set.append(f"| {pictures.name} | {len(flipped):,} | {recall:.2f} | {precision:.2f} | {unflipped} |")
    rows = [
        f"| {name} | {mean(r for r, _ in some):.2f} | {mean(p for _, p in some):.2f} |" for name, some in found.items()
    ]
    text = (
        f"{options.flipped:.0%} of the labels flipped by chance, {options.seeds} seeds. Recall: the share of the flipped labels that are suspected; "
        "precision: the share of the suspected ones that were flipped. Labels that were wrong before count against it."
        " The limit below which a label is suspected was chosen on these sets, with other flips.\n\n"
        "| set | pictures | recall | precision | suspected where none was flipped |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(by_set)
        + "\n\nThe same answers with cleanlab's filters alone, the mean of all sets:\n\n| filter | recall | precision |\n| --- | --- | --- |\n"
        + "\n".join(rows)
    )
    put(DOCUMENT, "Suspect labels", text, head=HEAD)
    print(text)


if __name__ == "__main__":
    main()
