"""What the terminal shows: bars and messages on stderr, nothing that could steer it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.cli.conftest import ROOT, Terminal, command, environment
from tests.conftest import PATIENCE, until
from tl_core.cli import printing, service
from tl_core.documents.events import EpochEnded, Notice, Progress, StageStarted


def test_a_name_from_a_user_cannot_steer_the_terminal() -> None:
    assert printing.printable("a\x1b[31m\nb\x00") == "a\\x1b[31m\\nb\\x00"
    assert printing.printable("Äpfel 猫 [bold]") == "Äpfel 猫 [bold]"


def test_a_table_shows_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    printing.table(["name", "pictures"], [["[red]cat[/red]", "3"], ["dog\n", "12"]])
    out = capsys.readouterr().out
    assert "[red]cat[/red]" in out
    assert "dog\\n" in out


def test_events_go_to_stderr_and_stdout_stays_empty(capsys: pytest.CaptureFixture[str]) -> None:
    with printing.Bars() as bars:
        bars(StageStarted(stage="reading", title="Reading pictures"))
        bars(Progress(stage="reading", done=3, total=9, seconds_left=2.0, images_per_second=3.0))
        bars(Notice(message="One class is small."))
        bars(StageStarted(stage="training", title="Training"))
        epoch = {"train_loss": 0.5, "train_accuracy": 0.8, "val_loss": 0.6, "val_accuracy": 0.75, "learning_rate": 0.1}
        bars(EpochEnded(epoch=1, epochs=2, best=True, **epoch))
    out, err = capsys.readouterr()
    assert out == ""
    for said in ("Reading pictures", "One class is small.", "Training", "epoch 1 of 2", "75 %"):
        assert said in err


def test_a_terminal_gets_bars(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    with printing.Bars() as bars:
        bars(StageStarted(stage="reading", title="Reading [pictures]"))
        bars(Progress(stage="reading", done=3, total=9, seconds_left=2.0, images_per_second=3.0))
        shown: list[str] = []

        def drawn() -> bool:
            out, err = capsys.readouterr()
            assert out == ""
            shown.append(err)
            return "3 of 9" in "".join(shown)

        until(drawn)
    assert "Reading [pictures]" in "".join(shown)


def test_a_line_that_becomes_shorter_stays_one_line_in_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "140")
    with printing.Bars() as bars:
        for before in ("3 jobs are", "2 jobs are", "one job is"):
            bars(StageStarted(stage="waiting", title=f"Waiting for its turn: {before} before it"))
        bars(StageStarted(stage="training", title="Training"))
    capsys.readouterr()
    assert [task.description for task in bars._progress.tasks] == [
        "Waiting for its turn: one job is before it",
        "Training",
    ]


def test_what_is_wrong_with_executor_and_login_is_said_before_the_app_is_called_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, terminal: Terminal
) -> None:
    monkeypatch.chdir(tmp_path)  # which also undoes that the command goes to its own folder
    for name, value in {"EXECUTOR": "slurm", "LOGIN": "openid", "FREE_GB": "1", "STORES": "/data"}.items():
        monkeypatch.setenv(f"GRAFT_{name}", value)
    said = terminal.err("app")
    assert "Graft is starting" not in said
    for words in (
        "GRAFT_STORES is no setting",
        "executor (setting GRAFT_EXECUTOR) called 'slurm'",
        "GRAFT_LOGIN is openid",
        "secrets.toml",
    ):
        assert words in said
    assert "\\" not in said
    monkeypatch.setattr(service, "find_spec", lambda name: None)
    assert "pip install authlib httpx" in terminal.err("app")


def test_a_taken_port_is_said_in_words(terminal: Terminal) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        out, err = terminal.run(["app", "--port", port, "--json"], 2)
    assert json.loads(out)["error"]["kind"] == "spec"
    assert f"port {port}" in err


def test_app_sweeps_idle_workspaces_and_serves_until_it_is_told_to_stop(store: Path, tmp_path: Path) -> None:
    idle = store / "workspaces" / ("0" * 32)
    (idle / "staging" / ("0" * 16)).mkdir(parents=True)
    os.utime(idle, (time.time() - 3 * 86_400,) * 2)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            command("app", "--port", str(port), "--json"), cwd=tmp_path,
            env=environment(store, {"PYTHONPATH": str(ROOT), "GRAFT_KEEP_DAYS": "2"}),
            stdout=out, stderr=err,
        )  # fmt: skip
        try:
            _wait_until_healthy(port, process)
        finally:
            process.terminate()
            assert process.wait(timeout=PATIENCE) == 0
    assert not idle.exists()
    printed = json.loads((tmp_path / "out").read_text())
    assert printed == {"url": f"http://127.0.0.1:{port}", "store": str(store)}


def _wait_until_healthy(port: int, process: subprocess.Popen[bytes]) -> None:
    def healthy() -> bool:
        assert process.poll() is None, f"{sys.executable} ended with {process.returncode}"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=PATIENCE) as answer:
                return bool(answer.read() == b"ok")
        except OSError:
            return False

    until(healthy)
