"""Exit codes and what is said with them: 2 what the user can mend, at once, before any picture is read; 130 cancelled, 1 a dead worker or a bug."""

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.cli.conftest import ROOT, Terminal, Trained, command, environment
from tests.conftest import PATIENCE, PictureFolder, until
from tl_core import cli
from tl_core.cli import main
from tl_core.models.graphs.export import backbone_key
from tl_core.models.registry import network
from tl_core.runs.store.store import Store


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        (["train", "sample:cats"], "unknown_name", "digits"),
        (["train", "/no/such/folder"], "not_found", "/no/such/folder"),
        (["train", "{file}"], "spec", "neither a folder nor a zip"),
        (["train", "{data}", "--backbone", "resnet9000"], "unknown_name", "resnet50"),
        (["train", "{data}", "--strategy", "magic"], "unknown_name", "feature_extraction"),
        (["train", "{data}", "--epochs", "0"], "spec", "epochs"),
        (["train", "{data}", "--seed", "-1"], "spec", "seed"),
        (["train", "{data}", "--image-size", "5"], "spec", "image size"),
        (["train", "{data}", "--weights", "best"], "unknown_name", "efficientnet_lite0"),
        (["train", "{data}", "--learning-rate", "0"], "spec", "learning rate"),
        (["train", "{data}", "--strategy", "lora"], "spec", "transformer"),
        (["train", "{data}", "--classes", "second"], "unknown_name", "innermost"),
        (["train", "{data}", "--out", "{data}"], "not_empty", "holds something"),
        (["train", "{data}", "--workspace", "../../etc"], "not_found", "token"),
        (["train", "{data}", "--workspace", "@{nothing}/token"], "not_found", "Write the workspace's token into it"),
        (["train", "{data}", "--workspace", "@{data}"], "spec", "Is a directory"),
        (["train", "{data}", "--workspace", "@{file}"], "spec", "notes.txt holds no workspace's token"),
        (["train", "{data}", "--device", "tpu"], "unknown_name", "cuda"),
        (["train", "{one}"], "layout", "class"),
        (["train", "{few}"], "not_enough_images", "few"),
        (["train", "{nothing}"], "layout", ""),
        (["train", "a" * 5000], "file_system", "too long"),
        (["check", "/no/such/folder"], "not_found", "/no/such/folder"),
        (["check", ""], "not_found", "empty"),
        (["predict", "", "{file}"], "not_found", "empty"),
        (["predict", "{data}", ""], "not_found", "empty"),
        (["predict", "{data}", "{file}"], "bundle", ""),
        (["predict", "/no/such/run", "{file}"], "not_found", "/no/such/run"),
        (["export", "{data}", "--out", "{new}.zip"], "bundle", ""),
        (["evaluate", "/no/such/run", "{data}"], "not_found", "/no/such/run"),
        (["train", "{data}", "--out", "{file}/run"], "spec", "notes.txt"),
        (["frobnicate"], "usage", "frobnicate"),
        (["train"], "usage", "DATA"),
        (["train", "{data}", "--seed", "x"], "usage", "--seed"),
    ],
)
def test_what_the_user_can_mend_is_one_line_and_exit_2(
    arguments: list[str],
    kind: str,
    said: str,
    tmp_path: Path,
    store: Path,
    picture_folder: PictureFolder,
    capfd: pytest.CaptureFixture[str],
) -> None:
    places = {
        "data": picture_folder(),
        "one": picture_folder({"one": 8}, root=tmp_path / "one"),
        "few": picture_folder({"many": 8, "few": 4}, root=tmp_path / "few"),
        "nothing": tmp_path / "nothing",
        "file": tmp_path / "notes.txt",
        "new": tmp_path / "new.zip",
    }
    places["nothing"].mkdir()
    places["file"].write_text("no zip")
    filled = [part.format_map({name: str(path) for name, path in places.items()}) for part in arguments]
    assert main([*filled, "--json"]) == 2
    out, err = capfd.readouterr()
    error = json.loads(out)["error"]
    assert error["kind"] == kind
    assert said in error["message"]
    assert "Traceback" not in err
    assert error["message"].splitlines()[0] in err
    assert nobody_works(store)


@pytest.mark.parametrize("words", [["train", "sample:digits"], ["prepare"], ["app", "--port", "1"]])
@pytest.mark.parametrize("place", ["store.txt", "/proc/graft", "/dev/null/graft"])
def test_a_store_that_cannot_be_is_said_in_words(
    words: list[str], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: Terminal
) -> None:
    (tmp_path / "store.txt").write_text("x")
    monkeypatch.setenv("GRAFT_STORE", str(tmp_path / place))
    out, err = terminal.run([*words, "--json"], 2)
    assert "GRAFT_STORE" in json.loads(out)["error"]["message"]
    assert "Traceback" not in err


def test_without_json_the_line_stands_on_stderr_alone(terminal: Terminal) -> None:
    out, err = terminal.run(["train", "sample:cats"], 2)
    assert out == ""
    assert len(err.splitlines()) == 1


@pytest.mark.usefixtures("in_process")
def test_what_failed_leaves_nothing_in_the_way_of_the_next_try(
    store: Path, tmp_path: Path, picture_folder: PictureFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "no-weights"))
    # No proxy listens there, so the weights cannot be fetched from this test, wherever it runs.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    out = tmp_path / "run"
    assert main(["train", str(picture_folder()), "--backbone", "resnet18", "--out", str(out)]) == 2
    assert not out.exists()
    assert not list(store.glob("workspaces/*/*/*"))


