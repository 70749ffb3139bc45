"""Ideas, and what moved: words that follow the user's own case and runs."""

import pytest

from tests.app import records
from tests.app.conftest import Open, text
from tl_core.documents.report import StageMoved
from tl_core.documents.tasks import FeatureMapsSpec, TaskSpec
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from ui import asking


def test_the_rule_marks_the_case_and_the_runs_are_compared(open_page: Open, data: DatasetFolder) -> None:
    app = open_page("pages/6_Ideas.py", dataset=data.id)
    assert text(app).count("yours, perhaps: 42") == 2
    assert "None yet" in text(app)
    for strategy in ("feature_extraction", "lp_ft"):
        records.run(data, strategy=strategy)
    app = open_page("pages/6_Ideas.py", dataset=data.id)
    assert "2 runs on these pictures" in text(app)
    assert app.button(key="look").label == "See what it sees"


def test_what_is_looked_into_has_the_chosen_weights(open_page: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[TaskSpec] = []
    monkeypatch.setattr(asking, "ask", lambda workspace, spec: asked.append(spec))
    app = open_page("pages/6_Ideas.py", dataset=records.dataset().id)
    app.session_state["backbone"] = "vit_b_16"
    app.session_state["weights-vit_b_16"] = "IMAGENET1K_SWAG_E2E_V1"
    app.run()
    app.button(key="look").click().run()
    (spec,) = asked
    assert isinstance(spec, FeatureMapsSpec)
    assert (spec.backbone, spec.weights, spec.image_size) == ("vit_b_16", "IMAGENET1K_SWAG_E2E_V1", 384)


def test_evaluate_says_what_moved(open_page: Open, data: DatasetFolder) -> None:
    moved = tuple(
        StageMoved(name=name, distance=distance, parameters=1000, learned=distance > 0)
        for name, distance in (("stem", 0.0), ("layer1", 0.0), ("layer2", 0.02), ("layer3", 0.06))
    )
    run = records.run(data, strategy="partial_fine_tuning", moved=moved)
    said = text(open_page("pages/3_Evaluate.py", run=run.id))
    assert "**layer3** moved most: its weights changed by 6" in said
    assert "The 2 frozen stages" in said
    assert "Late stages moved more" in said


def test_a_fitted_head_moves_nothing(open_page: Open, run: RunFolder) -> None:
    assert "it stayed frozen" in text(open_page("pages/3_Evaluate.py", run=run.id))


def test_a_run_that_kept_its_first_head_says_so(open_page: Open, data: DatasetFolder) -> None:
    still = (StageMoved(name="layer4", distance=0.0, parameters=1000, learned=True),)
    run = records.run(data, strategy="partial_fine_tuning", moved=still)
    assert "no epoch was better" in text(open_page("pages/3_Evaluate.py", run=run.id))


def test_runs_are_chosen_by_names_without_markup(open_page: Open, data: DatasetFolder) -> None:
    for strategy in ("feature_extraction", "lp_ft"):
        run = records.run(data, strategy=strategy)
    labels = open_page("pages/3_Evaluate.py", run=run.id).selectbox[0].options
    assert all("efficientnet_lite0" in label for label in labels)
