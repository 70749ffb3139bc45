"""The checkpoint of a run: what it costs, what it survives, and that what follows is what would have followed."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import lend, until
from tests.runs.conftest import NO_SPACE, SIZE, SMALL, TOKEN, checkpoint, failure, kill, notices, titles
from tests.runs.executors import InProcess, by
from tests.training.twin import finish
from tl_core.cli import main
from tl_core.documents.events import EpochEnded, Event, Resumed
from tl_core.errors import DocumentError, NotFound, SpecError
from tl_core.runs.process import local
from tl_core.runs.process.run_job import JobFunction
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.store.store import Store
from tl_core.runs.train import fine_tune
from tl_core.runs.train.fine_tune import SHARE, Checkpoints
from tl_core.runs.train_job import train_job
from tl_core.runs.worker import JOBS
from tl_core.serving.predictor import Predictor
from tl_core.training.loop.fit import Reached

HERE = InProcess(JOBS)
RunOf = Callable[[str], RunFolder]


class Killed(BaseException):
    """Stands for the end of a worker without a word."""


def _killed_after(epoch: int) -> JobFunction:
    """The job of a run whose worker ends in the middle of what follows `epoch`."""

    def work(run: RunFolder) -> Iterator[Event]:
        for event in train_job(run):
            yield event
            if isinstance(event, EpochEnded) and event.epoch == epoch + 1:
                raise Killed

    return work


RECIPES: dict[str, dict[str, object]] = {
    "views": {"strategy": "partial_fine_tuning", "stages": 2, "augmentation": "light", "views": 3},
    "stages join": {"strategy": "gradual_unfreezing", "ema": 0.8},
}
KILLED_AFTER = {"views": 2, "stages join": 3}
SLOW_JOIN = pytest.param("stages join", marks=pytest.mark.slow)
COMMON: dict[str, object] = {"backbone": SMALL, "image_size": SIZE, "device": "cpu", "epochs": 5}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, kept: Path, kept_run: Path) -> Callable[[str], Path]:
    """`trained("views")` is the store of the pets with two runs of that recipe: one to its end, and one whose worker ended before."""

    @cache
    def of(recipe: str) -> Path:
        root = tmp_path_factory.mktemp("checkpoints")
        lend(kept_run / "store", root)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GRAFT_STORE", str(root))
            patch.setenv("GRAFT_WEIGHTS_DIR", str(kept / "weights"))
            patch.setattr(fine_tune, "SHARE", 1.0)
            workspace = Store(root).workspace(TOKEN)
            (pets,) = workspace.datasets()
            for does, name in ((train_job, "whole"), (_killed_after(KILLED_AFTER[recipe]), "killed")):
                options = {"name": f"{recipe}, {name}", **COMMON, **RECIPES[recipe]}
                by(InProcess({"train": does}), jobs.submit_training, workspace, pets, **options)
        return root

    return of


@pytest.fixture
def run_of(
    trained: Callable[[str], Path], kept: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], RunFolder]:
    """This test's own copy of one of those runs, by its name: "views, whole"."""
    monkeypatch.setenv("GRAFT_WEIGHTS_DIR", str(kept / "weights"))

    def found(name: str) -> RunFolder:
        workspace = Store(store).workspace(TOKEN)
        if not workspace.runs():
            lend(trained(name.partition(",")[0]), store)
        return next(run for run in workspace.runs() if run.name == name)

    return found


def _curve(run: RunFolder) -> list[EpochEnded]:
    """The epochs of `run` as a page shows them: what is said again counts once."""
    found: dict[int, EpochEnded] = {}
    for event in run.events()[0]:
        if isinstance(event, EpochEnded):
            found[event.epoch] = event.model_copy(update={"time": 0})
    return list(found.values())


def _require_same(run: RunFolder, whole: RunFolder) -> None:
    """The same curve, report and weights, bit for bit, and the same answers of the graph, which another process writes otherwise."""
    assert run.status().state == "succeeded", run.log()
    assert _curve(run) == _curve(whole)
    assert run.report() == whole.report()
    mine, other = (load_file(one.bundle / "model.safetensors") for one in (run, whole))
    assert all(torch.equal(tensor, other[name]) for name, tensor in mine.items())
    pictures = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
    mine, other = (Predictor(one.bundle).logits(pictures) for one in (run, whole))
    assert np.allclose(mine, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["views", SLOW_JOIN])
