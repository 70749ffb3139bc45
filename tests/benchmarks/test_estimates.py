"""The benchmark of estimates says of stored runs how often the range before them held."""

from pathlib import Path

from benchmarks.estimates import HEADER, Row, verdict
from tl_core.documents.events import Status
from tl_core.documents.spec import TrainSpec
from tl_core.runs.store.folders import RunFolder


def test_whoever_checks_the_estimates_sees_both_ranges_beside_what_a_run_took(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    spec = TrainSpec(name="a", workspace="0" * 32, dataset="1", weights="w", image_size=224, strategy="lora")
    run.write_spec(spec.model_copy(update={"estimated_seconds": (20.0, 45.0)}))
    Status(state="succeeded", seconds={"total": 33.0}, peak_memory_mb=910.4).write(run.path / "status.json")
    row = Row.of(run, (10.0, 40.0), 700.0)
    cells = "efficientnet_lite0 | lora | 224 | 10 to 40 | 20 to 45 | 33.0 | 1.65, 1.10 | 700, 910"
    assert str(row) == f"| {cells} |"
    assert str(row).count("|") == HEADER.count("|")
    missed = Row("other", (1.0, 3.0), (1.0, 3.0), took=4.0, memory_mb=1.0, peak_mb=1.0)
    first, later = verdict([row, missed])
    assert first == "The first range held in 1 of 2 (50%); 1 wider than 1 : 3."
    assert later == "The later range held in 0 of 1 (0%); 0 wider than 1 : 3."
