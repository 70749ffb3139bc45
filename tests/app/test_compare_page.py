"""The Compare page: runs on the same pictures, a verdict in words, and the pictures on which they differ."""

import shutil
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.conftest import Open, press, text
from tl_core.documents.manifest import Remedies
from tl_core.evaluation.comparison import compare_all
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from ui.compare_page.verdicts import front, front_title, headline

COMPARE = "pages/5_Compare.py"


@pytest.fixture
def data() -> DatasetFolder:
    return records.dataset(each=40)


def a_run(data: DatasetFolder, name: str, *mistakes: int, **more: Any) -> RunFolder:
    return records.run(data, name=name, mistakes=mistakes, **more)


def box(app: AppTest) -> list[str]:
    return list(app.multiselect[0].value)


def test_one_run_alone_leads_to_train(open_page: Open, data: DatasetFolder) -> None:
    a_run(data, "Alone")
    app = open_page(COMPARE)
    assert "There is one run here." in text(app)
    app.button[0].click().run()
    assert app.title[0].value == "Train"


def test_the_two_latest_runs_that_can_be_compared_are_compared_the_older_one_first(
    open_page: Open, data: DatasetFolder
) -> None:
    old = a_run(data, "Old", *range(7))
    new = a_run(data, "New")
    a_run(records.dataset(name="Other", classes=("x", "y", "z", "u", "v", "w")), "Elsewhere")
    a_run(data, "Another seed", seed=1)
    app = open_page(COMPARE)
    assert box(app) == [old.id, new.id]
    assert app.header[0].value == "B is better than A"
    said = text(app)
    assert "On the 18 test pictures that all of these runs were judged on and none learned from." in said
    assert "+38.9 points" in said
    table = app.dataframe[0].value
    assert table["Run"].tolist() == ["A  Old", "B  New"]
    assert table["Right"].round(1).tolist() == [61.1, 100.0]
    assert table["Seconds"].tolist() == [19.0, 19.0]
    assert str(app.query_params["compare"]).strip("[]'") == f"{old.id},{new.id}"


@pytest.mark.parametrize("leads_to", ["Evaluate", "Present"])
def test_each_run_is_evaluated_and_presented_from_here(open_page: Open, data: DatasetFolder, leads_to: str) -> None:
    old = a_run(data, "Old", *range(7))
    a_run(data, "New")
    app = open_page(COMPARE)
    offered = {button.label: button for button in app.button}
    assert {"Evaluate A", "Present A", "Evaluate B", "Present B"} <= set(offered)
    offered[f"{leads_to} A"].click().run()
    assert app.title[0].value == leads_to
    assert str(app.query_params["run"]).strip("[]'") == old.id


def test_the_verdict_names_the_settings_in_which_two_runs_differ(open_page: Open, data: DatasetFolder) -> None:
    old = a_run(data, "Old", *range(7))
    new = a_run(data, "New", strategy="full_fine_tuning")
    app = open_page(COMPARE, compare=f"{old.id},{new.id}")
    assert app.header[0].value == "B (whole network) is better than A (head only)"


def test_a_link_keeps_its_runs_in_their_order(open_page: Open, data: DatasetFolder) -> None:
    first, second, _ = a_run(data, "First"), a_run(data, "Second", *range(7)), a_run(data, "Third")
    app = open_page(COMPARE, compare=f"{second.id},{first.id},{'0' * 16}")
    assert box(app) == [second.id, first.id]
    assert app.header[0].value == "B is better than A"
    app.multiselect[0].set_value([first.id]).run()
    assert "Choose two runs or more." in text(app)
    assert str(app.query_params["compare"]).strip("[]'") == first.id
    app.multiselect[0].set_value([]).run()
    app.run()
    assert box(app) == [], "what was cleared is not chosen again"


def test_the_pictures_on_which_they_differ_are_shown_with_both_answers(open_page: Open, data: DatasetFolder) -> None:
    old, new = a_run(data, "Old", 0, 1, 2), a_run(data, "New", 2, 3)
    app = open_page(COMPARE, compare=f"{old.id},{new.id}")
    (kinds,) = app.segmented_control
    assert kinds.label == "3 pictures of 18"
    assert [option.content for option in kinds.proto.options] == [
        "Only A right (1)",
        "Only B right (2)",
        "Both wrong, differently (0)",
    ]
    captions = [image.caption for element in app.get("image") for image in element.proto.imgs]
    assert captions == ["was **bowl**  \nA: **bowl**, 96\u202f%  \nB: cup, 96\u202f%"] or len(captions) == 1
    kinds.set_value("only_b").run()
    captions = [image.caption for element in app.get("image") for image in element.proto.imgs]
    assert len(captions) == 2
    app.segmented_control[0].set_value("both_wrong").run()
    assert "No picture." in text(app)


def test_without_the_data_set_the_answers_are_listed(open_page: Open, data: DatasetFolder) -> None:
    a_run(data, "Old", 0, 1), a_run(data, "New", 2)
    shutil.rmtree(data.path)
    app = open_page(COMPARE)
    assert "Cannot tell with 18 pictures; about" in app.header[0].value
    assert "the pictures cannot be shown" in text(app)
    assert "is one of test pictures, which are about 15\u202f% of a data set" in text(app)
    assert app.dataframe[1].value.columns.tolist() == ["It was", "A said", "B said"]