def test_a_run_that_was_killed_goes_on_to_the_same_bundle(
    run_of: RunOf, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    whole, run, epoch = run_of(f"{name}, whole"), run_of(f"{name}, killed"), KILLED_AFTER[name]
    assert run.can_resume()
    assert run.checkpoint().epoch == epoch
    before = run.status().seconds
    if name == "stages join":
        # It was killed once more, while it was cancelled, in its way to be finished with the best so far.
        run.status_file.unlink()
        run.cancel_file.touch()
        run.finish_file.touch()
        assert run.status().state == "cancelled"
    half = run.path / ".checkpoint.safetensors.0a1b2c3d"
    half.write_bytes(b"half")
    assert by(HERE, main, ["resume", str(run.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["test_accuracy"] == whole.report().test.accuracy
    assert told["seconds"]["training"] > before["training"]
    _require_same(run, whole)
    assert (run.bundle / "model.onnx").read_bytes() == (whole.bundle / "model.onnx").read_bytes()
    status = run.status()
    assert status.resumed.epoch == epoch
    assert status.seconds["total"] > before["total"] > 0
    assert not any(file.exists() for file in (half, run.checkpoint_file, whole.checkpoint_file))
    assert titles(run).count("Fitting the last layer") == 1, "the head is in the checkpoint"
    with pytest.raises(SpecError, match="ended well"):
        jobs.go_on(run)


@pytest.mark.slow
@pytest.mark.parametrize("epoch", range(1, 6))
def test_a_worker_that_was_killed_leaves_no_trace_once_the_command_has_gone_on(
    run_of: RunOf, capsys: pytest.CaptureFixture[str], epoch: int
) -> None:
    whole = run_of("views, whole")
    workspace = Store.default().workspace(TOKEN)
    (pets,) = workspace.datasets()
    run = jobs.submit_training(workspace, pets, **COMMON, **RECIPES["views"])
    until(lambda: run.checkpoint_file.is_file() and any(point.epoch == epoch for point in _curve(run)))
    kill(local._workers[run.path].pid, run)
    assert main(["resume", str(run.path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    _require_same(run, whole)
    (resumed,) = (event for event in run.events()[0] if isinstance(event, Resumed))
    assert 1 <= resumed.epoch <= epoch
    assert told["test_accuracy"] == whole.report().test.accuracy
    assert told["seconds"]["training"] > resumed.seconds["training"] > 0


def test_a_run_can_begin_anew(run_of: RunOf) -> None:
    run = run_of("views, killed")
    by(HERE, jobs.go_on, run, "nothing")
    _require_same(run, run_of("views, whole"))
    (resumed,) = (event for event in run.events()[0] if isinstance(event, Resumed))
    assert (resumed.epoch, resumed.seconds["total"]) == (None, 0)


@pytest.mark.parametrize("lacking", ["checkpoint", "best"])
def test_without_its_state_a_run_cannot_go_on(run_of: RunOf, lacking: str) -> None:
    run = run_of("views, killed")
    (run.checkpoint_file if lacking == "checkpoint" else run.best).unlink()
    with pytest.raises(NotFound, match="Start it again"):
        jobs.go_on(run)
    assert run.status().state == "failed"


@pytest.mark.parametrize("damage", ["noise", "half", "empty", "another file"])
def test_a_damaged_checkpoint_is_said_in_words_before_a_job_is_made(run_of: RunOf, damage: str) -> None:
    run = run_of("views, killed")
    file, content = run.checkpoint_file, run.checkpoint_file.read_bytes()
    file.unlink()
    if damage == "another file":
        save_file({"weights/head": torch.zeros(1)}, file)
    else:
        file.write_bytes({"noise": b"noise" * 9, "half": content[: len(content) // 2], "empty": b""}[damage])
    with pytest.raises(DocumentError, match=r"cannot be used, so it cannot go on.*start it again"):
        jobs.go_on(run)
    assert run.status().state == "failed"
    assert run.can_finish()


def test_the_checkpoint_of_another_network_ends_the_run_in_words(run_of: RunOf) -> None:
    run = run_of("views, killed")
    text = run.checkpoint().model_dump_json()
    run.checkpoint_file.unlink()
    save_file({"weights/head": torch.zeros(1)}, run.checkpoint_file, metadata={"checkpoint": text})
    by(HERE, jobs.go_on, run)
    assert failure(run).kind == "document"
    assert "cannot be used, so it cannot go on" in failure(run).message


def test_without_its_pictures_a_run_cannot_go_on_and_stays_as_it_was(run_of: RunOf) -> None:
    run = run_of("views, killed")
    (pets,) = Store.default().workspace(TOKEN).datasets()
    pets.delete()
    before = {path: path.stat().st_mtime_ns for path in run.path.iterdir()}
    with pytest.raises(NotFound, match="pictures of this run were deleted"):
        jobs.go_on(run)
    assert {path: path.stat().st_mtime_ns for path in run.path.iterdir()} == before
    assert run.can_resume()


def test_another_version_of_pytorch_and_another_device_are_said(run_of: RunOf) -> None:
    reached = run_of("views, killed").checkpoint()
    assert fine_tune.differences(reached, "cpu") is None
    message = fine_tune.differences(reached.model_copy(update={"torch": "2.0.0"}), "cuda")
    assert "on 'cuda' (before: 'cpu')" in message
    assert "(before: 2.0.0)" in message


def test_what_a_killed_worker_was_writing_is_removed_and_what_it_had_written_stays(run_of: RunOf) -> None:
    run = run_of("views, killed")
    before = {path.name for path in run.path.iterdir()}
    for name in (".checkpoint.safetensors.0a1b2c3d", ".best.safetensors.0a1b2c3d"):
        (run.path / name).write_bytes(b"half")
    run.tidy()
    assert {path.name for path in run.path.iterdir()} == before
    assert run.can_resume()


def test_only_what_learns_is_written(run_of: RunOf) -> None:
    run = run_of("views, killed")
    weights = [name for name in load_file(run.checkpoint_file) if name.startswith("weights/")]
    assert 0 < len(weights) < len(load_file(run.best)) / 2


@pytest.mark.parametrize("name", ["views", SLOW_JOIN])
def test_a_run_that_trains_on_begins_where_the_other_was_best(run_of: RunOf, name: str) -> None:
    whole = run_of(f"{name}, whole")
    before, split, weights = _curve(whole), whole.split_file.read_bytes(), whole.bundle / "model.safetensors"
    best = min(before, key=lambda point: point.val_loss)
    delivered = load_file(weights)

    def after_the_other_is_gone(run: RunFolder) -> Iterator[Event]:
        whole.delete()
        assert run.start_file.is_file()
        yield from train_job(run)

    run = by(InProcess({"train": after_the_other_is_gone}), jobs.train_on, whole, epochs=2)
    assert run.status().state == "succeeded", run.log()
    assert not whole.exists
    first, *others = _curve(run)
    assert [point.epoch for point in others] == [1, 2]
    # What was kept of stages that were still frozen then has half precision.
    assert first.val_loss == (best.val_loss if name == "views" else pytest.approx(best.val_loss, abs=1e-3))
    assert first.val_accuracy == best.val_accuracy
    assert run.split_file.read_bytes() == split
    spec = run.spec()
    assert (spec.continues, spec.epochs, spec.version) == (whole.id, 2, 1)
    assert not run.start_file.exists()
    assert not any(said.startswith("From epoch") for said in notices(run)), "all stages have joined already"
    moved = load_file(run.bundle / "model.safetensors")
    assert any(not torch.equal(tensor, delivered[key]) for key, tensor in moved.items()) == any(p.best for p in others)


@pytest.mark.slow
def test_a_run_that_trains_on_can_be_interrupted_like_any_other(run_of: RunOf) -> None:
    run = by(InProcess({"train": _killed_after(1)}), jobs.train_on, run_of("stages join, whole"), epochs=3)
    assert run.status().state == "failed"
    assert run.start_file.is_file()
    by(HERE, jobs.go_on, run)
    assert run.status().state == "succeeded", run.log()
    assert [point.epoch for point in _curve(run)] == [0, 1, 2, 3]


def test_what_cannot_be_trained_on_says_why(run_of: RunOf, capsys: pytest.CaptureFixture[str]) -> None:
    killed, head = run_of("views, killed"), run_of("Pets")
    whole = run_of("views, whole")
    for run, epochs, words in (
        (head, 3, "more epochs would not change it"),
        (killed, 3, "Go on with this one"),
        (whole, 0, "epochs is 0"),
    ):
        assert main(["train-on", str(run.path), "--epochs", str(epochs)]) == 2
        assert words in capsys.readouterr().err
    (whole.bundle / "model.safetensors").unlink()
    with pytest.raises(NotFound, match="What this run delivered is gone"):
        jobs.train_on(whole, epochs=3)


def _state(epoch: int) -> Reached:
    return Reached(checkpoint(epoch), {"weights/head": torch.arange(1000.0)}, {})


def test_writing_takes_a_small_share_of_the_time(tmp_path: Path) -> None:
    """Epochs of a second, of which a checkpoint takes a tenth."""
    run, now = RunFolder(tmp_path), 0.0

    def state() -> Reached:
        nonlocal now
        now += 0.1
        return _state(epoch)

    kept, written = Checkpoints(run, clock=lambda: now), []
    for epoch in range(1, 41):
        now += 1
        assert list(kept.keep(state)) == []
        written.append(run.checkpoint().epoch == epoch)
    assert written[0]
    assert 0.8 * SHARE < sum(written) * 0.1 / 40 <= SHARE + 0.1 / 40


@pytest.mark.parametrize("where", ["the floor", "the system"])
def test_a_full_disk_ends_no_training_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    run = RunFolder(tmp_path)
    kept = Checkpoints(run, clock=lambda: 0.0)
    assert list(kept.keep(lambda: _state(1))) == []
    with monkeypatch.context() as patch:
        if where == "the floor":
            patch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**12, 10**12, 0))
        else:
            patch.setattr(fine_tune, "save_file", Mock(side_effect=NO_SPACE))
        (said,) = kept.keep(lambda: _state(2))
        assert said.level == "warning"
        assert "Training goes on; if it is interrupted now, it can only go on from epoch 1." in said.message
        assert list(kept.keep(lambda: _state(3))) == []
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    assert run.checkpoint().epoch == 1
    assert list(kept.keep(lambda: _state(4))) == []
    assert run.checkpoint().epoch == 4


def test_a_bug_is_not_taken_for_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="screw"):
        finish(Checkpoints(RunFolder(tmp_path)).keep(Mock(side_effect=RuntimeError("a screw is loose"))))
