"""The job that reads a folder, a zip or a sample into a data set folder, as its first version or added to one that it has, and looks for
pictures that show the same thing."""

from collections.abc import Generator
from functools import partial
from pathlib import Path

from tl_core.disk import remove
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.spec import IngestSpec
from tl_core.runs.store.budgets import Allowance
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Workspace


def ingest_job(folder: DatasetFolder) -> Generator[Event, None, None]:
    """Read what the spec names into the data set folder; the document of the new version comes last. Where it does not come to that, none of
    the new pictures stays."""
    yield StageStarted(stage="reading", title="Looking for pictures")
    from tl_core.data.ingest import ingest
    from tl_core.runs.grouping import with_groups

    spec = folder.spec()
    try:
        others = [path for path in folder.path.parent.iterdir() if not path.name.startswith(".")]
        onto = folder.versions.manifest(spec.onto) if spec.onto else None
        number = folder.versions.begin() if spec.onto else 1
        complete = partial(with_groups, folder.path, judged=spec.judged) if spec.groups else None
        manifest = yield from ingest(
            spec,
            folder.path,
            staging=folder.staging,
            known=others,
            onto=onto,
            first=f"v{number}-" if onto else "",
            room=Allowance(Workspace(folder.workspace_folder)),
            complete=complete,
        )
        if spec.onto:
            folder.versions.add(number, spec.onto, manifest)
    except BaseException:
        folder.discard_unfinished()
        raise
    finally:
        remove(folder.staging)
        if spec.remove_source:
            _remove_upload(spec, folder)


def _remove_upload(spec: IngestSpec, folder: DatasetFolder) -> None:
    """Remove the upload's folder below `staging/` of the workspace, and nothing anywhere else."""
    staging = folder.workspace_folder / "staging"
    source = Path(spec.source)
    if staging in source.parents:
        remove(staging / source.relative_to(staging).parts[0])
