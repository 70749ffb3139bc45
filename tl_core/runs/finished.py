"""What is known of a run that ended well: gathered for the statements about it, in one flat object for programs, and the threshold that its
bundle keeps.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from tl_core.data.checks import findings
from tl_core.disk import write_atomically
from tl_core.documents.manifest import Manifest
from tl_core.documents.report import HeadlineName, Measured
from tl_core.documents.tasks import Robustness, RobustnessSpec, RunSlices, SlicesSpec
from tl_core.errors import DocumentError, GraftError, NotFound, SpecError
from tl_core.evaluation.corruptions import STRENGTHS
from tl_core.evaluation.metrics import listed
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store
from tl_core.runs.tasks.ask import already_answered
from tl_core.runs.tasks.subject import require_ended, task_about
from tl_core.serving.bundle import read_info
from tl_core.serving.bundle_files import INFO, MODEL_CARD
from tl_core.serving.card import model_card
from tl_core.statements import Source, weights_of

_STAGES = ("ingest", "features", "training", "export", "evaluation")
_PART_OF = {"preparing": "features", "backbone": "features"}


def source_of(run: RunFolder) -> Source:
    """What is known of `run`, for statements about it; of its pictures nothing where its data set was deleted.

    Raises:
        NotFound: the run did not end well.
        DocumentError, BundleError: one of its documents, or of its data set's, is damaged.
    """
    require_ended(run)
    spec, status = run.spec(), run.status()
    workspace, report = Store.default().workspace(spec.workspace), run.report()
    dataset: DatasetFolder | None = None
    manifest: Manifest | None = None
    with suppress(NotFound):
        dataset = workspace.dataset(spec.dataset, spec.version)
        manifest = dataset.manifest()
    if manifest and any(answer.row >= len(manifest.images) for answer in report.answers):
        raise DocumentError("report.json has answers to pictures that its data set does not have.")
    return Source(
        name=run.name,
        report=report,
        info=read_info(run.bundle / INFO),
        spec=spec,
        seconds=status.seconds.get("total"),
        device=str(status.gpu) if status.gpu else status.device or spec.device,
        manifest=manifest,
        data_name=dataset.name if dataset else "",
        thumbnails=dataset.path / "thumbnails" if dataset else None,
        findings=tuple(findings(manifest)) if manifest else (),
        slices=already_answered(workspace, task_about(run, SlicesSpec), RunSlices),
        robustness=already_answered(workspace, task_about(run, RobustnessSpec, corruptions=STRENGTHS), Robustness),
    )


class RunSummary(Measured):
    """Beside its fields it holds `macro_f1`, and whatever else `evaluation.metrics` lists, of the test split."""

    run_dir: str
    classes: tuple[str, ...]
    """In the order of the bundle's answers."""
    train_images: int
    val_images: int
    test_images: int
    refused_files: int
    val_accuracy: float
    """Accuracy on the validation split; where cross-validation chose the head's settings, out-of-fold accuracy on training and
    validation split.
    """
    test_accuracy: float
    """A fraction, as `val_accuracy`."""
    test_interval: tuple[float, float]
    """95 % interval of `test_accuracy`."""
    leaked_images: int
    """Test pictures that show what was learned from as well."""
    test_accuracy_without_leaked: float | None
    """Accuracy on the other test pictures; None where none is leaked, or all are."""
    test_interval_without_leaked: tuple[float, float] | None
    """95 % interval of `test_accuracy_without_leaked`."""
    cv_accuracy: float | None
    """Cross-validated accuracy over all pictures, as `Report.cross_validated`; None where that is None."""
    cv_interval: tuple[float, float] | None
    """95 % interval of `cv_accuracy`."""
    headline: HeadlineName | None
    """Which of the two is said first; None where neither is to be believed, because of the classes of `one_moment`."""
    one_moment: tuple[str, ...]
    """Classes that had to be learned from and judged by pictures that show the same thing, as `Report.one_moment`."""
    seconds: dict[str, float]
    """Seconds of ingest, features, training, export, evaluation, and the total, without waiting; 0 for a stage that was skipped."""
    peak_memory_mb: float | None
    """The larger peak of the two processes, that which read the pictures and that which trained; without memory-mapped files."""
    backbone: str
    weights: str
    """Name of the set that training started from, or `NO_WEIGHTS`."""
    strategy: str
    chosen_by: str
    """user, default or auto."""
    reason: str | None
    """Why this strategy was taken; None where the user chose it."""
    solver: str
    device: str
    gpu: str | None
    """Name of the GPU, with its id where the machine has more of that name; None on other devices."""
    seed: int
    trainable_parameters: int
    total_parameters: int
    estimated_seconds: tuple[float, float] | None
    """The estimate made before the run, from and to, in seconds; without ingest."""


