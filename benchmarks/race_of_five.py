"""Races several strategies on one folder of pictures, then trains each of them by itself, and says whether the numbers are the same and which took less time.

    python benchmarks/race_of_five.py FOLDER --epochs 3 --image-size 96

Each of the three ways begins with a store in which the pictures were read and nothing was trained: the race; the single runs one after the other in one store, which share its cache
as commands of one user do; and the single runs in a store each, in which each computes everything. Seconds are those of the workers,
without waiting. A run that the race did not stop must have the report, the logits and the settings of the single ones; one that
was stopped, the same epochs until then. Where the memory that was free chose otherwise (views that are kept, pictures at once), that is said.
"""

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tl_core.documents.events import EpochEnded  # noqa: E402
from tl_core.runs.comparing import leaderboard  # noqa: E402
from tl_core.runs.start import jobs, races  # noqa: E402
from tl_core.runs.store.folders import DatasetFolder, RaceFolder, RunFolder  # noqa: E402
from tl_core.runs.store.store import Store, Workspace  # noqa: E402
from tl_core.serving.predictor import Predictor  # noqa: E402

_CHOSEN_BY_MEMORY = ("views_kept", "micro_batch", "precision")
_OF_TIME = {"expected", "estimated_seconds", "name", "workspace", "dataset"}


@dataclass(frozen=True)
class Difference:
    """What differs between a run of the race and the same run by itself; empty strings where nothing does."""

    settings: str
    numbers: str


def difference(raced: RunFolder, alone: RunFolder) -> Difference:
    one, other = (run.spec().model_dump(exclude=_OF_TIME) for run in (raced, alone))
    settings = [name for name in one if one[name] != other[name]]
    unlike = [name for name in settings if name not in _CHOSEN_BY_MEMORY]
    if unlike:
        raise SystemExit(f"The specs of {raced.path} and {alone.path} differ in {', '.join(unlike)}.")
    numbers = []
    epochs, single = (_epochs(run) for run in (raced, alone))
    if epochs != single[: len(epochs)]:
        numbers.append("epochs")
    if raced.report_file.exists():
        if raced.report() != alone.report():
            numbers.append("report")
        size = raced.spec().image_size
        pictures = np.random.default_rng(0).integers(0, 256, (16, size, size, 3), dtype=np.uint8)
        if not (Predictor(raced.bundle).logits(pictures) == Predictor(alone.bundle).logits(pictures)).all():
            numbers.append("logits")
    return Difference(", ".join(settings), ", ".join(numbers))


def _epochs(run: RunFolder) -> list[tuple[Any, ...]]:
    """Losses and accuracies of each epoch."""
    events = [event for event in run.events()[0] if isinstance(event, EpochEnded)]
    return [
        (event.epoch, event.train_loss, event.train_accuracy, event.val_loss, event.val_accuracy) for event in events
    ]


def _give(source: str, target: str) -> None:
    """Large files by a link, since nobody changes them; the others as copies."""
    if Path(source).stat().st_size > 100_000:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _seconds(run: RunFolder | RaceFolder) -> float:
    return run.status().seconds["total"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--strategies", default=",".join(races.STRATEGIES))
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only-shared", action="store_true", help="leave out the runs in a store each")
    asked = parser.parse_args()
    names = asked.strategies.split(",")
    options = {
        name: value
        for name, value in (("epochs", asked.epochs), ("image_size", asked.image_size), ("seed", asked.seed))
        if value is not None
    }
    with tempfile.TemporaryDirectory(prefix="race-of-five-") as place:

        def at(way: str) -> tuple[Workspace, DatasetFolder]:
            """The data set in a store of that way, which begins with what reading has left."""
            store = Path(place) / way
            if not store.exists():
                shutil.copytree(Path(place) / "read", store, copy_function=_give)
            os.environ["GRAFT_STORE"] = str(store)
            workspace = Store.default().command_line_workspace()
            (dataset,) = workspace.datasets()
            return workspace, dataset

        def single(name: str, way: str) -> RunFolder:
            run = jobs.submit_training(*at(way), strategy=name, backbone=asked.backbone, **options)
            jobs.wait(run, None)
            print(f"{way}, {name}: {_seconds(run):.1f} s", flush=True)
            return run

        os.environ["GRAFT_STORE"] = str(Path(place) / "read")
        workspace = Store.default().command_line_workspace()
        read = jobs.submit_ingest(
            workspace, source_kind="folder", source=asked.folder, name=asked.folder.name, judged=False
        )
        jobs.wait(read, None)
        race = races.submit_race(*at("race"), strategies=names, backbones=[asked.backbone], budget=36_000.0, **options)
        jobs.wait(race, None)
        whole, rows = _seconds(race), [row.model_dump() for row in leaderboard(race).rows]
        print(f"race: {whole:.1f} s", flush=True)
        runs = {run.spec().strategy: run for run in race.parts()}
        shared = {name: single(name, "shared") for name in names}
        fresh = {} if asked.only_shared else {name: single(name, f"fresh-{name}") for name in names}
        at("race")
        print(
            "\n| strategy | state | validation | test | race s | shared s | fresh s | differs from shared | from fresh |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
        for row in rows:
            name = row["strategy"]
            cells = [name, row["state"], f"{row['val_accuracy']:.4f}", f"{row['test_accuracy'] or float('nan'):.4f}"]
            cells += [f"{row['seconds']:.1f}", f"{_seconds(shared[name]):.1f}"]
            cells += [f"{_seconds(fresh[name]):.1f}" if fresh else "-"]
            for others in (shared, fresh):
                found = difference(runs[name], others[name]) if others else Difference("-", "-")
                cells.append(f"numbers: {found.numbers or 'none'}; settings: {found.settings or 'none'}")
            print(f"| {' | '.join(cells)} |")
        for row in rows:
            if row["state"] == "stopped":
                alone = shared[row["strategy"]].report()
                print(
                    f"{row['strategy']}: {row['reason']} By itself it came to {alone.val.accuracy:.4f} on validation, {alone.test.accuracy:.4f} on test."
                )
        sums = {"shared": sum(map(_seconds, shared.values())), "fresh": sum(map(_seconds, fresh.values()))}
        for way, seconds in sums.items():
            if seconds:
                print(
                    f"The race took {whole:.1f} s, single runs in {way} stores {seconds:.1f} s: {whole / seconds:.2f} of their sum."
                )


if __name__ == "__main__":
    main()
