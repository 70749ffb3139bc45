"""`rehearse`: its table, its JSON and its exit code."""

from __future__ import annotations

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


def _said(found: Rehearsal, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(rehearsal, "rehearse", lambda store, on_event: found)
    return main(["rehearse", *arguments])


def test_it_prints_each_step_the_whole_walk_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _said(READY, monkeypatch) == 0
    out, err = capsys.readouterr()
    rows = [line.split() for line in out.splitlines()]
    assert rows[2] == ["Read", "the", "pictures", "9.0", "s", "4.5", "s"]
    assert rows[4] == ["Together", "10.8", "s"]
    assert "Photographs are not here." in out
    assert "Ready to be shown" in out
    assert err == ""


def test_what_stands_in_the_way_is_said_with_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _said(FAILED, monkeypatch) == 2
    out, err = capsys.readouterr()
    assert [line.split()[-1] for line in out.splitlines()[3:5]] == ["failed", "tried"]
    assert "Together" not in out
    assert "Ready" not in out
    assert err.splitlines() == ["Train, the end of its log:", "  one", "  two", "Train: It died."]


def test_as_json_it_says_whether_it_is_ready_and_how_long_the_walk_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _said(READY, monkeypatch, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["ready"], said["walk_seconds"]) == (True, 10.75)
    assert said["steps"][1] == {"title": "Train", "first": 20.0, "again": 6.25, "problem": None, "log": ""}
    assert _said(FAILED, monkeypatch, "--json") == 2
    said = json.loads(capsys.readouterr().out)
    assert (said["ready"], said["walk_seconds"], said["problems"]) == (False, None, ["Train: It died."])
