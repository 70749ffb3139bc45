"""Charts that are drawn while another session is the first to import what they need."""

import ast
import subprocess
import sys
from typing import Any

import pytest

from tests.app.conftest import ROOT
from tests.conftest import PATIENCE
from ui import charts


def test_pandas_is_whole_before_the_first_chart_is_drawn() -> None:
    code = "import sys, ui.charts; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split()[-1] == "True"


def test_of_very_many_classes_the_smallest_are_drawn_in_class_order_under_a_title_at_the_top() -> None:
    counts = {"train": [3 + (place % 100) for place in range(300)], "val": [1] * 300, "test": [1] * 300}
    figure = charts.class_counts([f"{place:03}" for place in range(300)], counts)
    assert figure.layout.title.text.replace("<br>", " ") == "5 to 104 pictures a class; the 40 smallest of 300"
    drawn = list(figure.layout.yaxis.ticktext)
    assert len(drawn) == charts.MOST_BARS
    assert drawn[:2] + drawn[13:16] == ["000", "001", "013", "100", "101"]
    assert list(figure.data[0].x[:2]) == [3, 4]
    # A share of the height put the title of a chart of this height onto its bars.
    assert figure.layout.template.layout.title.y == 1


def test_sizes_are_counted_in_steps_that_double_and_the_title_says_how_many_are_small() -> None:
    figure = charts.picture_sizes([8, 15, 16, 300, 511], seen=224)
    assert list(figure.data[0].x) == ["8 to 15", "16 to 31", "32 to 63", "64 to 127", "128 to 255", "256 to 511"]
    assert list(figure.data[0].y) == [2, 1, 0, 0, 0, 2]
    assert figure.layout.title.text.replace("\u202f", " ") == "60 % have less than 224 pixels"
    assert charts.picture_sizes([300, 511], seen=224).layout.title.text == "Every picture has 224 pixels or more"


def test_every_chart_is_saved_by_one_button_under_a_name_that_says_what_it_shows() -> None:
    asked = []
    for file in [*ROOT.joinpath("ui").rglob("*.py"), *ROOT.joinpath("pages").glob("*.py")]:
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)]
        asked += [
            file.name for call in calls if call.attr in ("plotly_chart", "altair_chart", "vega_lite_chart", "pyplot")
        ]
    assert asked == ["charts.py"], "a chart that is drawn in another way has no such button"


def test_a_chart_is_saved_as_png_of_double_size_named_by_its_title(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}
    monkeypatch.setattr(charts.st, "plotly_chart", lambda figure, **how: told.update(how))
    figure = charts.stage_bars(
        ["<stem>"], [0.5], [True], title="&lt;stem&gt; moved most of all stages of the network by far"
    )
    assert figure.layout.title.text == "&lt;stem&gt; moved most of all stages<br>of the network by far"
    assert figure.layout.margin.t > 44, "a second line of the title has room"
    charts.show(figure, key="moved", alt="Stages")
    assert told["config"]["toImageButtonOptions"] == {
        "format": "png",
        "scale": 2,
        "filename": "stem-moved-most-of-all-stages-of-the-net",
    }
    assert told["config"]["modeBarButtons"] == [["toImage"]]
    charts.show(figure, key="moved", alt="Stages", lasso=True, on_select="rerun")
    assert told["config"]["modeBarButtons"] == [["lasso2d", "select2d", "toImage"]]
    assert told["on_select"] == "rerun"
