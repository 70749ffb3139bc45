"""A device that torch cannot use is said in words before anything is trained."""

from __future__ import annotations

import pytest
import torch

from tl_core.errors import DeviceError
from tl_core.training.inputs import torch_device


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_gpu_that_torch_cannot_use_is_said_in_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="--device cpu"):
        torch_device(name)


def test_the_processor_is_always_there() -> None:
    assert torch_device("cpu") == torch.device("cpu")
