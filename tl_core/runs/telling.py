"""Gathers what the story of a run is told from: its documents, its data set while that is there, and the answers to tasks about it."""

from __future__ import annotations

from tl_core.data.checks import findings
from tl_core.documents.tasks import Robustness, RobustnessSpec, RunSlices, SlicesSpec
from tl_core.errors import DocumentError, NotFound
from tl_core.evaluation.corruptions import STRENGTHS
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store
from tl_core.runs.tasks.ask import already_answered
from tl_core.runs.tasks.subject import require_ended, task_about
from tl_core.serving.bundle_files import INFO
from tl_core.serving.inspection import read_info
from tl_core.story.source import Source


def source_of(run: RunFolder) -> Source:
    """What the story of `run` is told from. Where its data set was deleted, the story has no pictures.

    Raises:
        NotFound: the run did not end well.
        DocumentError, BundleError: one of its documents, or of its data set's, is damaged.
    """
    require_ended(run)
    spec, status = run.spec(), run.status()
    workspace = Store.default().workspace(spec.workspace)
    try:
        dataset: DatasetFolder | None = workspace.dataset(spec.dataset, spec.version)
        manifest = dataset.manifest() if dataset else None
    except NotFound:
        dataset = manifest = None
    report = run.report()
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
