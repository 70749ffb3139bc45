"""Measures what each corruption costs at its three strengths, and writes it to docs/honesty.md.

    python benchmarks/corruptions.py DATA... [--seeds 3]

DATA are folders with a folder of pictures for each class, or `sample:NAME`. For each seed a head is fitted on the frozen features of
EfficientNet-Lite0, as `train --strategy feature_extraction` does it, and judged on its test pictures, which are changed as the Evaluate page and
the command `robustness` change them. Of the pictures that are in the test of any seed, `PICTURES` at most are changed. The runs differ in nothing but
their heads, so each changed picture goes through the network once for all seeds; what came out is kept in the store KEEP. Where a mean drop is smaller than that at the strength before it, nothing is written and the
exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.frozen_sets import KEEP, dataset_of, kept, result  # noqa: E402
from benchmarks.honesty import DOCUMENT, HEAD  # noqa: E402
from benchmarks.sections import put  # noqa: E402
from tl_core.data.pixel_arrays import load_pixels  # noqa: E402
from tl_core.evaluation.corruptions import CORRUPTIONS, Corruption, seed_of  # noqa: E402
from tl_core.runs.start import jobs  # noqa: E402
from tl_core.runs.store.folders import DatasetFolder, RunFolder  # noqa: E402
from tl_core.runs.store.store import Store, Workspace  # noqa: E402
from tl_core.serving.bundle import head_name  # noqa: E402
from tl_core.serving.predictor import Predictor  # noqa: E402
from tl_core.training.transferability import stratified  # noqa: E402

PICTURES = 420
"""The most pictures of a set that are changed, of every class its share."""
_PART = 64
Change = tuple[Corruption, int]
"""A corruption and its strength, 0 to 2."""


@dataclass(frozen=True)
class Judged:
    """A head of one seed, and the pictures that it is judged on."""

    weight: NDArray[np.float32]
    """(C, D)"""
    bias: NDArray[np.float32]
    """(C,)"""
    rows: NDArray[np.intp]
    """(M,)"""
    labels: NDArray[np.int64]
    """(M,)"""

    @classmethod
    def of(cls, run: RunFolder) -> Judged:
        predictor, answers = Predictor(run.bundle), run.report().answers
        rows, labels = (np.array([getattr(one, name) for one in answers]) for name in ("row", "truth"))
        name = head_name(predictor.info)
        assert name is not None
        with safe_open(predictor.bundle.tensors, framework="numpy") as tensors:
            weight = tensors.get_tensor(name)
            bias = tensors.get_tensor(name.removesuffix("weight") + "bias")
        return cls(weight.reshape(weight.shape[:2]), bias, rows, labels)

    def accuracy(self, features: NDArray[np.float32], rows: NDArray[np.intp]) -> float:
        """The share that is named rightly of those of its pictures that are among `rows` (N,), in order, with the `features` (N, D)."""
        own = np.isin(self.rows, rows)
        said = features[np.searchsorted(rows, self.rows[own])] @ self.weight.T + self.bias
        return float((said.argmax(axis=1) == self.labels[own]).mean())


class Features:
    """What the network of a run makes of changed pictures of a data set, kept in a folder."""

    def __init__(self, dataset: DatasetFolder, run: RunFolder, rows: NDArray[np.intp], folder: Path) -> None:
        self._predictor, self._rows, self._folder = Predictor(run.bundle), rows, folder
        manifest, info = dataset.manifest(), self._predictor.info
        self._pixels = result(
            load_pixels(
                dataset.path,
                manifest,
                size=info.image_size,
                interpolation=info.interpolation,
                cache=Store.default().cache,
            )
        )
        self._seeds = [seed_of(manifest.images[row].sha256) for row in rows.tolist()]
        self._of = f"{manifest.content} {info.backbone} {info.image_size} {rows.tolist()}"
        folder.mkdir(exist_ok=True)

    def after(self, change: Change | None, name: str) -> NDArray[np.float32]:
        """(N, D); `name` stands for the change."""
        file = self._folder / f"{hashlib.sha256(f'{self._of} {name}'.encode()).hexdigest()}.npy"
        if not file.exists():
            parts = []
            for start in range(0, len(self._rows), _PART):
                part = self._pixels[self._rows[start : start + _PART]]
                if change is not None:
                    corruption, at = change
                    seeds = self._seeds[start : start + _PART]
                    part = np.stack([corruption.apply(one, at, seed) for one, seed in zip(part, seeds, strict=True)])
                parts.append(self._predictor.embeddings(part))
            fresh = file.with_suffix(".fresh.npy")
            np.save(fresh, np.concatenate(parts))
            fresh.replace(file)
        found: NDArray[np.float32] = np.load(file)
        return found


def accuracies(
    dataset: DatasetFolder, workspace: Workspace, seeds: int, folder: Path
) -> tuple[float, NDArray[np.float64], int]:
    """The mean accuracy of the heads of so many seeds on their test pictures, the mean drops (K, 3), and how many pictures were changed."""
    runs: list[RunFolder] = []
    try:
        for seed in range(seeds):
            runs.append(jobs.submit_training(workspace, dataset, strategy="feature_extraction", seed=seed))
            jobs.wait(runs[-1], None)
        heads = [Judged.of(run) for run in runs]
        rows, first = np.unique(np.concatenate([head.rows for head in heads]), return_index=True)
        rows = rows[stratified(np.concatenate([head.labels for head in heads])[first], PICTURES, 0)]
        features = Features(dataset, runs[0], rows, folder)

        def mean(change: Change | None, name: str) -> float:
            found = features.after(change, name)
            return float(np.mean([head.accuracy(found, rows) for head in heads]))

        clean = mean(None, "")
        if all(np.isin(head.rows, rows).all() for head in heads):
            assert abs(clean - np.mean([run.report().test.accuracy for run in runs])) < 1e-9
        drops: list[list[float]] = []
        for corruption in CORRUPTIONS.values():
            drops.append([])
            for at, strength in enumerate(corruption.strengths):
                drops[-1].append(100 * (clean - mean((corruption, at), f"{corruption.name} {strength:g}")))
            print(f"  {corruption.name}: {', '.join(f'{drop:.1f}' for drop in drops[-1])}", flush=True)
        return clean, np.array(drops), len(rows)
    finally:
        jobs.clear_away(runs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="folders, or sample:NAME")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--keep", type=Path, default=KEEP)
    options = parser.parse_args()
    workspace = kept(options.keep)
    names, clean, pictures = [], [], []
    drops: list[NDArray[np.float64]] = []
    for data in options.data:
        dataset = dataset_of(data, workspace)
        print(dataset.name, flush=True)
        accuracy, dropped, images = accuracies(dataset, workspace, options.seeds, options.keep / "corruptions")
        names.append(dataset.name)
        clean.append(accuracy)
        pictures.append(images)
        drops.append(dropped)
    lines = [f"| corruption | strengths | {' | '.join(names)} |", f"| --- | --- {'| --- ' * len(names)}|"]
    cells = [f"{100 * value:.1f} %, {number} pictures" for value, number in zip(clean, pictures, strict=True)]
    lines.append(f"| none: right | | {' | '.join(cells)} |")
    for at, corruption in enumerate(CORRUPTIONS.values()):
        cells = [", ".join(f"{drop:.1f}" for drop in one[at]) for one in drops]
        said = "; ".join(corruption.said(strength) for strength in range(len(corruption.strengths)))
        lines.append(f"| {corruption.title} | {said} | {' | '.join(cells)} |")
    if not all((np.diff(one, axis=1) >= 0).all() for one in drops):
        print("\n".join([*lines, "A drop is smaller than that at the strength before it; nothing was written."]))
        return 1
    text = (
        "What a corruption of the test pictures costs at its three strengths, the weakest first: percentage points of accuracy, the mean of "
        f"{options.seeds} seeds, each with a head of its own, fitted on the frozen features of EfficientNet-Lite0, and its own split where the set has "
        f"none of its maker's. At most {PICTURES} pictures of all tests are changed, as the Evaluate page does it. Written by `benchmarks/corruptions.py`. The "
        "strengths were chosen on these sets, so that in each of them and for every corruption the mean drop grows with the strength or stays the same."
    )
    put(DOCUMENT, "When it breaks", "\n".join([text, "", *lines]), head=HEAD)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
