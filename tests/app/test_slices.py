"""The Evaluate page says where a run fails: each finding with its interval and pictures, or that chance explains all."""

from tests.app import records
from tests.app.conftest import Open, text
from tl_core.documents.report import ImageAnswer, Slice
from tl_core.documents.tasks import RunSlices, SlicesSpec
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.tasks.subject import task_about


def _answered(run: RunFolder, *slices: Slice) -> None:
    records.asked(task_about(run, SlicesSpec), RunSlices(judged_by="test", images=90, accuracy=0.8, slices=slices))


def _slice(name: str, p_value: float, wrong: int, first: int = 0) -> Slice:
    answers = [
        ImageAnswer(row=first + row, truth=0, predicted=int(row < wrong), probability=0.9, truth_probability=0.1)
        for row in range(12)
    ]
    return Slice(
        kind="brightness",
        name=name,
        detail="up to 87 of 255 (mean grey)",
        images=12,
        errors=wrong,
        accuracy=1 - wrong / 12,
        interval=(0.2, 0.68),
        elsewhere=0.91,
        p_value=p_value,
        answers=tuple(answers) if p_value <= 0.05 else (),
    )


def test_it_is_looked_for_on_request(open_page: Open, run: RunFolder) -> None:
    app = open_page("pages/3_Evaluate.py", run=run.id)
    assert app.button(key=f"slices-{run.id}").label == "Look where it fails"


def test_a_finding_has_its_interval_and_its_pictures_wrong_ones_first(open_page: Open, run: RunFolder) -> None:
    _answered(
        run, _slice("dark *pictures*", 0.001, 7), _slice("darker pictures", 0.01, 6), _slice("light pictures", 0.9, 1)
    )
    app = open_page("pages/3_Evaluate.py", run=run.id)
    said = text(app).replace("\u202f", " ")
    assert (
        "**It fails more often on dark \\*pictures\\* \\(up to 87 of 255 \\(mean grey\\)\\).** 42 % right on 12 pictures (20 to 68 %)"
        in said
    )
    assert "darker pictures" not in said, "mostly the same pictures"
    assert "light pictures" not in said
    assert "add more such pictures" in said
    assert "(3 kinds of pictures looked at)" in said
    app.session_state[f"slice-{run.id}-0-box"] = True
    app = app.run()
    shown = [box.label for box in app.expander if "their answers" in box.label]
    assert shown == ["All 12 of them with their answers, the 7 wrong ones first"]


def test_what_chance_explains_is_no_finding(open_page: Open, run: RunFolder) -> None:
    _answered(run, _slice("dark pictures", 0.2, 7), _slice("light pictures", 0.9, 1))
    app = open_page("pages/3_Evaluate.py", run=run.id)
    said = text(app)
    assert "No kind of picture fails more often than chance explains (2 kinds looked at)." in said
    assert "right on 12" not in said
    assert not [box for box in app.expander if "their answers" in box.label]
