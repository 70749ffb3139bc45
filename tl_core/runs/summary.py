"""A run in one flat object: what `train --json` prints. Knows only the documents of a run that succeeded."""

from __future__ import annotations

from tl_core.documents.base import Record
from tl_core.documents.bundle_info import NO_WEIGHTS
from tl_core.errors import GraftError
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.store.store import Store
from tl_core.training.strategies.strategies import strategy

_STAGES = ("ingest", "features", "training", "export", "evaluation")
_PART_OF = {"preparing": "features"}


class RunSummary(Record):
    run_dir: str
    classes: tuple[str, ...]
    """In the order of the bundle's answers."""
    train_images: int
    val_images: int
    test_images: int
    refused_files: int
    val_accuracy: float
    test_accuracy: float
    """Fractions."""
    test_interval: tuple[float, float]
    """95 % Wilson interval of `test_accuracy`."""
    macro_f1: float
    seconds: dict[str, float]
    """ingest, features, training, export, evaluation, total; 0 for what was not done, no waiting in any."""
    peak_memory_mb: float | None
    """Of the larger of the two processes that read the pictures and trained, mapped files not counted."""
    backbone: str
    weights: str
    """Name of the set that training started from, or `NO_WEIGHTS`."""
    strategy: str
    chosen_by: str
    """user, default or auto."""
    reason: str | None
    """Why this strategy, where the user did not choose it."""
    solver: str
    device: str
    seed: int
    trainable_parameters: int
    total_parameters: int
    estimated_seconds: tuple[float, float] | None
    """What the run was said to take, from and to; of what `seconds` has, all but ingest."""


def summarise(run: RunFolder, *, store: Store | None = None) -> RunSummary:
    """What came of `run`. Its data set may be gone; then the time to read it counts as 0.

    Raises:
        NotFound: the run has no report, for it did not succeed.
        DocumentError: one of its documents is not one.
    """
    spec, status, report = run.spec(), run.status(), run.report()
    spent = dict.fromkeys((*_STAGES, "total"), 0.0)
    peaks = [status.peak_memory_mb]
    try:
        read = (store or Store.default()).workspace(spec.workspace).dataset(spec.dataset).status()
    except GraftError:
        read = None
    if read is not None:
        spent["ingest"] = read.seconds.get("total", 0.0)
        peaks.append(read.peak_memory_mb)
    for stage, seconds in status.seconds.items():
        name = _PART_OF.get(stage, stage)
        if name in spent and name != "ingest":
            spent[name] += seconds
    spent["total"] += spent["ingest"]
    return RunSummary(
        run_dir=str(run.path),
        classes=report.classes,
        train_images=report.images.get("train", 0),
        val_images=report.images.get("val", 0),
        test_images=report.images.get("test", 0),
        refused_files=report.refused_files,
        val_accuracy=report.val.accuracy,
        test_accuracy=report.test.accuracy,
        test_interval=report.test.interval,
        macro_f1=report.test.macro_f1,
        seconds={name: round(seconds, 3) for name, seconds in spent.items()},
        peak_memory_mb=max((peak for peak in peaks if peak is not None), default=None),
        backbone=spec.backbone,
        weights=spec.weights if strategy(spec.strategy).pretrained else NO_WEIGHTS,
        strategy=spec.strategy,
        chosen_by=spec.chosen_by,
        reason=spec.reason,
        solver=spec.solver,
        device=status.device or spec.device,
        seed=spec.seed,
        trainable_parameters=report.trainable_parameters,
        total_parameters=report.total_parameters,
        estimated_seconds=spec.estimated_seconds,
    )
