"""`race` through the command line: its leaderboard, and what it says before anything is read."""

import json
from collections.abc import Generator
from functools import partial
from pathlib import Path

import pytest

from tests.cli.conftest import Trained
from tests.runs.executors import InProcess
from tests.runs.scratch import judge
from tl_core.cli import main
from tl_core.cli.train import seconds
from tl_core.documents.events import EpochEnded, Event, StageStarted
from tl_core.errors import SpecError
from tl_core.runs.ingest_job import ingest_job
from tl_core.runs.race_job import race_job
from tl_core.runs.store.folders import RunFolder


def _contestant(run: RunFolder) -> Generator[Event, None, None]:
    """A head that is right about nine of ten, and stages that are not."""
    yield StageStarted(stage="training", title="Training")
    if run.spec().strategy == "feature_extraction":
        judge(run)
        return
    for epoch in range(1, 5):
        yield EpochEnded(
            epoch=epoch, epochs=4, train_loss=1, train_accuracy=0, val_loss=1, val_accuracy=0.0, learning_rate=1, best=True
        )  # fmt: skip


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = InProcess({"ingest": ingest_job, "race": partial(race_job, train=_contestant)})
    monkeypatch.setattr("tl_core.runs.process.executor.chosen", lambda: executor)


@pytest.mark.usefixtures("here")
def test_a_race_prints_its_leaderboard(trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "race",
        str(trained.data),
        "--strategies",
        "full_fine_tuning,feature_extraction",
        "--budget",
        "100h",
        "--seed",
        "3",
    ]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    first, second = found["rows"]
    assert (found["budget"], found["val_images"], found["test_images"]) == (360_000, 9, 9)
    assert (first["strategy"], first["state"], first["val_accuracy"], first["test_accuracy"]) == (
        "feature_extraction",
        "done",
        0.9,
        1.0,
    )
    assert RunFolder(Path(first["run_dir"])).report().test.accuracy == 1.0
    said = "Stopped after epoch 2 of 4: at best 0% on 9 validation pictures, where the leader has 90%."
    assert found["first_against"] == [], "the other one has no answers to the test"
    assert (second["state"], second["reason"], second["epochs"], second["test_accuracy"]) == ("stopped", said, 2, None)
    assert main(words) == 0
    out = capsys.readouterr().out
    assert f"full_fine_tuning on efficientnet_lite0: {said}" in out
    assert "9 validation pictures, which chose" in out


def test_what_is_wrong_with_a_race_is_said_at_once(
    trained: Trained, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["race", str(trained.data), "--seed", "x", "--json"]
    assert main(words) == 2
    words = ["race", str(trained.data), "--strategies", "lp_ftt,feature_extraction,lora", "--budget", "0s", "--json"]
    assert main(words) == 2
    said = json.loads(capsys.readouterr().out.partition("}\n}\n")[2])["error"]["message"]
    assert "'lp_ftt'" in said
    assert "The budget of a race is 0 seconds" in said
    assert said.count("lora") >= 1
    assert main(["race", str(trained.data), "--strategies", "lp_ft"]) == 2
    assert "A race is of 2 to 20 runs, and this would be 1." in capsys.readouterr().err
    assert not list(store.glob("workspaces/*/*/*"))


def test_a_budget_is_read_as_people_write_it() -> None:
    assert [seconds(given) for given in ("90", "90s", "10m", " 1.5 min", "1h")] == [90, 90, 600, 90, 3600]
    for wrong in ("", "soon", "-1m", "10 weeks"):
        with pytest.raises(SpecError, match="is no time"):
            seconds(wrong)
