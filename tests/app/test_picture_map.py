"""The map of the pictures on the Data page."""

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.conftest import Open, press, text
from tl_core import locks
from tl_core.documents.report import Lookalikes
from tl_core.documents.tasks import PictureMap, PictureMapSpec
from tl_core.runs.store.folders import DatasetFolder
from ui import charts
from ui.workspace import BUG

DATA = "pages/1_Data.py"


def _mapped(data: DatasetFolder) -> None:
    """Three classes of 20 pictures in a row each; that in row 3 lies far from the others."""
    drawn = PictureMap(
        rows=tuple(range(60)),
        x=tuple(100.0 if row == 3 else row % 20 / 10 for row in range(60)),
        y=tuple(float(row // 20) for row in range(60)),
        other=(1,) * 20 + (0,) * 40,
        lookalikes=(Lookalikes(of_label=(1, 2), of_suggested=(30,)),) * 60,
    )
    records.asked(PictureMapSpec(workspace=records.TOKEN, dataset=data.id), drawn)


def _opened(app: AppTest, data: DatasetFolder) -> AppTest:
    app.session_state[f"map-{data.id}"] = True
    return app.run()


def _labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def test_a_class_can_be_looked_at_from_its_strangest_picture_on_and_taken_to_review(
    open_page: Open, data: DatasetFolder
) -> None:
    app = open_page(DATA, dataset=data.id)
    assert "Draw the map" not in _labels(app), "it is drawn only while it is open"
    assert "Draw the map" in _labels(_opened(app, data))
    _mapped(data)
    app = _opened(open_page(DATA, dataset=data.id), data)
    assert "Draw around some dots" in text(app)
    (classes,) = [box for box in app.multiselect if box.label == "Classes"]
    classes.select(0).run()
    assert "The 20 that lie farthest" in text(app)
    press(app, "Review 20 pictures")
    assert any(box.label == "20 pictures from the map" for box in app.expander)
    assert "Labelled **cup**. Of the other classes, **plate** has the most similar picture." in text(app)
    press(app, "Keep as cup")
    assert data.versions.gathered().keep == (data.manifest().images[3].file,), "the strangest comes first"
    press(app, "Done with these")
    assert "Look for wrong labels" in _labels(app)


def test_a_map_that_is_being_drawn_has_one_bar_on_the_page(open_page: Open, data: DatasetFolder) -> None:
    drawing = records.asked(PictureMapSpec(workspace=records.TOKEN, dataset=data.id))
    records.Status(state="running", started=1.0).write(drawing.path / "status.json")
    with locks.holding(drawing.lock):
        app = _opened(open_page(DATA, dataset=data.id), data)
    assert BUG not in [error.value for error in app.error]
    assert _labels(app).count("Cancel") == 1


@pytest.mark.parametrize(
    ("points", "rows"),
    [([], []), ([{"customdata": [7]}, {"customdata": [2]}, {"customdata": [7]}, {}], [2, 7])],
)
def test_what_is_selected_on_the_map_is_known_by_its_rows(points: list[dict[str, Any]], rows: list[int]) -> None:
    assert charts.selected_rows({"selection": {"points": points}}) == rows
    assert charts.selected_rows(None) == []


def test_a_class_keeps_its_colour_and_a_further_one_has_another_symbol() -> None:
    names = tuple(f"class {number}" for number in range(10))
    drawn = charts.picture_map(
        tuple(range(10)), (0.0,) * 10, (0.0,) * 10, tuple(range(10)), names, (1, 9), title="Map", drawn="one"
    )
    marks = {trace.name: (trace.marker.color, trace.marker.symbol) for trace in drawn.data if len(trace.x)}
    assert set(marks) == {"class 1", "class 9"}
    assert marks["class 1"][0] == marks["class 9"][0] == charts.CLASS_COLOURS[1]
    assert marks["class 1"][1] != marks["class 9"][1]
