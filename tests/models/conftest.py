"""Networks built once for all tests of this folder: building and exporting takes seconds."""

from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tl_core.data.cache import Cache
from tl_core.models.build import Backbone, build
from tl_core.models.graphs.export import exported_backbone
from tl_core.models.registry import network

Result = TypeVar("Result")
CLASSES = 7


def result_of(generator: Generator[Any, None, Result]) -> tuple[list[Any], Result]:
    """All events, and what the generator returned."""
    events = []
    while True:
        try:
            events.append(next(generator))
        except StopIteration as stop:
            return events, stop.value


@pytest.fixture(scope="session")
def random_backbone() -> Callable[[str], Backbone]:
    """A network with random weights and a head for seven classes; shared, so tests leave it as it is."""

    @cache
    def make(name: str) -> Backbone:
        return build(network(name), weights=None, classes=CLASSES, seed=1)

    return make


@pytest.fixture(scope="session")
def lite0(exported: Callable[[int], Path]) -> tuple[Cache, Path]:
    """The embedded network, exported with its real weights at its own size; tests leave it as it is."""
    kept = Cache(exported(224), 10**9)
    _, folder = result_of(exported_backbone(network("efficientnet_lite0"), None, 224, kept))
    return kept, folder