def test_a_bug_is_exit_1_and_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, terminal: Terminal) -> None:
    monkeypatch.setattr(cli.training.api, "train", Mock(side_effect=ZeroDivisionError("boom")))
    out, err = terminal.run(["train", "sample:digits", "--json"], 1)
    assert json.loads(out)["error"]["kind"] == "bug"
    assert "Traceback" in err


@contextmanager
def training(store: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`train sample:digits --json` in a process of its own, once its worker is at work."""
    # A shell may have started the tests with SIGINT ignored, which a child would inherit.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        command("train", "sample:digits", "--json", *arguments),
        cwd=ROOT,
        env=environment(store),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, before)
    try:
        assert process.stderr.readline(), "it ended before its first stage"
        yield process
    finally:
        process.kill()
        process.wait()


def nobody_works(store: Path) -> bool:
    return not any(workspace.live() for workspace in Store(store).workspaces())


def test_ctrl_c_cancels_the_job_and_exits_130(store: Path) -> None:
    with training(store) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert json.loads(out)["error"]["kind"] == "cancelled"
    assert "Traceback" not in err
    until(lambda: nobody_works(store))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the worker through Linux's /proc")
def test_a_killed_worker_is_exit_1_in_words(store: Path) -> None:
    with training(store) as process:
        (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(worker), signal.SIGKILL)
        out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    error = json.loads(out)["error"]
    assert error["kind"] == "worker_died"
    assert error["message"] in err
    assert "Traceback" not in err


def test_a_killed_command_leaves_no_worker(store: Path) -> None:
    with training(store) as process:
        process.kill()
        process.wait()
        until(lambda: nobody_works(store))


def test_a_reader_that_goes_away_is_no_traceback(trained: Trained) -> None:
    process = subprocess.Popen(
        command("predict", trained.run_dir, *[trained.data] * 40),
        cwd=ROOT,
        env=environment(trained.store),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_bug(store: Path, picture_folder: PictureFolder, closed: str) -> None:
    words = shlex.join(command("train", picture_folder({"cat": 5}), "--out", store.parent / "out"))
    done = subprocess.run(
        ["sh", "-c", f"{words} {closed}"], cwd=ROOT, env=environment(store), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert ("There is one class only" in done.stderr) == ("2>" not in closed)


@pytest.mark.parametrize("words", [["samples"], ["samples", "--json"]])
def test_a_full_disk_behind_the_output_is_one_line(store: Path, words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command(*words),
            cwd=ROOT,
            env=environment(store),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr.startswith("No space left on device.")
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_while_modules_are_read_is_no_traceback(store: Path) -> None:
    program = (
        "import runpy, sys; sys.modules['tl_core.cli'] = Early(); runpy.run_module('tl_core', run_name='__main__')"
    )
    early = "class Early:\n    def __getattr__(self, name): raise KeyboardInterrupt\n"
    done = subprocess.run(
        [*command()[:1], "-c", early + program],
        cwd=ROOT,
        env=environment(store),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_a_wrong_option_is_found_before_any_picture_is_read(
    store: Path, picture_folder: PictureFolder, terminal: Terminal
) -> None:
    wrong = {
        "--weights": "w", "--strategy": "y", "--solver": "z", "--epochs": "0", "--stages": "99", "--device": "tpu",
        "--classes": "second", "--learning-rate": "0", "--optimizer": "luck", "--augmentation": "wild", "--clip": "-1",
    }  # fmt: skip
    said = terminal.err("train", str(picture_folder()), *(word for pair in wrong.items() for word in pair))
    for part in ("'w'", "'y'", "'z'", "epochs", "99", "'tpu'", "'second'", "rate is 0", "'luck'", "'wild'", "clipping"):
        assert part in said
    assert not list(store.rglob("datasets"))


def test_a_missing_folder_is_said_with_whatever_else_is_wrong(store: Path, tmp_path: Path, terminal: Terminal) -> None:
    (tmp_path / "notes.txt").write_text("taken")
    wrong = ["--strategy", "y", "--epochs", "0", "--out", str(tmp_path)]
    for name, words, parts in (
        ("train", wrong, ("'y'", "epochs", "holds something")),
        ("find-rate", wrong[:2], ("'y'",)),
        ("rank", ["--device", "tpu"], ("'tpu'",)),
    ):
        said = terminal.err(name, "/no/such/folder", *words)
        for part in ("/no/such/folder", *parts):
            assert part in said


def test_weights_that_cannot_be_brought_are_said_before_any_picture_is_read(
    store: Path,
    tmp_path: Path,
    picture_folder: PictureFolder,
    monkeypatch: pytest.MonkeyPatch,
    terminal: Terminal,
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-weights"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    arguments = ["train", str(picture_folder()), "--backbone", "vit_small_patch14_dinov2", "--epochs", "0"]
    said = terminal.err(*arguments)
    assert "HF_HUB_OFFLINE" in said
    assert "epochs" in said
    assert not list(store.rglob("datasets"))
    assert "HF_HUB_OFFLINE" not in terminal.err(*arguments, "--strategy", "from_scratch")
    # The head alone on a backbone that was exported before needs no weights.
    key = backbone_key(network("vit_small_patch14_dinov2"), None, 224)
    (store / "cache" / "backbones" / key).mkdir(parents=True)
    assert "HF_HUB_OFFLINE" not in terminal.err(*arguments)
    assert "HF_HUB_OFFLINE" in terminal.err(*arguments, "--strategy", "lora")
