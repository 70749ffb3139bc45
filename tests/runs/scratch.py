"""A worker with small jobs of the tests' own: `python -P -m tests.runs.scratch`, as `tl_core.runs.worker` but for what it does.

The job's display name, or the backbone that a question asks about, says what it does; see `_DOES`.
"""

import errno
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np

from tl_core.data.pace import Pace
from tl_core.documents.events import Event, Notice, Progress, StageStarted
from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.documents.report import Calibration, Report
from tl_core.documents.tasks import DescribeSpec, PreviewSpec, Ranking, RankSpec
from tl_core.errors import LayoutError
from tl_core.evaluation.calibration import reliability, top_label
from tl_core.evaluation.metrics import answers, split_metrics
from tl_core.runs import worker
from tl_core.runs.race_job import race_job
from tl_core.runs.store.folders import RaceFolder, RunFolder, TaskFolder
from tl_core.runs.store.job_folder import JobFolder

MODULE = "tests.runs.scratch"
Job = Generator[Event, None, None]


def _dataset(job: JobFolder) -> Job:
    """Two classes of ten pictures, without the pictures."""
    yield StageStarted(stage="reading", title="Reading pictures")
    images = tuple(
        ImageEntry(sha256=f"{row:064x}", label=row % 2, name=f"{row}.jpg", file=f"{row}.jpg", width=8, height=8)
        for row in range(20)
    )
    Manifest(name="pictures", created=time.time(), source="scratch", classes=("a", "b"), images=images).write(
        job.path / "manifest.json"
    )


def _slow(job: JobFolder) -> Job:
    """Work in small steps, for longer than any test waits."""
    yield StageStarted(stage="training", title="Training")
    for step in range(60_000):
        time.sleep(0.05)
        yield Progress(stage="training", done=step + 1, total=60_000)


def _on_a_card(job: JobFolder) -> Job:
    """As `_slow`, on a GPU; notes which GPUs CUDA would see in this process."""
    (job.path / "sees").write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.environ['CUDA_DEVICE_ORDER']}")
    yield from _slow(job)


def _deaf(job: JobFolder) -> Job:
    """Work with no word in between, for longer than any test waits."""
    yield StageStarted(stage="training", title="Training")
    time.sleep(3000)


def _stuck(job: JobFolder) -> Job:
    """Never comes back from a library, which lets no other thread run meanwhile."""
    yield StageStarted(stage="training", title="Training")
    re.match(r"(a|aa)+$", "a" * 200 + "b")


def _helped(job: JobFolder) -> Job:
    """As `_deaf`, with a helper process of its own, whose id it notes."""
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3000)"])
    (job.path / "helper").write_text(str(helper.pid))
    yield from _deaf(job)


def _best(job: JobFolder) -> Job:
    """Writes a best state, then works on; told to finish, ends."""
    yield StageStarted(stage="training", title="Training")
    if job.finishing:
        yield Notice(message=f"finished with {job.best.read_text()}")
        return
    job.best.write_text("the best so far")
    yield from _slow(job)


def _hungry(job: JobFolder) -> Job:
    """Writes a best state where it is a run, then takes more and more memory."""
    yield StageStarted(stage="training", title="Training")
    if isinstance(job, RunFolder):
        job.best.write_text("the best so far")
    eaten = []
    while True:
        eaten.append(b"x" * 10_000_000)


def _half_second(job: JobFolder) -> Job:
    """Notes when it had the device."""
    begun = time.time()
    yield StageStarted(stage="training", title="Training")
    time.sleep(0.5)
    (job.path / "had_device").write_text(f"{begun} {time.time()}")


def _chatty(job: JobFolder) -> Job:
    """A second of work with a thousand words."""
    yield StageStarted(stage="reading", title="Reading pictures")
    pace = Pace("reading", 1000)
    for step in range(1000):
        time.sleep(0.001)
        yield from pace.at(step + 1)
    yield StageStarted(stage="evaluation", title="Measuring")


