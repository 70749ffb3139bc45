"""The job that reads a folder, a zip or a sample into a data set folder, perhaps behind the pictures of another data set, and looks
for pictures that show the same thing."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from pathlib import Path

from tl_core.disk import remove
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.spec import IngestSpec
from tl_core.runs.store.budgets import Allowance
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Store, Workspace


def ingest_job(folder: DatasetFolder) -> Generator[Event, None, None]:
    """Read what the spec names into the data set folder; the manifest comes last. Where it does not come to that, no picture stays."""
    yield StageStarted(stage="reading", title="Looking for pictures")
    from tl_core.data.ingest import ingest
    from tl_core.runs.grouping import with_groups

    spec = folder.spec()
    staging = folder.path / "staging"
    try:
        others = [
            path for path in folder.path.parent.iterdir() if path != folder.path and not path.name.startswith(".")
        ]
        extended = (
            DatasetFolder(folder.path.with_name(spec.extends.dataset), spec.extends.version) if spec.extends else None
        )
        room = Allowance(Workspace(folder.workspace_folder))
        cache = Store.default().cache
        complete = partial(with_groups, folder.path, cache=cache, judged=spec.judged) if spec.groups else None
        manifest = yield from ingest(
            spec,
            folder.path,
            staging=staging,
            known=others,
            extended=extended.path if extended else None,
            room=room,
            complete=complete,
        )
        if extended:
            _take_changes(extended, folder)
            folder.write_spec(spec.model_copy(update={"name": manifest.name}))
    except BaseException:
        folder.discard_pictures()
        raise
    finally:
        remove(staging)
        if spec.remove_source:
            _remove_upload(spec, folder)


def _take_changes(extended: DatasetFolder, folder: DatasetFolder) -> None:
    """Leave out and move in `folder`, which has all pictures that `extended` was read with, what `extended` leaves out and moves."""
    from tl_core.data.extending import carried_over
    from tl_core.data.versions import difference

    changes = difference(extended.manifest())
    if changes:
        folder.versions.apply(carried_over(changes, extended.versions.manifest(1), folder.versions.manifest(1)))


def _remove_upload(spec: IngestSpec, folder: DatasetFolder) -> None:
    """Remove the upload's folder below `staging/` of the workspace, and nothing anywhere else."""
    staging = folder.workspace_folder / "staging"
    source = Path(spec.source)
    if staging in source.parents:
        remove(staging / source.relative_to(staging).parts[0])
