"""A processor that stands for a GPU."""

import pytest

from tl_core.training.loop import steps


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that runs out is expected, as on a GPU."""
    monkeypatch.setattr(steps, "STEADY", ())
