"""Fixtures of the run tests: a workspace, jobs with work of the tests' own, and patience with a limit."""

import copy
import errno
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
import torch
from safetensors.torch import save_file

from tests.conftest import Once, lend, picture, until
from tests.gpus import Driver, FakeGpu, write_driver, write_torch
from tests.runs import scratch
from tests.runs.executors import InProcess, by
from tests.training.twin import finish
from tl_core import hardware
from tl_core.documents.arrays import Checkpoint
from tl_core.documents.events import EpochEnded, Failure, Notice, StageStarted
from tl_core.models.build import build
from tl_core.models.graphs.export import exported_backbone
from tl_core.models.metadata.timm_network import describe_network
from tl_core.models.registry import network
from tl_core.runs.process import devices
from tl_core.runs.process.executor import Executor, chosen
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.train_job import train_job

SCRATCH = "tests.runs.executors:LocalScratch"
Machine = Callable[..., Path]
BOTH = pytest.mark.parametrize("place", [SCRATCH, "tests.runs.executors:ServedScratch"], indirect=True)
"""Runs a test with the local executor and with another one."""
SIZE = 96
"""Pixels; few, so that a step takes a moment."""
SMALL = "test_efficientnet"
"""A network of timm's for tests, of 100,000 parameters: it learns and is written as a graph in a third of the time."""
TOKEN = "0123456789abcdef" * 2
HERE = InProcess({"ingest": scratch.do, "train": scratch.do})
NO_SPACE = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def running(process: int) -> bool:
    """Whether a process of that id runs; one that has ended and was not waited for yet does not."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    return False


@pytest.fixture(scope="session")
def kept(once: Once, exported: Callable[[int], Path]) -> Path:
    """A store in which the embedded backbone and `SMALL` are known and exported; the weights of SMALL are random."""

    def make(root: Path) -> None:
        lend(exported(SIZE), root / "cache")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GRAFT_STORE", str(root))
            finish(describe_network(SMALL))
            weights = build(network(SMALL), weights=None, classes=1000, seed=0).tensors()
            (root / "weights").mkdir()
            save_file(weights, root / "weights" / f"{SMALL}.safetensors")
            patch.setenv("GRAFT_WEIGHTS_DIR", str(root / "weights"))
            finish(exported_backbone(network(SMALL), None, SIZE, Store(root).cache))

    return once("kept", make)


@pytest.fixture(scope="session")
def kept_run(once: Once, kept: Path) -> Path:
    """The store `kept` with three kinds of pets, read by a real worker, and one run on them, trained by another."""

    def make(root: Path) -> None:
        lend(kept, root / "store")
        for label, name in enumerate(("cat", "dog", "fox")):
            (root / "pictures" / name).mkdir(parents=True)
            for index in range(20):
                picture(label, index).save(root / "pictures" / name / f"{index:03}.jpg", quality=92)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GRAFT_STORE", str(root / "store"))
            workspace = Store(root / "store").workspace(TOKEN)
            pets = read(workspace, root / "pictures")
            assert ended(jobs.submit_training(workspace, pets, image_size=SIZE, seed=3)) == "succeeded"

    return once("kept-run", make)


@pytest.fixture(scope="session")
def traced() -> Callable[..., object]:
    """`torch.onnx.export`, which traces each network once for each size: a later graph is the first one with the later weights.

    A trace takes seconds. Whoever writes a graph compares its answers with torch's afterwards.
    """
    traces: dict[object, onnx.ModelProto] = {}
    export = torch.onnx.export

    def written(module: torch.nn.Module, pictures: tuple[torch.Tensor], **how: object) -> object:
        backbone = module.backbone
        key = str((module, backbone.mean.tolist(), backbone.std.tolist(), pictures[0].shape))
        if key not in traces:
            other, random = copy.deepcopy(module), torch.Generator().manual_seed(0)
            for tensor in other.state_dict().values():
                if tensor.is_floating_point():
                    # The exporter makes one of tensors that are equal, such as the zeros with which layers begin.
                    tensor.uniform_(0.5, 1.5, generator=random)
            traces[key] = export(other, pictures, **how).model_proto
        model, learned = onnx.ModelProto(), module.state_dict()
        model.CopyFrom(traces[key])
        for tensor in model.graph.initializer:
            if tensor.name in learned:
                tensor.CopyFrom(onnx.numpy_helper.from_array(learned[tensor.name].numpy(), tensor.name))
        return SimpleNamespace(model_proto=model)

    return written


@pytest.fixture(autouse=True)
def traced_once(traced: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.onnx, "export", traced)


@pytest.fixture
def backbones(kept: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this test's store, the embedded backbone and SMALL are exported for pictures of `SIZE`."""
    monkeypatch.setenv("GRAFT_WEIGHTS_DIR", str(kept / "weights"))
    lend(kept, store)


