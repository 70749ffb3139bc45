"""Compares the seconds that a run takes with the estimate made before it, once this machine was measured.

    python benchmarks/estimates.py FOLDER --strategies feature_extraction partial_fine_tuning full_fine_tuning

Each strategy is measured (two batches, as the Train page does) and then trained, in one store that starts empty, so later rows
find pixels and features of earlier ones, as a user does.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from math import sqrt
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tl_core.documents.options import TrainingOptions  # noqa: E402
from tl_core.runs.start import jobs  # noqa: E402
from tl_core.runs.start.jobs import finish  # noqa: E402
from tl_core.runs.start.training_spec import spec_of  # noqa: E402
from tl_core.runs.store.folders import RunFolder, TaskFolder  # noqa: E402
from tl_core.runs.store.store import Store  # noqa: E402
from tl_core.runs.tasks.ask import ask  # noqa: E402
from tl_core.runs.train.estimating import measure_question  # noqa: E402

HEADER = """| strategy | measured in, s | estimate, s | middle | took, s | took / middle | memory, MB |
| --- | --- | --- | --- | --- | --- | --- |"""


def line(measured: TaskFolder, run: RunFolder) -> str:
    """The line of the table for a finished `run` that was measured before; the worker wrote the estimate into its spec."""
    spec, status = run.spec(), run.status()
    low, high = spec.estimated_seconds
    middle, took = sqrt(low * high), status.seconds["total"]
    return (
        f"| {spec.strategy} | {measured.status().seconds['total']:.1f} | {low:.0f} to {high:.0f} | {middle:.0f} | {took:.0f} "
        f"| {took / middle:.2f} | {status.peak_memory_mb:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--strategies", nargs="+", default=["feature_extraction", "partial_fine_tuning"])
    parser.add_argument("--backbone", default="efficientnet_lite0")
    options = parser.parse_args()
    print(HEADER)
    with tempfile.TemporaryDirectory() as store:
        os.environ["GRAFT_STORE"] = store
        workspace = Store.default().command_line_workspace()
        workspace.make()
        dataset = jobs.submit_ingest(workspace, source_kind="folder", source=options.folder.absolute(), name="pictures")
        finish(dataset, None)
        for name in options.strategies:
            wanted = TrainingOptions(backbone=options.backbone, strategy=name)
            question = ask(workspace, measure_question(spec_of(wanted, dataset), len(dataset.manifest().classes)))
            finish(question, None)
            run = jobs.submit_training(workspace, dataset, backbone=options.backbone, strategy=name)
            finish(run, None)
            print(line(question, run), flush=True)


if __name__ == "__main__":
    main()
