"""Graft beside what a user would pick instead: the same split of the same pictures, the same weights, one after another."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.speed.measuring import PYTHON, Kept, Measured, measure

RIVALS = "benchmarks.speed.rivals"


@dataclass(frozen=True)
class Entrant:
    """One line of the table."""

    title: str
    module: str | None = None
    """Module of `benchmarks.speed.rivals` that is run; None: Graft itself."""
    arguments: tuple[str, ...] = ()
    seeds: int | None = None
    """Largest number of seeds, where a run takes long; None: all that were asked for."""
    prepared: bool = True
    """Whether Graft's store holds the exported backbone and how fast the processor is, as `make app` leaves it."""


TUTORIAL, TUTORIAL_WHOLE = "tutorial loop, last layer, 10 epochs", "tutorial loop, whole network, 3 epochs"
FASTAI, SKLEARN = "fastai, fine_tune(3)", "scikit-learn on timm features"
HEAD, COLD = "Graft, feature_extraction", "Graft, feature_extraction, backbone not exported"
PARTIAL, WHOLE, LP_FT = "Graft, partial_fine_tuning", "Graft, full_fine_tuning", "Graft, lp_ft"

ENTRANTS = (
    Entrant(TUTORIAL, "tutorial", ("--epochs", "10")),
    Entrant(TUTORIAL_WHOLE, "tutorial", ("--epochs", "3", "--whole"), seeds=1),
    Entrant(FASTAI, "fastai_learner", ("--epochs", "3")),
    Entrant(SKLEARN, "sklearn_timm"),
    Entrant(HEAD, None, ("--strategy", "feature_extraction")),
    Entrant(COLD, None, ("--strategy", "feature_extraction"), prepared=False),
    Entrant(PARTIAL, None, ("--strategy", "partial_fine_tuning")),
    Entrant(WHOLE, None, ("--strategy", "full_fine_tuning"), seeds=1),
    Entrant(LP_FT, None, ("--strategy", "lp_ft"), seeds=1),
)


@dataclass(frozen=True)
class Result:
    """What the runs of one entrant gave, a value for each seed."""

    entrant: Entrant
    accuracies: list[float]
    seconds: list[float]
    rates: list[float]
    """Training images a second, judging on validation included; of a frozen backbone alone, images a second."""
    epochs: list[float]
    """Seconds of each epoch of each run, judging on validation included."""
    peak_mb: float
    images: int
    """Number of test images."""

    @property
    def accuracy(self) -> float:
        return mean(self.accuracies)

    @property
    def time(self) -> float:
        return median(self.seconds)

    @property
    def epoch(self) -> float | None:
        return median(self.epochs) if self.epochs else None


def race(splits: list[Path], kept: Kept, *, prepared: Path, workplace: Path, title: str) -> Iterator[Result]:
    """Every entrant on every split; the seed of a run is its split's number."""
    for entrant in ENTRANTS:
        runs = []
        for seed, split in enumerate(splits[: entrant.seeds or len(splits)]):
            name = f"{title}: {entrant.title}, seed {seed}"
            if not kept.has(name):
                print(f"{name} ...", flush=True)
                shutil.rmtree(workplace, ignore_errors=True)
                workplace.mkdir(parents=True)
                kept.put(name, _run(entrant, split, seed, prepared=prepared, workplace=workplace))
            runs.append(kept.read(name))
        yield Result(
            entrant=entrant,
            accuracies=[run.said["accuracy"] for run in runs],
            seconds=[run.seconds for run in runs],
            rates=[_rate(run.said) for run in runs],
            epochs=[seconds for run in runs for seconds in run.said["epoch_seconds"]],
            peak_mb=max(run.peak_mb for run in runs),
            images=runs[0].said["images"],
        )


def _rate(said: dict[str, Any]) -> float:
    if said["epoch_seconds"]:
        return float(said["learned_from"] / median(said["epoch_seconds"]))
    return float(said["features_per_second"])


def _run(entrant: Entrant, split: Path, seed: int, *, prepared: Path, workplace: Path) -> Measured:
    out = workplace / "out"
    if entrant.module is not None:
        command = [PYTHON, "-m", f"{RIVALS}.{entrant.module}", str(split), str(out)]
        return measure([*command, "--seed", str(seed), *entrant.arguments])
    store = workplace / "store"
    if entrant.prepared:
        shutil.copytree(prepared, store)
    command = [PYTHON, "-m", "tl_core", "train", str(split), "--out", str(out), "--seed", str(seed), "--json"]
    found = measure([*command, *entrant.arguments], env={"GRAFT_STORE": str(store)})
    return Measured(found.seconds, found.peak_mb, _said(found.said, out))


def _said(summary: dict[str, Any], run: Path) -> dict[str, Any]:
    """The same fields that a rival prints, computed from Graft's summary and from the events in the folder `run`."""
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    ends = [event["time"] for event in events if event["type"] == "epoch"]
    epochs = [later - earlier for earlier, later in pairwise(ends)]
    learned = summary["train_images"]
    every = learned + summary["val_images"] + summary["test_images"]
    return {
        "accuracy": summary["test_accuracy"],
        "images": summary["test_images"],
        "epoch_seconds": epochs,
        "learned_from": learned,
        "features_per_second": every / summary["seconds"]["features"],
        "stages": summary["seconds"],
    }