def test_runs_on_other_pictures_are_named_with_the_reason_and_not_mixed_in(
    open_page: Open, data: DatasetFolder
) -> None:
    a, b = a_run(data, "Old", 0), a_run(data, "New")
    other = a_run(records.dataset(name="Other", classes=("x", "y", "z", "u", "v", "w")), "<b>Elsewhere")
    app = open_page(COMPARE, compare=f"{a.id},{b.id},{other.id}")
    (warning,) = app.warning
    assert warning.value.startswith("Not compared: **\\<b\\>Elsewhere**. It has no test picture in common with")
    assert app.dataframe[0].value["Run"].tolist() == ["A  Old", "B  New"]
    alone = open_page(COMPARE, compare=f"{a.id},{other.id}")
    assert not alone.header
    assert len(alone.warning) == 1


def test_after_a_retrain_evaluate_leads_to_the_run_before_on_the_same_pictures(
    open_page: Open, data: DatasetFolder
) -> None:
    old = a_run(data, "Old", *range(7))
    data.versions.apply(Remedies(leave_out=(data.manifest().images[0].file,)))
    new = a_run(data, "New", version=2)
    app = open_page("pages/3_Evaluate.py", run=new.id)
    press(app, "Compare with another run")
    assert app.title[0].value == "Compare"
    assert box(app) == [old.id, new.id]
    assert app.header[0].value == "B (version 2 of the data set) is better than A"
    assert "version 2 of the data set" in app.dataframe[0].value["How"][1]


def test_evaluate_offers_no_comparison_with_nothing(open_page: Open, data: DatasetFolder) -> None:
    app = open_page("pages/3_Evaluate.py", run=a_run(data, "Alone").id)
    assert "Compare with another run" not in [button.label for button in app.button]
    assert "Compare them" not in [link.proto.label for link in open_page().get("page_link")]
    a_run(data, "Another")
    assert "Compare them" in [link.proto.label for link in open_page().get("page_link")]


def test_of_three_runs_every_pair_has_a_corrected_verdict(open_page: Open, data: DatasetFolder) -> None:
    runs = [a_run(data, "Bad", *range(9)), a_run(data, "Good"), a_run(data, "Fair", 0)]
    app = open_page(COMPARE, compare=",".join(run.id for run in runs))
    assert app.header[0].value == (
        "B is better than A, C is better than A; the others cannot be told apart with 18 pictures"
    )
    assert app.dataframe[1].value["Pair"].tolist() == ["B against A", "C against A", "C against B"]
    app.selectbox(key="differing-pair").set_value((1, 2)).run()
    assert app.segmented_control[0].label == "1 picture of 18"
    assert "Only B right (1)" in [option.content for option in app.segmented_control[0].proto.options]


def test_a_comparison_that_is_not_to_be_trusted_says_so(open_page: Open, data: DatasetFolder) -> None:
    a, b = a_run(data, "Old"), a_run(data, "New")
    a.report().model_copy(update={"one_moment": ("cup",), "headline": None}).write(a.report_file)
    app = open_page(COMPARE, compare=f"{a.id},{b.id}")
    assert app.header[0].value == "Cannot tell with 18 pictures; both are right equally often"
    assert app.warning[0].value.replace("\\", "").startswith("All of one moment: record cup again elsewhere.")
    assert "Nowhere: both say the same of all 18 pictures." in text(app)


def test_a_range_that_is_narrower_than_the_exact_test_is_explained(open_page: Open, data: DatasetFolder) -> None:
    a_run(data, "Old", *range(5)), a_run(data, "New")
    app = open_page(COMPARE)
    assert app.header[0].value.startswith("Cannot tell with 18 pictures")
    assert "with so few answers that differ, the exact test decides" in text(app)


def test_runs_with_many_classes_are_compared(open_page: Open) -> None:
    many = records.dataset(classes=tuple(f"class {n:02}" for n in range(45)), each=7)
    a_run(many, "Old", *range(20)), a_run(many, "New")
    app = open_page(COMPARE)
    assert app.header[0].value == "B is better than A"
    assert app.segmented_control[0].label == "20 pictures of 45"


def test_the_front_has_the_runs_that_none_beats_in_both() -> None:
    assert front([10, 20, 30, 40], [0.8, 0.9, 0.85, 0.9]) == [0, 1]
    assert front([5, 5, 9], [0.9, 0.9, 0.9]) == [0, 1]
    assert front_title(["A"], "faster") == "A: none is faster or more often right"
    assert front_title(["A", "C"], "smaller") == "On the Pareto front: A, C"


def test_the_headline_of_many_names_no_pair_that_chance_explains() -> None:
    truth = np.zeros(60, dtype=int)
    said = [truth, (np.arange(60) < 3).astype(int), (np.arange(60) < 30).astype(int)]
    pairs = [("A", "B"), ("A", "C"), ("B", "C")]
    assert headline(pairs, compare_all(said, truth)) == (
        "A is better than C, B is better than C; the others cannot be told apart with 60 pictures"
    )
    assert headline(pairs, compare_all([truth] * 3, truth)) == "Cannot tell any two of them apart with 60 pictures"
