"""Ideas, and what moved: words that follow the user's own case and runs."""

from __future__ import annotations

from tests.app import records
from tests.app.conftest import Open, text
from tl_core.documents.report import StageMoved


def test_the_rule_marks_the_case_and_the_runs_are_compared(open_page: Open) -> None:
    data = records.dataset(records.workspace())
    app = open_page("pages/5_Ideas.py", dataset=data.id)
    assert not app.exception
    assert text(app).count("yours, perhaps: 42") == 2
    assert "None yet" in text(app)
    for strategy in ("feature_extraction", "lp_ft"):
        records.run(records.workspace(), data, strategy=strategy)
    app = open_page("pages/5_Ideas.py", dataset=data.id)
    assert "2 runs on these pictures" in text(app)
    assert app.button(key="look").label == "See what it sees"


def test_evaluate_says_what_moved(open_page: Open) -> None:
    data = records.dataset(records.workspace())
    moved = tuple(
        StageMoved(name=name, distance=distance, parameters=1000, learned=distance > 0)
        for name, distance in (("stem", 0.0), ("layer1", 0.0), ("layer2", 0.02), ("layer3", 0.06))
    )
    run = records.run(records.workspace(), data, strategy="partial_fine_tuning", moved=moved)
    said = text(open_page("pages/3_Evaluate.py", run=run.id))
    assert "**layer3** moved most: its weights changed by 6" in said
    assert "The 2 frozen stages" in said
    assert "Late stages moved more" in said


def test_a_fitted_head_moves_nothing(open_page: Open) -> None:
    data = records.dataset(records.workspace())
    run = records.run(records.workspace(), data)
    assert "it stayed frozen" in text(open_page("pages/3_Evaluate.py", run=run.id))