def summarise(run: RunFolder) -> RunSummary:
    """The summary of `run`. Where its data set was deleted, the time to read it counts as 0.

    Raises:
        NotFound: the run has no report, because it did not succeed.
        DocumentError: one of its documents does not follow its schema.
    """
    spec, status, report = run.spec(), run.status(), run.report()
    spent = dict.fromkeys((*_STAGES, "total"), 0.0)
    peaks = [status.peak_memory_mb]
    with suppress(GraftError):
        read = Store.default().workspace(spec.workspace).dataset(spec.dataset).status()
        spent["ingest"] = read.seconds.get("total", 0.0)
        peaks.append(read.peak_memory_mb)
    for stage, seconds in status.seconds.items():
        name = _PART_OF.get(stage, stage)
        if name in spent and name != "ingest":
            spent[name] += seconds
    spent["total"] += spent["ingest"]
    without_leaked = report.leak.without if report.leak else None
    figures: dict[str, Any] = {metric.name: value for metric, value in listed(report.test)}
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
        leaked_images=report.leak.images if report.leak else 0,
        test_accuracy_without_leaked=without_leaked.accuracy if without_leaked else None,
        test_interval_without_leaked=without_leaked.interval if without_leaked else None,
        cv_accuracy=report.cross_validated.accuracy if report.cross_validated else None,
        cv_interval=report.cross_validated.interval if report.cross_validated else None,
        headline=report.headline,
        one_moment=report.one_moment,
        seconds={name: round(seconds, 3) for name, seconds in spent.items()},
        peak_memory_mb=max((peak for peak in peaks if peak is not None), default=None),
        backbone=spec.backbone,
        weights=weights_of(spec),
        strategy=spec.strategy,
        chosen_by=spec.chosen_by,
        reason=spec.reason,
        solver=spec.solver,
        device=status.device or spec.device,
        gpu=str(status.gpu) if status.gpu else None,
        seed=spec.seed,
        trainable_parameters=report.trainable_parameters,
        total_parameters=report.total_parameters,
        estimated_seconds=spec.estimated_seconds,
        **figures,
    )


def kept_threshold(run: RunFolder) -> float | None:
    """The threshold in the bundle of `run`, see `BundleInfo.threshold`.

    Raises:
        NotFound: the run has no bundle.
        BundleError: its bundle.json is damaged.
    """
    return read_info(_info_file(run)).threshold


def keep_threshold(run: RunFolder, threshold: float | None) -> None:
    """Write `threshold` (a probability, above 0 and at most 1) into bundle.json and the model card of `run`; None takes it away.

    Raises:
        SpecError: it is no such probability.
        NotFound: the run did not succeed, so it has no bundle or no report.
        BundleError, DocumentError: its bundle.json, or its report, is damaged.
        DiskFull: no space is left.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise SpecError(
            f"A threshold is a probability above 0 and at most 1, such as 0.8 for 80 %; {threshold:g} is none."
        )
    file = _info_file(run)
    info = read_info(file).model_copy(update={"threshold": threshold})
    write_atomically(run.bundle / MODEL_CARD, model_card(source_of(run), info).encode())
    info.write(file)


def _info_file(run: RunFolder) -> Path:
    file = run.bundle / INFO
    if not file.is_file():
        raise NotFound(f"{run.path} has no bundle. Name the folder of a run that has ended well.")
    return file