def _fails(error: Exception) -> Callable[[JobFolder], Job]:
    """Work that ends in the middle with `error`."""

    def work(job: JobFolder) -> Job:
        yield StageStarted(stage="reading", title="Reading pictures")
        raise error

    return work


def _answers(ranking: Ranking) -> Callable[[TaskFolder], Job]:
    """Answers a question."""

    def work(job: TaskFolder) -> Job:
        yield StageStarted(stage="features", title="Counting")
        ranking.write(job.result_file)

    return work


def _fills(job: JobFolder) -> Job:
    """Writes until the disk is full, as a training that keeps its best does."""
    yield StageStarted(stage="training", title="Training")
    with (job.path / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def _says_nice(job: JobFolder) -> Job:
    yield StageStarted(stage="reading", title="Reading pictures")
    heavy = sorted(name for name in ("torch", "torchvision", "timm", "sklearn", "scipy", "PIL") if name in sys.modules)
    yield Notice(message=f"nice {os.nice(0)}, heavy {heavy}, spins {os.environ['GOMP_SPINCOUNT']}")


def judge(run: RunFolder) -> None:
    """Leave the report of a run that was right about all of the ten test pictures and of the ten validation pictures but one."""
    truth = np.arange(10) % 2
    right = np.eye(2)[truth]
    sure = reliability(*top_label(right, truth))
    nearly = np.vstack([right[:-1], 1 - right[-1:]])
    Report(
        classes=("a", "b"),
        images={"train": 14, "val": 3, "test": 3},
        refused_files=0,
        own_split=False,
        test=split_metrics(right, truth, ("a", "b")),
        val=split_metrics(nearly, truth, ("a", "b")),
        answers=answers(right, truth, truth),
        calibration=Calibration(before=sure, after=sure),
        trainable_parameters=1,
        total_parameters=2,
    ).write(run.report_file)


def _contestant(run: RunFolder) -> Job:
    """A head alone is fitted in a moment; stages are trained until somebody says to finish."""
    yield StageStarted(stage="training", title="Training")
    if run.finishing or run.spec().strategy == "feature_extraction":
        judge(run)
        return
    run.best.write_text("the best so far")
    yield from _slow(run)


def _race(race: RaceFolder) -> Job:
    yield from race_job(race, train=_contestant)


_DOES: dict[str, Callable[..., Job]] = {
    "dataset": _dataset,
    "slow": _slow,
    "on a card": _on_a_card,
    "deaf": _deaf,
    "stuck": _stuck,
    "helped": _helped,
    "best": _best,
    "hungry": _hungry,
    "half second": _half_second,
    "chatty": _chatty,
    "mended": _fails(LayoutError("No class folders in here. Make one folder for each class.")),
    "bug": _fails(RuntimeError("a screw is loose")),
    "full": _fails(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
    "fills": _fills,
    "nice": _says_nice,
    "answer": _answers(Ranking(images=3, classes=2, rows=())),
    "lacking": _answers(Ranking(images=3, classes=2, rows=(), failed={"resnet18": "Its weights are not here."})),
}


def do(job: JobFolder) -> Job:
    """What the name in the job's spec says."""
    spec = job.spec()
    if isinstance(job, RaceFolder):
        return _race(job)
    if isinstance(spec, DescribeSpec):
        return _DOES[spec.network](job)
    if isinstance(spec, RankSpec):
        return _DOES[spec.backbones[0]](job)
    if isinstance(spec, PreviewSpec):
        return _slow(job)
    return _DOES[getattr(spec, "name")](job)  # noqa: B009 - the others have one or are not asked for here


def helper_id(job: JobFolder) -> int | None:
    path: Path = job.path / "helper"
    return int(path.read_text()) if path.exists() and path.read_text() else None


if __name__ == "__main__":
    worker.main(sys.argv[1:], find=lambda kind: do)