@pytest.fixture
def pets(kept: Path, kept_run: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> DatasetFolder:
    """This test's own copy of the pets of `kept_run`: sixty pictures, and what its run left in the cache."""
    monkeypatch.setenv("GRAFT_WEIGHTS_DIR", str(kept / "weights"))
    lend(kept_run / "store", store)
    return Store(store).workspace(TOKEN).datasets()[0]


@pytest.fixture
def pets_run(workspace: Workspace, pets: DatasetFolder) -> RunFolder:
    """A finished run on the pets: a head fitted on the embedded backbone, seed 3."""
    return workspace.runs()[0]


def ended(job: JobFolder) -> str:
    """Wait for the end of `job`: its state, and why it failed."""
    list(jobs.follow(job))
    status = job.status()
    return f"failed: {status.failure.message}\n{job.log()}" if status.failure else status.state


def failure(job: JobFolder) -> Failure:
    """Why `job`, which failed, did."""
    status = job.status()
    assert status.state == "failed", job.log()
    return status.failure  # type: ignore[return-value]


def notices(job: JobFolder) -> list[str]:
    return [event.message for event in job.events()[0] if isinstance(event, Notice)]


def titles(job: JobFolder) -> list[str]:
    """What `job` did, one stage after the other."""
    return [event.title for event in job.events()[0] if isinstance(event, StageStarted)]


def epochs(job: JobFolder) -> list[int]:
    """The epochs that `job` has ended."""
    return [event.epoch for event in job.events()[0] if isinstance(event, EpochEnded)]


def read(workspace: Workspace, source: Path, executor: Executor | None = None, **more: object) -> DatasetFolder:
    """The pictures of a folder as a data set, read to the end by `executor`, or by a worker."""
    given: dict[str, object] = {"source_kind": "folder", "name": "Pets", **more}
    data = by(executor, jobs.submit_ingest, workspace, source=source, **given)
    assert ended(data) == "succeeded"
    return data


def kill(process: int, job: JobFolder) -> None:
    """End the worker of `job` without a word, and wait until that is seen."""
    os.kill(process, signal.SIGKILL)
    until(lambda: not job.alive())
    assert job.status().state == "interrupted"


def checkpoint(epoch: int) -> Checkpoint:
    """What is noted of a training that has come to `epoch` of 10."""
    return Checkpoint(
        epoch=epoch,
        epochs=10,
        best_epoch=0,
        best_loss=1.0,
        best_accuracy=0.5,
        ages=(1,),
        averaged=0,
        scaler={},
        micro_batch=1,
        precision="float32",
        device="cpu",
        torch="2.0.0",
    )


@pytest.fixture
def workspace(store: Path) -> Workspace:
    return Store.default().workspace(TOKEN)


@pytest.fixture
def dataset(workspace: Workspace) -> DatasetFolder:
    """A data set that was read, of two classes with ten pictures each."""
    return by(HERE, jobs.submit_ingest, workspace, source_kind="sample", source="scratch", name="dataset")


def forget() -> None:
    """Be as a process that has asked nothing of its GPUs yet."""
    devices._cards.cache_clear()
    devices.unusable_gpu.cache_clear()
    hardware.machine.cache_clear()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """`machine({"GPU-1": T4})` is a machine with these cards, as the driver and PyTorch see them; returns PyTorch's folder.

    The jobs that the test starts are on it, too. `driver`: another one than that which names the cards `Card 1` and so on.
    """
    find = importlib.util.find_spec

    def made(cards: dict[str, dict[str, object]], *, cuda: str | None = "13.0", driver: Driver | None = None) -> Path:
        package = write_torch(tmp_path, cards, cuda=cuda)
        seen = driver or Driver(*(FakeGpu(uuid, f"Card {uuid[-1]}") for uuid in cards))
        write_driver(tmp_path, *seen.cards)
        torch = ModuleSpec("torch", None, origin=str(package / "__init__.py"))
        monkeypatch.setitem(sys.modules, "pynvml", seen)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: torch if name == "torch" else find(name))
        forget()
        return package

    yield made
    forget()


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Executor:
    """The executor that GRAFT_EXECUTOR names in this test: the local one with the jobs of `scratch`, or the parameter."""
    monkeypatch.setenv("GRAFT_EXECUTOR", getattr(request, "param", SCRATCH))
    return chosen()


@pytest.fixture
def train(workspace: Workspace, dataset: DatasetFolder, place: Executor) -> Iterator[Callable[..., RunFolder]]:
    """Start a run whose name says what it does; none outlives its test."""
    started: list[RunFolder] = []

    def start(does: str, *, executor: Executor | None = None, **options: object) -> RunFolder:
        asked: dict[str, object] = {"name": does, "device": "cpu", **options}
        started.append(by(executor, jobs.submit_training, workspace, dataset, **asked))
        return started[-1]

    yield start
    end_all(place, started)


def end_all(place: Executor, started: Iterable[JobFolder]) -> None:
    """Cancel what waits and kill what runs."""
    left = [job for job in started if job.alive()]
    for job in left:
        job.cancel_file.touch()
    for job in left:
        with suppress(KeyError, FileNotFoundError, ValueError, ProcessLookupError):
            os.killpg(place.process(job), signal.SIGKILL)  # type: ignore[attr-defined]
    for job in left:
        until(lambda job=job: not job.alive())


@pytest.fixture
def trained(workspace: Workspace, pets: DatasetFolder) -> Callable[..., RunFolder]:
    """`trained(epochs=1)` is a run on the pets with those options that was carried out in this process and succeeded."""

    def run(executor: Executor | None = None, **options: object) -> RunFolder:
        run = by(
            executor or InProcess({"train": train_job}),
            jobs.submit_training,
            workspace,
            pets,
            image_size=SIZE,
            **options,
        )
        assert ended(run) == "succeeded"
        return run

    return run
