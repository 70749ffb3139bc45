"""A workspace put together by hand: a data set that was read and a run that ended, as documents, without any training."""

import hashlib
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.conftest import picture
from tl_core.data.split import assign, recorded
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.events import (
    EVENT,
    EpochEnded,
    Failure,
    Progress,
    RegularisationTried,
    StageStarted,
    State,
    Status,
)
from tl_core.documents.manifest import ImageEntry, Manifest, Refusal
from tl_core.documents.report import Calibration, Report, StageMoved
from tl_core.documents.spec import IngestSpec, TrainSpec
from tl_core.documents.tasks import Answer, TaskSpec
from tl_core.evaluation.calibration import reliability, top_label
from tl_core.evaluation.metrics import answers, split_metrics
from tl_core.runs.store.folders import DatasetFolder, RunFolder, TaskFolder
from tl_core.runs.store.store import Store, Workspace, new_id
from tl_core.runs.tasks.ask import folder_of
from tl_core.serving.bundle_files import INFO

TOKEN = "0123456789abcdef" * 2


def workspace() -> Workspace:
    return Store.default().workspace(TOKEN)


def dataset(
    where: Workspace | None = None,
    *,
    name: str = "Crockery",
    classes: tuple[str, ...] = ("cup", "plate", "bowl"),
    each: int = 20,
) -> DatasetFolder:
    """A data set that was read to the end, with real pictures; in the test's workspace, or in another one."""
    folder = DatasetFolder((where or workspace()).path / "datasets" / new_id())
    for part in ("images", "thumbnails"):
        (folder.path / part).mkdir(parents=True)
    entries = []
    for label in range(len(classes)):
        for index in range(each):
            file = f"{label:02}{index:04}.jpg"
            image = picture(label, index)
            image.save(folder.path / "images" / file)
            image.save(folder.path / "thumbnails" / file)
            content = hashlib.sha256((folder.path / "images" / file).read_bytes()).hexdigest()
            entries.append(
                ImageEntry(
                    sha256=content,
                    label=label,
                    name=f"{label}/{index}.jpg",
                    file=file,
                    width=image.width,
                    height=image.height,
                )
            )
    Manifest(
        name=name,
        created=time.time(),
        source="folder",
        classes=classes,
        images=tuple(entries),
        refused=(Refusal(file="cup/broken.jpg", kind="truncated", message="The file ends in the middle."),),
    ).write(folder.path / "manifest.json")
    folder.write_spec(IngestSpec(name=name, source_kind="folder", source="/nowhere"))
    _end(folder.path, Status(state="succeeded", started=1.0, ended=2.0))
    return folder


def run(
    data: DatasetFolder,
    *,
    name: str = "Crockery",
    state: State = "succeeded",
    failure: Failure | None = None,
    strategy: str = "feature_extraction",
    moved: tuple[StageMoved, ...] = (),
    mistakes: Collection[int] = (0,),
    seed: int = 0,
    version: int = 1,
) -> RunFolder:
    """A run on `data` in its workspace, in the state that is asked for. One that succeeded has a report; of the test pictures of its seed, those at `mistakes` are named wrongly."""
    where = Workspace(data.workspace_folder)
    folder = RunFolder(where.path / "runs" / new_id())
    folder.path.mkdir(parents=True)
    folder.write_spec(
        TrainSpec(
            name=name,
            workspace=where.token,
            dataset=data.id,
            weights="ImageNet",
            strategy=strategy,
            image_size=224,
            device="cpu",
            seed=seed,
            version=version,
        )
    )
    data = data.at(version)
    manifest = data.manifest()
    recorded(manifest, assign(manifest, seed)).write(folder.split_file)
    events = [
        StageStarted(stage="training", title="Fitting the head"),
        Progress(stage="training", done=2, total=3, seconds_left=4.0, images_per_second=144.0),
    ]
    if strategy == "feature_extraction":
        events += [
            RegularisationTried(c=c, train_accuracy=0.9, val_accuracy=0.8, val_loss=0.4, best=True) for c in (0.1, 1.0)
        ]
    else:
        events += [
            EpochEnded(
                epoch=epoch,
                epochs=5,
                train_loss=0.5,
                train_accuracy=0.8,
                val_loss=0.6,
                val_accuracy=0.7,
                learning_rate=1e-3,
                best=True,
            )
            for epoch in (1, 2)
        ]
    (folder.path / "events.jsonl").write_bytes(b"".join(EVENT.dump_json(event) + b"\n" for event in events))
    (folder.path / "log.txt").write_text("stage training\n")
    if state == "succeeded":
        _report(data, mistakes, seed).model_copy(update={"moved": moved}).write(folder.path / "report.json")
        _bundle_info(folder)
    _end(folder.path, Status(state=state, started=1.0, ended=20.0, seconds={"total": 19.0}, failure=failure))
    return folder


def asked(spec: TaskSpec, answer: Answer | None = None) -> TaskFolder:
    """The folder of a task that was asked, which waits; with an `answer`, it ended well."""
    task = folder_of(workspace(), spec)
    task.path.mkdir(parents=True)
    task.write_spec(spec)
    if answer is not None:
        answer.write(task.result_file)
        _end(task.path, Status(state="succeeded", started=1.0, ended=2.0))
    return task


def _bundle_info(folder: RunFolder) -> None:
    """Write as much of a bundle for `folder`, a run with a report, as questions and stories about it need."""
    report, spec = folder.report(), folder.spec()
    folder.bundle.mkdir()
    BundleInfo(
        name=spec.name,
        classes=report.classes,
        image_size=224,
        interpolation="bicubic",
        backbone="efficientnet_lite0",
        weights="IMAGENET1K",
        licence="Apache-2.0",
        strategy=spec.strategy,
        seed=spec.seed,
        temperature=1.0,
        embedding_size=1280,
        linear_on_pooled=True,
        created=5.0,
        versions={"graft": "0.1.0", "torch": "2.6.0"},
    ).write(folder.bundle / INFO)


def calibration(probabilities: NDArray[np.floating], truth: NDArray[np.integer]) -> Calibration:
    """The reliability of answers that no temperature changes."""
    bins = reliability(*top_label(probabilities, truth))
    return Calibration(before=bins, after=bins)


def _report(data: DatasetFolder, mistakes: Collection[int], seed: int) -> Report:
    manifest = data.manifest()
    splits = assign(manifest, seed)
    rows = np.flatnonzero(splits == "test")
    truth = np.array([manifest.images[row].label for row in rows])
    probabilities = np.full((len(rows), len(manifest.classes)), 0.02)
    said = truth.copy()
    wrong = list(mistakes)
    said[wrong] = (said[wrong] + 1) % len(manifest.classes)
    probabilities[np.arange(len(rows)), said] = 1 - 0.02 * (len(manifest.classes) - 1)
    metrics = split_metrics(probabilities, truth, manifest.classes)
    return Report(
        classes=manifest.classes,
        images={part: int((splits == part).sum()) for part in ("train", "val", "test")},
        refused_files=1,
        own_split=False,
        test=metrics,
        val=metrics,
        answers=answers(probabilities, truth, rows),
        calibration=calibration(probabilities, truth),
        trainable_parameters=3843,
        total_parameters=3_374_851,
    )


def _end(folder: Path, status: Status) -> None:
    (folder / "lock").touch()
    status.write(folder / "status.json")
