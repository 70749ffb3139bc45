"""What a step reads; a device that torch cannot use is said in words before anything is trained."""

import numpy as np
import pytest
import torch

from tl_core.errors import DeviceError
from tl_core.training import device as device_module
from tl_core.training.device import give_memory_back, torch_device
from tl_core.training.loop.inputs import Copies, Inputs, Stream


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_gpu_that_torch_cannot_use_is_said_in_words(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="--device cpu"):
        torch_device(name)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_gpu_gives_its_memory_back(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    for name in ("cuda", "mps"):
        monkeypatch.setattr(getattr(torch, name), "empty_cache", lambda name=name: done.append(name))
    give_memory_back(torch.device(device))
    assert done == [device]


def _with_views() -> Inputs:
    """Ten rows that hold their own number; rows 2, 5 and 7 have two copies each, 100 and 200 higher."""
    plain = np.repeat(np.arange(10, dtype=np.float16)[:, None], 3, axis=1)
    rows = np.array([2, 5, 7])
    copies = Copies(rows, (plain[rows] + np.float16(100), plain[rows] + np.float16(200)))
    return Inputs.of_activations(plain, device=torch.device("cpu"), copies=copies)


def test_training_takes_each_picture_in_a_random_one_of_its_views() -> None:
    inputs, rows = _with_views(), np.array([7, 2, 5, 2])
    seen: set[tuple[int, int]] = set()
    for step in range(40):
        batch = inputs.batch(rows, torch.Generator().manual_seed(step))
        assert batch.dtype == torch.float32
        values = batch[:, 0].int().numpy()
        assert (values % 100 == rows).all(), "in the order that was asked for"
        seen |= set(zip(rows.tolist(), (values // 100).tolist(), strict=True))
    assert seen == {(row, view) for row in (2, 5, 7) for view in (0, 1, 2)}
    one, two = (inputs.batch(rows, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)


def test_what_has_no_copies_and_what_is_judged_stays_plain() -> None:
    inputs = _with_views()
    judged = inputs.batch(np.array([2, 5, 7]))
    assert judged[:, 0].tolist() == [2, 5, 7]
    for step in range(10):
        batch = inputs.batch(np.array([1, 9]), torch.Generator().manual_seed(step))
        assert batch[:, 0].tolist() == [1, 9]


def test_expected_batches_are_read_ahead_and_others_as_they_are_asked_for() -> None:
    array = np.arange(200, dtype=np.uint8).reshape(100, 2)
    batches = np.array_split(np.random.default_rng(0).permutation(100), 9)
    stream = Stream(array, batches, pinned=False)
    assert stream.take(np.array([1, 2])) is None
    assert stream.take(batches[1]) is None
    for rows in batches:
        taken = stream.take(rows)
        assert taken is not None
        assert (taken.numpy() == array[rows]).all()
        assert stream.take(rows) is None
    stream.close()
    again = Stream(array, batches, pinned=False)
    again.close()
    with pytest.raises(StopIteration):
        again.take(batches[0])


def test_no_more_pictures_go_through_frozen_stages_together_than_are_allowed() -> None:
    sizes: list[int] = []

    class Frozen(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            sizes.append(len(images))
            return images.mean(dim=(2, 3))

    pixels = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
    inputs = Inputs(pixels, Frozen(), lambda images: images.permute(0, 3, 1, 2).float(), torch.device("cpu"))
    whole = inputs.batch(np.arange(10))
    parts = inputs.batch(np.arange(10), at_once=4)
    assert sizes == [10, 4, 4, 2]
    assert torch.allclose(whole, parts)


@pytest.mark.parametrize(("dtype", "most", "rows"), [(np.uint8, 6, [3, 3, 3, 1]), (np.float16, 3, [1] * 10)])
def test_a_copy_on_the_device_is_made_in_parts_of_so_many_bytes(
    monkeypatch: pytest.MonkeyPatch, dtype: type[np.generic], most: int, rows: list[int]
) -> None:
    parts: list[int] = []
    read = torch.from_numpy
    monkeypatch.setattr(torch, "from_numpy", lambda part: parts.append(len(part)) or read(part))
    monkeypatch.setattr(device_module, "PART_BYTES", most)
    array = np.arange(20, dtype=dtype).reshape(10, 2)
    copied = device_module.on_device(array, torch.device("cpu"))
    assert (copied.numpy() == array).all()
    assert copied.numpy().dtype == dtype
    assert [part for part in parts if part] == rows


def test_memory_that_cannot_be_pinned_is_read_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(tensor: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(torch.Tensor, "pin_memory", refuse)
    array = np.arange(12, dtype=np.uint8).reshape(6, 2)
    batches = np.array_split(np.arange(6), 3)
    stream = Stream(array, batches, pinned=True)
    for rows in batches:
        taken = stream.take(rows)
        assert taken is not None
        assert (taken.numpy() == array[rows]).all()
    stream.close()


def test_frozen_stages_compute_in_the_runs_precision_and_give_float32() -> None:
    frozen = torch.nn.Linear(12, 5)
    seen: list[torch.dtype] = []
    frozen.register_forward_hook(lambda module, given, out: seen.append(out.dtype))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), dtype=np.uint8)
    found = {}
    for precision in ("float32", "bfloat16", "float16"):
        inputs = Inputs(
            pixels, frozen, lambda images: images.flatten(1) / 255.0, torch.device("cpu"), precision=precision
        )
        found[precision] = inputs.batch(np.arange(4))
        assert found[precision].dtype == torch.float32
    assert seen == [torch.float32, torch.bfloat16, torch.float16]
    for lower in ("bfloat16", "float16"):
        assert torch.allclose(found["float32"], found[lower], atol=0.05)
