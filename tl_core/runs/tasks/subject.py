"""What a task is about: how one about a finished run is made, and how the data set and the run that it names are opened."""

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from tl_core.data.pixel_arrays import read_copy
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.tasks import DatasetTask, RunTask
from tl_core.errors import NotFound
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store
from tl_core.serving.bundle_files import INFO

Asked = TypeVar("Asked", bound=RunTask)


def task_about(run: RunFolder, kind: type[Asked], **more: Any) -> Asked:
    """The task of that kind about `run`; `more` are the fields that only this kind has.

    Raises:
        NotFound: the run has no bundle, or somebody has deleted it.
        DocumentError: its spec or its bundle.json is damaged.
    """
    require_ended(run)
    spec, made = run.spec(), BundleInfo.read(run.bundle / INFO).created
    return kind(workspace=spec.workspace, run=run.id, made=made, dataset=spec.dataset, version=spec.version, **more)


def dataset_of(spec: DatasetTask) -> DatasetFolder:
    """The data set that `spec` is about, in its version. Raises NotFound where it was deleted."""
    return Store.default().workspace(spec.workspace).dataset(spec.dataset, spec.version)


def run_of(spec: RunTask) -> RunFolder:
    """The run that `spec` is about, with its report and its bundle. Raises NotFound where it was deleted or did not end well."""
    run = Store.default().workspace(spec.workspace).run(spec.run)
    require_ended(run)
    return run


def require_ended(run: RunFolder) -> None:
    """Raises NotFound, in words, where `run` has no report or no bundle."""
    if not (run.report_file.is_file() and (run.bundle / INFO).is_file()):
        raise NotFound(f"The run {run.name!r} has no result that could be looked at. Start it again, and let it end.")


def picture_of(spec: DatasetTask, row: int, size: int, interpolation: str) -> NDArray[np.uint8]:
    """The picture `row` of the data set as a network sees it, uint8 (size, size, 3). Raises NotFound, DataError."""
    dataset = dataset_of(spec)
    images = dataset.manifest().images
    if not 0 <= row < len(images):
        raise NotFound(f"There is no picture number {row} in this data set; it has {len(images)}.")
    return read_copy(dataset.path, images[row], size, interpolation)
