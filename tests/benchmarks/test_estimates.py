"""The benchmark of estimates prints what a stored run says."""

from __future__ import annotations

from pathlib import Path

from benchmarks.estimates import HEADER, line
from tl_core.documents.spec import TrainSpec
from tl_core.documents.status import Status
from tl_core.runs.store.folders import RunFolder, TaskFolder


def test_whoever_checks_the_estimates_sees_that_of_the_finished_run_beside_its_seconds(tmp_path: Path) -> None:
    run, measured = RunFolder(tmp_path / "run"), TaskFolder(tmp_path / "question")
    spec = TrainSpec(name="a", workspace="0" * 32, dataset="1", weights="w", image_size=224, strategy="lora")
    run.write_spec(spec.model_copy(update={"estimated_seconds": (20.0, 45.0)}))
    Status(state="succeeded", seconds={"total": 33.0}, peak_memory_mb=910.4).write(run.path / "status.json")
    Status(state="succeeded", seconds={"total": 7.25}).write(measured.path / "status.json")
    found = line(measured, run)
    assert [cell.strip() for cell in found.strip("|").split("|")] == [
        "lora",
        "7.2",
        "20 to 45",
        "30",
        "33",
        "1.10",
        "910",
    ]
    assert found.count("|") == HEADER.splitlines()[0].count("|")
