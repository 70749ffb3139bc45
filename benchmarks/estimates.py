"""Compares what a run was said to take, once this machine was measured, with what it took.

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
from tl_core.runs.questions.ask import ask  # noqa: E402
from tl_core.runs.start import jobs  # noqa: E402
from tl_core.runs.start.jobs import finish  # noqa: E402
from tl_core.runs.start.training_spec import spec_of  # noqa: E402
from tl_core.runs.store.store import Store  # noqa: E402
from tl_core.runs.train.estimating import measure_question  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--strategies", nargs="+", default=["feature_extraction", "partial_fine_tuning"])
    parser.add_argument("--backbone", default="efficientnet_lite0")
    options = parser.parse_args()
    print("| strategy | measured in, s | said, s | middle | took, s | took / middle | memory, MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
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
            said = run.spec().estimated_seconds or (0.0, 0.0)
            finish(run, None)
            status, middle = run.status(), sqrt(said[0] * said[1])
            took = status.seconds["total"]
            print(
                f"| {name} | {question.status().seconds['total']:.1f} | {said[0]:.0f} to {said[1]:.0f} | {middle:.0f} | {took:.0f} "
                f"| {took / middle:.2f} | {status.peak_memory_mb:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
