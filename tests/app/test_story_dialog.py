"""Tell the story on the Evaluate page: which answers it shows, how large it is, and what it says where something is missing."""

import pytest
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.conftest import Open, text
from tl_core.disk import remove
from tl_core.runs.store.folders import RunFolder
from tl_core.story.pictures import proposed
from ui.evaluate_page import story_dialog


@pytest.fixture
def run() -> RunFolder:
    """A run with three mistakes."""
    return records.run(records.dataset(), mistakes=(0, 1, 4))


def tell(open_page: Open, run: RunFolder) -> AppTest:
    app = open_page("pages/3_Evaluate.py", run=run.id)
    return app.button(key=f"story-{run.id}").click().run()


def test_the_owner_ticks_what_the_story_shows_up_to_its_most(
    open_page: Open, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story_dialog, "MOST_PICKED", 7)
    app = tell(open_page, run)
    assert "kB with 3 mistakes and 4 right answers as pictures" in text(app)
    assert "A story shows 7 answers at most" in text(app)
    boxes = [box for box in app.checkbox if box.key != f"story-names-{run.id}"]
    assert [box.disabled for box in boxes] == [not box.value for box in boxes]
    wrong = run.report().mistakes()[0]
    unticked = next(answer for answer in run.report().answers if answer not in proposed(run.report()))
    app = app.checkbox(key=f"story-{run.id}-{wrong.row}").uncheck().run()
    app = app.checkbox(key=f"story-{run.id}-{unticked.row}").check().run()
    assert "kB with 2 mistakes and 5 right answers as pictures" in text(app)
    app = app.checkbox(key=f"story-names-{run.id}").check().run()
    assert app.session_state["story"].names
    assert app.get("download_button")


def test_right_answers_that_come_next_are_of_all_classes(run: RunFolder) -> None:
    offered = story_dialog._right(run.report())
    first = proposed(run.report(), mistakes=0)
    assert offered[: len(first)] == first
    assert {answer.truth for answer in offered} == {0, 1, 2}
    assert sorted(offered, key=lambda answer: answer.row) == [
        answer for answer in run.report().answers if answer.truth == answer.predicted
    ]


def test_without_its_data_set_or_with_a_damaged_bundle_it_says_so(open_page: Open, run: RunFolder) -> None:
    remove(records.workspace().path / "datasets")
    app = tell(open_page, run)
    assert "the story has no pictures, and says so" in text(app)
    assert app.get("download_button")
    (run.bundle / "bundle.json").write_text("{}")
    app = app.button(key=f"story-{run.id}").click().run()
    assert any("is not a valid BundleInfo document" in error.value for error in app.error)
