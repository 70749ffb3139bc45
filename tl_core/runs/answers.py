"""The jobs that answer small questions: from a task folder to what its function needs, and the answer to `result.json`.

Each function is imported when its job runs: several need torch. Knows no process, lock or status.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType

from tl_core.documents.events import Event
from tl_core.documents.spec import TrainSpec
from tl_core.documents.tasks import LookSpec, PreviewSpec, RankSpec
from tl_core.errors import DataError, UnreadableImage
from tl_core.runs.store import DatasetFolder, Store, TaskFolder


def preview_job(task: TaskFolder) -> Generator[Event, None, None]:
    """Pictures of what each level of augmentation does, in the task's folder."""
    from tl_core.training.preview import preview

    spec = task.asked(PreviewSpec)
    dataset = _dataset(spec)
    yield from preview(dataset.path, dataset.manifest(), spec, task.path)


def look_job(task: TaskFolder) -> Generator[Event, None, None]:
    """Filters and feature maps of one picture, in the task's folder.

    Raises:
        DataError: the picture is missing or damaged.
    """
    from tl_core.data.pixels import read_input
    from tl_core.models.export import exported_backbone
    from tl_core.models.registry import network
    from tl_core.training.look import look

    spec = task.asked(LookSpec)
    row, cache, dataset = network(spec.backbone), Store.default().cache, _dataset(spec)
    image = dataset.manifest().images[spec.row]
    try:
        picture = read_input(dataset.image(image), spec.image_size, row.weights_row(spec.weights).interpolation)
    except (UnreadableImage, OSError) as error:
        raise DataError(
            f"The copy of {image.name} in this data set is missing or damaged. Add the pictures again as a new data set."
        ) from error
    exported = yield from exported_backbone(row, spec.weights, spec.image_size, cache)
    answer = yield from look(exported, row.stages, picture, task.path, cache=cache)
    answer.write(task.result_file)


TASKS: Mapping[str, Callable[[TaskFolder], Generator[Event, None, None]]] = MappingProxyType(
    {"preview": preview_job, "look": look_job}
)


def _dataset(asked: PreviewSpec | LookSpec | RankSpec | TrainSpec) -> DatasetFolder:
    return Store.default().workspace(asked.workspace).dataset(asked.dataset)
