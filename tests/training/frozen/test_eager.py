"""What torch gives for the frozen part is the network's own, in whatever batches."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.twin import SIZE, by_torch, embedded, finish, little_memory, pictures, twin
from tl_core.training.frozen import eager
from tl_core.training.frozen.eager import View, run_eager
from tl_core.training.frozen.onnx_runtime import EMBEDDING, Wanted

PIXELS, _ = pictures(5)
TRAIN = np.array([0, 3, 7, 8, 12])


def test_torch_gives_the_same_in_one_pass(exported: Path, tmp_path: Path) -> None:
    """What a GPU does, on a device that is always here."""
    backbone = twin()
    wanted = [Wanted("stage_0", tmp_path / "a", np.float16), Wanted(EMBEDDING, tmp_path / "b", np.float32)]
    finish(run_eager(backbone, 1, "cpu", wanted, PIXELS))
    assert np.allclose(np.load(tmp_path / "a"), by_torch(PIXELS), atol=5e-3)
    found = np.load(tmp_path / "b")
    assert found.dtype == np.float32
    assert np.allclose(found, embedded(backbone, PIXELS), atol=1e-5)
    finish(run_eager(backbone, 0, "cpu", [Wanted(EMBEDDING, tmp_path / "alone", np.float32)], PIXELS))
    assert np.allclose(np.load(tmp_path / "alone"), found, atol=1e-5), "where no stage is asked about"
    changed = View(PIXELS, TRAIN, "medium", 2, 7)
    finish(run_eager(backbone, 1, "cpu", [Wanted("stage_0", tmp_path / "c", np.float16)], changed))
    assert np.allclose(np.load(tmp_path / "c"), by_torch(changed[: len(TRAIN)]), atol=5e-3)


def _passes(path: Path, *, fitting: int, output: str = "stage_0") -> tuple[np.ndarray, list[int]]:
    """What the first stage gives, or the `output`, and the sizes of the batches; more than `fitting` images do not fit the memory."""
    backbone = twin()
    sizes = little_memory(backbone.stages[0][1], fitting)
    finish(run_eager(backbone, 1, "cpu", [Wanted(output, path, np.float16)], PIXELS))
    return np.load(path), sizes


def test_batches_of_frozen_stages_grow_until_the_memory_is_full(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(eager, "GPU_BATCH", 2)
    found, sizes = _passes(tmp_path / "a", fitting=7)
    assert sizes[:4] == [2, 4, 8, 4]
    assert max(sizes[3:]) == 4, "what did not fit is not tried again"
    assert np.allclose(found, by_torch(PIXELS), atol=5e-3)


@pytest.mark.parametrize(
    ("output", "an_image"), [("stage_0", 8 * 16 * 16 * 4), (EMBEDDING, SIZE * SIZE * 3)], ids=["given", "read"]
)
def test_batches_of_frozen_stages_grow_no_more_than_the_host_can_hold(
    output: str, an_image: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(eager, "GPU_BATCH", 2)
    monkeypatch.setattr(eager, "PART_BYTES", 5 * an_image)
    assert max(_passes(tmp_path / "a", fitting=100, output=output)[1]) == 4


def test_a_first_batch_that_does_not_fit_is_halved(tmp_path: Path) -> None:
    found, sizes = _passes(tmp_path / "a", fitting=5)
    assert sizes[0] == len(PIXELS) > 5 > sizes[-1]
    assert np.allclose(found, by_torch(PIXELS), atol=5e-3)


def test_features_are_computed_in_full_precision_whatever_the_environment_says(tmp_path: Path) -> None:
    """TORCH_ALLOW_TF32_CUBLAS_OVERRIDE, which some containers set, makes "high" the default."""
    backbone, seen = twin(), []
    backbone.stages[0][1].register_forward_pre_hook(
        lambda *_: seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
    )
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        finish(run_eager(backbone, 1, "cpu", [Wanted("stage_0", tmp_path / "a", np.float16)], PIXELS))
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    assert set(seen) == {("highest", False)}
