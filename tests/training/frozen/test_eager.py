"""What torch gives for the frozen part is the network's own, in whatever batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.helpers import finish
from tests.training.twin import pictures, twin
from tl_core.training.frozen.eager import View, run_eager
from tl_core.training.frozen.onnx_runtime import EMBEDDING, Wanted

pytestmark = pytest.mark.usefixtures("twin_family")

PIXELS, _ = pictures(5)
TRAIN = np.array([0, 3, 7, 8, 12])


def _by_torch(pixels: np.ndarray) -> np.ndarray:
    backbone = twin()
    with torch.inference_mode():
        return np.asarray(backbone.prefix(1)(backbone.normalise(torch.from_numpy(pixels))).numpy())


def test_torch_gives_the_same_in_one_pass(exported: Path, tmp_path: Path) -> None:
    """What a GPU does, on a device that is always here."""
    backbone = twin()
    wanted = [Wanted("stage_0", tmp_path / "a", np.float16), Wanted(EMBEDDING, tmp_path / "b", np.float32)]
    finish(run_eager(backbone, 1, "cpu", wanted, PIXELS))
    assert np.allclose(np.load(tmp_path / "a"), _by_torch(PIXELS), atol=5e-3)
    with torch.inference_mode():
        embedded = backbone.embed(backbone.normalise(torch.from_numpy(PIXELS))).numpy()
    assert np.allclose(np.load(tmp_path / "b"), embedded, atol=1e-5)
    changed = View(PIXELS, TRAIN, "medium", 2, 7)
    finish(run_eager(backbone, 1, "cpu", [Wanted("stage_0", tmp_path / "c", np.float16)], changed))
    assert np.allclose(np.load(tmp_path / "c"), _by_torch(changed[: len(TRAIN)]), atol=5e-3)


def test_embeddings_by_torch_are_the_backbones(tmp_path: Path) -> None:
    backbone = twin()
    finish(run_eager(backbone, 0, "cpu", [Wanted(EMBEDDING, tmp_path / "a", np.float32)], PIXELS))
    found = np.load(tmp_path / "a")
    with torch.inference_mode():
        wanted = backbone.embed(backbone.normalise(torch.from_numpy(PIXELS))).numpy()
    assert found.dtype == np.float32
    assert np.allclose(found, wanted, atol=1e-5)


def test_a_full_memory_makes_the_batches_of_frozen_stages_smaller(tmp_path: Path) -> None:
    backbone, sizes = twin(), []

    def refuse(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    backbone.stages[0][1].register_forward_pre_hook(refuse)
    wanted = [Wanted("stage_0", tmp_path / "a", np.float16)]
    finish(run_eager(backbone, 1, "cpu", wanted, PIXELS))
    assert sizes[0] == len(PIXELS) > 5 > sizes[-1]
    assert np.allclose(np.load(tmp_path / "a"), _by_torch(PIXELS), atol=5e-3)
