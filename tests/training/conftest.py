"""The twin network's family, in the table while a test runs; one thread, for such a small one gains nothing from more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.training.tower import tower_family
from tests.training.twin import FAMILY
from tl_core.models.families import FAMILIES

__all__ = ["tower_family"]


@pytest.fixture
def twin_family(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(FAMILIES, FAMILY.name, FAMILY)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
