"""What torch gives for the frozen part is the network's own, in whatever batches."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.twin import by_torch, finish, pictures, twin
from tl_core.models.build import Backbone
from tl_core.training.frozen import eager, onnx_runtime
from tl_core.training.frozen.eager import View, run_eager
from tl_core.training.frozen.onnx_runtime import EMBEDDING, Wanted

pytestmark = pytest.mark.usefixtures("twin_family")

PIXELS, _ = pictures(5)
TRAIN = np.array([0, 3, 7, 8, 12])


def test_torch_gives_the_same_in_one_pass(exported: Path, tmp_path: Path) -> None:
    """What a GPU does, on a device that is always here."""
    backbone = twin()
    wanted = [Wanted("stage_0", tmp_path / "a", np.float16), Wanted(EMBEDDING, tmp_path / "b", np.float32)]
    finish(run_eager(backbone, 1, "cpu", wanted, PIXELS))
    assert np.allclose(np.load(tmp_path / "a"), by_torch(PIXELS), atol=5e-3)
    with torch.inference_mode():
        embedded = backbone.embed(backbone.normalise(torch.from_numpy(PIXELS))).numpy()
    assert np.allclose(np.load(tmp_path / "b"), embedded, atol=1e-5)
    changed = View(PIXELS, TRAIN, "medium", 2, 7)
    finish(run_eager(backbone, 1, "cpu", [Wanted("stage_0", tmp_path / "c", np.float16)], changed))
    assert np.allclose(np.load(tmp_path / "c"), by_torch(changed[: len(TRAIN)]), atol=5e-3)


def test_embeddings_by_torch_are_the_backbones(tmp_path: Path) -> None:
    backbone = twin()
    finish(run_eager(backbone, 0, "cpu", [Wanted(EMBEDDING, tmp_path / "a", np.float32)], PIXELS))
    found = np.load(tmp_path / "a")
    with torch.inference_mode():
        wanted = backbone.embed(backbone.normalise(torch.from_numpy(PIXELS))).numpy()
    assert found.dtype == np.float32
    assert np.allclose(found, wanted, atol=1e-5)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all batches, the first of which has two images; more than seven do not fit the memory."""
    monkeypatch.setattr(eager, "GPU_BATCH", 2)
    return []


def _passes(backbone: Backbone, sizes: list[int], path: Path, *, fitting: int) -> np.ndarray:
    def note(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > fitting:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    backbone.stages[0][1].register_forward_pre_hook(note)
    finish(run_eager(backbone, 1, "cpu", [Wanted("stage_0", path, np.float16)], PIXELS))
    return np.load(path)


def test_batches_of_frozen_stages_grow_until_the_memory_is_full(sizes: list[int], tmp_path: Path) -> None:
    found = _passes(twin(), sizes, tmp_path / "a", fitting=7)
    assert sizes[:4] == [2, 4, 8, 4]
    assert max(sizes[3:]) == 4, "what did not fit is not tried again"
    assert np.allclose(found, by_torch(PIXELS), atol=5e-3)


@pytest.mark.parametrize("bytes_an_image", ["given", "read"])
def test_batches_of_frozen_stages_grow_no_more_than_the_host_can_hold(
    bytes_an_image: str, sizes: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given, read = by_torch(PIXELS[:1]).nbytes, PIXELS[:1].nbytes
    limit = 5 * (given if bytes_an_image == "given" else read)
    module = onnx_runtime if bytes_an_image == "given" else eager
    monkeypatch.setattr(module, "PART_BYTES", limit)
    _passes(twin(), sizes, tmp_path / "a", fitting=100)
    assert max(sizes) == 4


def test_a_first_batch_that_does_not_fit_is_halved(tmp_path: Path) -> None:
    sizes: list[int] = []
    found = _passes(twin(), sizes, tmp_path / "a", fitting=5)
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
