"""Filters and feature maps of a backbone for one picture of a data set."""

from __future__ import annotations

from collections.abc import Generator

from tl_core.documents.events import Event
from tl_core.documents.tasks import FeatureMaps, FeatureMapsSpec
from tl_core.models.graphs.export import exported_backbone
from tl_core.models.registry import network
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.store.store import Store
from tl_core.runs.tasks.subject import picture_of
from tl_core.training.feature_maps import feature_maps


def answer(task: TaskFolder) -> Generator[Event, None, FeatureMaps]:
    """Write the filters and maps into the task's folder, and name them.

    Raises:
        DataError: the picture is missing or damaged.
    """
    spec, cache = task.spec_as(FeatureMapsSpec), Store.default().cache
    backbone = network(spec.backbone)
    weights = backbone.weights_row(spec.weights)
    picture = picture_of(spec, spec.row, spec.image_size, weights.interpolation)
    exported = yield from exported_backbone(backbone, weights.name, spec.image_size, cache)
    return (yield from feature_maps(exported, backbone.stages, picture, task.path, cache=cache))
