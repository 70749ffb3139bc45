"""A training step gives a GPU its work and does not wait for it. The `meta` device, which computes nothing, stands for the GPU."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training.tower import STAGES, WIDTH, tower
from tests.training.twin import SIZE, one_step, pictures, spec, trainer_of
from tl_core.models.build import Backbone
from tl_core.training.loop.inputs import Copies, Inputs

GPU = torch.device("meta")
EVERYTHING: dict[str, object] = {
    "augmentation": "strong",
    "ema": 0.9,
    "clip": 1.0,
    "class_weights": True,
    "label_smoothing": 0.1,
}


class Waits(TorchDispatchMode):
    """Lists the operations for which a GPU would be waited for: copies of memory that is not pinned, and numbers that are read."""

    def __init__(self, pinned: set[int]) -> None:
        super().__init__()
        self.found: list[str] = []
        self.copies = 0
        self._pinned = pinned

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [one for one in args if isinstance(one, Tensor)]
        name = str(func)
        if "copy" in name:
            here = tensors[0] if "_to_copy" in name else tensors[-1]
            if isinstance(out, Tensor) and out.device == GPU and here.device != GPU:
                self.copies += 1
                if not ((kwargs or {}).get("non_blocking") and here.data_ptr() in self._pinned):
                    self.found.append(name)
        elif ("_local_scalar_dense" in name or "nonzero" in name) and tensors[0].device == GPU:
            self.found.append(name)
        return out


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    """Memory counts as pinned here once it was asked for."""
    pinned: set[int] = set()
    kept: list[Tensor] = []

    def pin(tensor: Tensor) -> Tensor:
        copied = tensor.clone()
        pinned.add(copied.data_ptr())
        kept.append(copied)
        return copied

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    return Waits(pinned)


def _step(backbone: Backbone, inputs: Inputs, frozen: int, recipe: dict[str, object], waits: Waits) -> None:
    name = "partial_fine_tuning" if frozen else "lp_ft"
    plan = spec(stages=1, micro_batch=8, recipe=recipe)
    trainer = trainer_of(backbone, inputs, plan, name, frozen=frozen, class_weights=np.ones(3))
    with waits:
        for number in range(2):
            one_step(trainer, number)


@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.4}, {"cutmix": 1.0}])
@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("frozen", [0, 2])
def test_a_step_on_pixels_waits_for_no_copy(
    waits: Waits, frozen: int, resident: bool, mixing: dict[str, object]
) -> None:
    backbone, (pixels, _) = tower(), pictures()
    backbone.to(GPU)
    inputs = Inputs(
        pixels,
        backbone.prefix(frozen) if frozen else None,
        backbone.normalise,
        GPU,
        level="strong",
        resident=resident,
    )
    _step(backbone, inputs, frozen, {**EVERYTHING, **mixing}, waits)
    assert waits.copies
    assert waits.found == []


def test_a_step_on_kept_activations_waits_for_no_copy(waits: Waits) -> None:
    backbone, (pixels, _) = tower(), pictures()
    plain = np.zeros((len(pixels), WIDTH, SIZE // 4, SIZE // 4), dtype=np.float16)
    rows = np.arange(0, 30, 2)
    copies = Copies(rows, (plain[rows], plain[rows]))
    inputs = Inputs(plain, None, None, GPU, copies=copies, resident=True)
    _step(backbone, inputs, len(STAGES) - 1, {**EVERYTHING, "mixup": 0.4}, waits)
    assert waits.copies
    assert waits.found == []
