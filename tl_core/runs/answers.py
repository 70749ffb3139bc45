"""The jobs that answer small questions: from a task folder to what its function needs, and the answer to `result.json`.

Each function is imported when its job runs: several need torch. Knows no process, lock or status.
"""

from __future__ import annotations

from collections.abc import Generator

from tl_core.documents.events import Event
from tl_core.documents.tasks import LookSpec, PreviewSpec, RankSpec, RateSpec
from tl_core.runs.store import DatasetFolder, Store, TaskFolder


def preview_job(task: TaskFolder) -> Generator[Event, None, None]:
    """Pictures of what each level of augmentation does, in the task's folder."""
    from tl_core.training.preview import preview

    spec = task.asked(PreviewSpec)
    dataset = _dataset(spec)
    yield from preview(dataset.path, dataset.manifest(), spec, task.path)


def _dataset(spec: PreviewSpec | LookSpec | RankSpec | RateSpec) -> DatasetFolder:
    asked = spec.train if isinstance(spec, RateSpec) else spec
    return Store.default().workspace(asked.workspace).dataset(asked.dataset)
