"""The benchmarks: how often a range held is said of stored runs, and a copy counts as found only where it is with its original."""

from pathlib import Path

import numpy as np

from benchmarks.estimates import HEADER, Row, verdict
from benchmarks.frozen_sets import FrozenSet
from benchmarks.home_answers import chosen
from benchmarks.known_faults import together
from tl_core.documents.events import Status
from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.documents.report import ImageAnswer
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


def test_copies_that_are_apart_and_other_pictures_that_are_joined_are_told() -> None:
    things = {"a/1": "x", "a/2": "x", "a/3": "x", "a/4": "y", "a/5": "y", "a/6": "z"}
    images = tuple(
        ImageEntry(sha256=f"{row:064x}", label=0, name=name, file="", width=9, height=9)
        for row, name in enumerate(things)
    )
    manifest = Manifest(name="a", created=0.0, source="a", classes=("a", "b"), images=images)
    pictures = FrozenSet(
        "a", manifest, np.zeros((6, 2), np.float32), np.zeros(6, np.int64), np.array([0, 0, 1, 2, 2, 2])
    )
    assert together(pictures, things) == ({"a/1", "a/2", "a/4", "a/5"}, 1)


def _answer(row: int, truth: int, predicted: int, probability: float) -> ImageAnswer:
    return ImageAnswer(
        row=row, truth=truth, predicted=predicted, probability=probability, truth_probability=1 - probability
    )


def test_of_each_class_the_surest_right_answer_is_shown_and_among_them_the_surest_mistakes() -> None:
    right = [
        _answer(10 * label + number, label, label, 0.5 + 0.1 * number) for label in range(4) for number in range(3)
    ]
    wrong = [_answer(90, 0, 1, 0.9), _answer(91, 0, 2, 0.8), _answer(92, 3, 1, 0.7), _answer(93, 2, 1, 0.6)]
    shown = chosen([*wrong, *right])
    assert [shown_answer.row for shown_answer in shown if shown_answer.truth == shown_answer.predicted] == [
        2,
        12,
        22,
        32,
    ]
    assert [shown_answer.row for shown_answer in shown if shown_answer.truth != shown_answer.predicted] == [90, 92]
    assert [shown_answer.row for shown_answer in shown].index(90) not in (0, len(shown) - 1)
