"""`rehearse`: its table, its JSON and its exit code."""

import json

import pytest

from tl_core.cli import main
from tl_core.documents.rehearsed import Rehearsal, RehearsedStep
from tl_core.runs import rehearsal

READY = Rehearsal(
    sample="digits",
    title="Handwritten digits",
    machine="two cores",
    steps=(
        RehearsedStep(title="Read the pictures", first=9.04, again=4.5),
        RehearsedStep(title="Train", first=20.0, again=6.25),
    ),
    problems=(),
    missing=("Photographs are not here.",),
)
FAILED = READY.model_copy(
    update={
        "steps": (
            RehearsedStep(title="Read the pictures", first=9.04, again=4.5),
            RehearsedStep(title="Train", first=20.0, problem="It died.", log="one\ntwo\n"),
            RehearsedStep(title="First answers"),
        ),
        "problems": ("Train: It died.",),
    }
)


@pytest.mark.parametrize("json_wanted", [False, True])
@pytest.mark.parametrize("report", [READY, FAILED])
def test_it_tells_each_step_the_whole_walk_and_what_stands_in_the_way(
    report: Rehearsal, json_wanted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rehearsal, "rehearse", lambda store, on_event: report)
    assert main(["rehearse", *["--json"] * json_wanted]) == (0 if report.ready else 2)
    out, err = capsys.readouterr()
    assert err.splitlines() == (
        [] if report.ready else ["Train, the end of its log:", "  one", "  two", "Train: It died."]
    )
    if json_wanted:
        said = json.loads(out)
        assert (said["ready"], said["walk_seconds"]) == ((True, 10.75) if report.ready else (False, None))
        assert said["steps"][0] == {
            "title": "Read the pictures",
            "first": 9.04,
            "again": 4.5,
            "problem": None,
            "log": "",
        }
        return
    rows = [line.split() for line in out.splitlines()]
    assert rows[2] == ["Read", "the", "pictures", "9.0", "s", "4.5", "s"]
    assert rows[4] == (["Together", "10.8", "s"] if report.ready else ["First", "answers", "not", "tried"])
    assert rows[3][-1] == ("s" if report.ready else "failed")
    assert "Photographs are not here." in out
    assert ("Ready to be shown" in out) == report.ready
