"""Trains every strategy that fits on one folder of pictures and writes what came of it to docs/strategies.md.

    python benchmarks/strategies.py FOLDER --title "Coffee leaves (esgario/lara2018)" --seeds 3
    python benchmarks/strategies.py FOLDER --title "..." --compare

Finished runs are kept in KEEP, a store of its own, so the same command goes on where it stopped. Strategies whose frozen
stages are computed once run with seeds 0 to SEEDS - 1, those that train the whole network with seed 0. `--compare` runs
instead, with five epochs each, what tutorials do (SGD, learning rate 1e-4, momentum 0.9) beside full_fine_tuning and
lp_ft, and feature_extraction. Each table replaces the one of the same title; seconds are those of one run's worker
with the pixels and features of earlier runs in the cache.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from platformdirs import user_cache_path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.sections import put  # noqa: E402
from tl_core.documents.options import Recipe  # noqa: E402
from tl_core.evaluation.intervals import wilson_interval  # noqa: E402
from tl_core.hardware import cores  # noqa: E402
from tl_core.models.registry import network  # noqa: E402
from tl_core.runs.finished import RunSummary, summarise  # noqa: E402
from tl_core.runs.start import jobs  # noqa: E402
from tl_core.runs.start.jobs import wait  # noqa: E402
from tl_core.runs.store.folders import DatasetFolder, RunFolder  # noqa: E402
from tl_core.runs.store.store import Store, Workspace  # noqa: E402
from tl_core.training.strategies.strategies import frozen_stages, misfit, strategies, strategy, tuned  # noqa: E402

DOCUMENT = ROOT / "docs" / "strategies.md"
BACKBONE = "efficientnet_lite0"
STAGES = 2
HEAD = """# Strategies, measured

