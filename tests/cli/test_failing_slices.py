"""`slices`: where a run fails, as a table and as JSON."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Trained
from tl_core.cli import main
from tl_core.documents.arrays import OutOfFoldAnswers
from tl_core.runs.store.folders import RunFolder


def test_slices_says_which_pictures_fail_and_how_many_slices_were_looked_at(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAFT_STORE", str(trained.store))
    run = RunFolder(shutil.copytree(trained.run_dir, tmp_path / "run"))
    answers = run.out_of_fold()
    labels = np.repeat([0, 1, 2], 20)
    right = np.eye(3, dtype=np.float32)[labels]
    OutOfFoldAnswers(answers.rows, answers.probabilities, answers.c, right).write(run.out_of_fold_file)
    assert main(["slices", str(run.path)]) == 0
    said = capsys.readouterr().out
    assert said.startswith("No kind of picture fails more often than chance explains; ")
    assert "Judged by the cross-validated answers to all 60 pictures, 100 % right." in said

    wrong = np.arange(60) % 20 < 6
    labels[wrong] = (labels[wrong] + 1) % 3
    OutOfFoldAnswers(answers.rows, answers.probabilities, answers.c, np.eye(3, dtype=np.float32)[labels]).write(
        run.out_of_fold_file
    )
    assert main(["slices", str(run.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"judged_by", "images", "accuracy", "slices"}
    assert (found["judged_by"], found["images"], found["accuracy"]) == ("cross_validated", 60, 0.7)
    assert set(found["slices"][0]) == {
        "kind", "name", "detail", "images", "errors", "accuracy", "interval", "elsewhere", "p_value", "finding", "rows",
    }  # fmt: skip
    assert [one["p_value"] for one in found["slices"]] == sorted(one["p_value"] for one in found["slices"])
    assert all(
        bool(one["rows"]) == (one["p_value"] <= 0.05 and one["accuracy"] < one["elsewhere"]) for one in found["slices"]
    )


def test_slices_of_what_is_no_run_is_said_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["slices", str(tmp_path)]) == 2
    assert "has no result that could be looked at" in capsys.readouterr().err