Written by `benchmarks/strategies.py`. Each strategy that fits EfficientNet-Lite0 (all but lora, which needs a transformer) ran on it with its
defaults at 224 px, and all were judged on the same test pictures (held out). "Right on test pictures" is the accuracy on pictures that took no part in training, the mean of the seeds, with the 95 % Wilson
interval for that many pictures. Seconds and memory are those of the worker of one run, the median of the seeds, with decoded pixels and frozen
features of earlier runs in the cache. Memory is without mapped files.
"""


@dataclass(frozen=True)
class Line:
    """One line of the table: a strategy, or a variant of one."""

    title: str
    strategy: str
    seeds: int
    epochs: int | None = None
    changes: dict[str, Any] = field(default_factory=dict)


def every_strategy(seeds: int) -> Iterator[Line]:
    """A line for each strategy that fits the backbone, with several seeds where the frozen stages are cached."""
    backbone = network(BACKBONE)
    for name, option in strategies().items():
        reason = misfit(option, backbone, STAGES)
        if reason:
            print(f"{name} is left out: {reason}")
            continue
        cached = frozen_stages(option, len(backbone.stages), STAGES) > 0 or option.learns == "one"
        yield Line(name, name, seeds if cached else 1)


def comparison() -> Iterator[Line]:
    """The lines of `--compare`, with five epochs each where stages learn."""
    tutorial = {"optimizer": "sgd", "learning_rate": 1e-4, "stage_rate": 1e-4, "momentum": 0.9, "weight_decay": 0.0}
    tutorial |= {"schedule": "constant", "warm_up": 0.0, "clip": 0.0, "augmentation": "none"}
    yield Line("feature_extraction", "feature_extraction", 1)
    yield Line("lp_ft, 5 epochs", "lp_ft", 1, 5)
    yield Line("full_fine_tuning, 5 epochs", "full_fine_tuning", 1, 5)
    yield Line("tutorial: SGD 1e-4, momentum 0.9, 5 epochs", "full_fine_tuning", 1, 5, tutorial)


def read(workspace: Workspace, folder: Path) -> DatasetFolder:
    """The folder as a data set, read once."""
    for known in workspace.datasets():
        if known.spec().source == str(folder) and known.status().state == "succeeded":
            return known
    dataset = jobs.submit_ingest(workspace, source_kind="folder", source=folder, name=folder.name)
    wait(dataset, None)
    return dataset


def trained(workspace: Workspace, dataset: DatasetFolder, line: Line, seed: int) -> RunSummary:
    """The finished run of that line and seed, trained now if there is none."""
    option = tuned(strategy(line.strategy), network(BACKBONE))
    recipe, epochs = option.recipe.changed(line.changes), line.epochs or option.epochs
    for run in workspace.runs():
        if run.status().state == "succeeded" and _same(run, dataset, line.strategy, seed, epochs, recipe):
            return summarise(run)
    print(f"{line.title}, seed {seed} ...", flush=True)
    started = jobs.submit_training(
        workspace,
        dataset,
        backbone=BACKBONE,
        strategy=line.strategy,
        stages=STAGES,
        epochs=epochs,
        seed=seed,
        **line.changes,
    )
    wait(started, None)
    summary = summarise(started)
    print(f"  {summary.test_accuracy:.3f} in {started.status().seconds['total']:.0f} s", flush=True)
    return summary


def _keeps_a_prefix(summary: RunSummary) -> bool:
    """False if the run computed the stages before the one that learns again in each epoch."""
    spec = RunFolder(Path(summary.run_dir)).spec()
    return spec.learning_stages is None or spec.views_kept.get(spec.learning_stages[0], 0) > 0


def _same(run: RunFolder, dataset: DatasetFolder, name: str, seed: int, epochs: int, recipe: Recipe) -> bool:
    spec = run.spec()
    same = (spec.dataset, spec.strategy, spec.seed, spec.backbone) == (dataset.id, name, seed, BACKBONE)
    fitted = strategy(name).learns == "head"
    return same and spec.solver == "logistic" and (fitted or (spec.epochs == epochs and spec.recipe == recipe))


def table(results: list[tuple[Line, list[RunSummary]]]) -> str:
    """The results as Markdown, the best on validation first."""
    lines = [
        "| strategy | right on test pictures | on validation pictures | epochs | seconds | memory MB | parameters that learn | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    ranked = sorted(results, key=lambda entry: -mean(run.val_accuracy for run in entry[1]))
    for line, runs in ranked:
        accuracy, images = mean(run.test_accuracy for run in runs), runs[0].test_images
        low, high = wilson_interval(round(accuracy * images), images)
        option = strategy(line.strategy)
        epochs = "" if option.learns == "head" else str(line.epochs or option.epochs)
        seconds = median(run.seconds["total"] - run.seconds["ingest"] for run in runs)
        memory = max(run.peak_memory_mb or 0 for run in runs)
        lines.append(
            f"| {line.title} | {accuracy:.3f} ({low:.3f} to {high:.3f}) | {mean(run.val_accuracy for run in runs):.3f} "
            f"| {epochs} | {seconds:.0f} | {memory:.0f} | {runs[0].trainable_parameters:,} | {len(runs)} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--title", required=True, help="the set's name and source, for the document")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--compare", action="store_true", help="the comparison at five epochs instead")
    parser.add_argument("--only", nargs="*", help="these strategies alone")
    parser.add_argument("--keep", type=Path, default=user_cache_path("graft") / "strategies")
    options = parser.parse_args()
    os.environ["GRAFT_STORE"] = str(options.keep)
    os.environ["GRAFT_KEEP_DAYS"] = "0"
    workspace = Store.default().command_line_workspace()
    workspace.make()
    dataset = read(workspace, options.folder.absolute())
    lines = list(comparison() if options.compare else every_strategy(options.seeds))
    results: list[tuple[Line, list[RunSummary]]] = []
    section = options.title + (", five epochs" if options.compare else "")
    for line in lines:
        if options.only and line.strategy not in options.only:
            continue
        runs = [trained(workspace, dataset, line, 0)]
        if _keeps_a_prefix(runs[0]):
            runs += [trained(workspace, dataset, line, seed) for seed in range(1, line.seeds)]
        results.append((line, runs))
        images = results[0][1][0]
        said = (
            f"{images.train_images:,} pictures to learn from, {images.val_images:,} for validation, {images.test_images:,} held out. "
            f"Device: {images.device}, {cores()} cores."
        )
        put(DOCUMENT, section, f"{said}\n\n{table(results)}", head=HEAD)
    print(table(results))


if __name__ == "__main__":
    main()
