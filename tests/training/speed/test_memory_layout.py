"""The choice of a memory layout: remembered, without a trace on the network, and with as many pictures as memory has room for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.training.twin import spec, twin
from tl_core.data.cache import Cache
from tl_core.training.speed import memory_layout
from tl_core.training.speed.memory_layout import channels_last_is_faster

pytestmark = pytest.mark.usefixtures("twin_family")


def test_the_faster_layout_is_remembered_and_the_network_is_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, cache = twin(), Cache(tmp_path / "cache", 10**8)
    before = {name: tensor.clone() for name, tensor in backbone.tensors().items()}
    seconds = {torch.contiguous_format: 2.0, torch.channels_last: 1.0}
    real = memory_layout._seconds
    monkeypatch.setattr(memory_layout, "_seconds", lambda *given: real(*given) and seconds[given[-2]])
    run = spec(micro_batch=4)

    def ask() -> bool:
        return channels_last_is_faster(backbone, run, frozen=1, cache=cache)

    assert ask() is True
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.tensors().items())
    seconds[torch.channels_last] = 3.0
    assert ask() is True, "the same machine takes the same layout again"
    assert channels_last_is_faster(backbone, run, frozen=0, cache=cache) is False


@pytest.mark.parametrize(("fits", "tried"), [(3, [8, 4, 2, 2]), (0, [8, 4, 2, 1])])
def test_timing_that_runs_out_of_memory_goes_on_with_fewer_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fits: int, tried: list[int]
) -> None:
    counts: list[int] = []

    def seconds(*given: object) -> float:
        *_, layout, count = given
        counts.append(int(str(count)))
        if counts[-1] > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return {torch.contiguous_format: 2.0, torch.channels_last: 1.0}[layout]

    monkeypatch.setattr(memory_layout, "_seconds", seconds)
    monkeypatch.setattr(memory_layout, "CPU_BATCH", 8)
    cache = Cache(tmp_path / "cache", 10**8)
    faster = channels_last_is_faster(twin(), spec(micro_batch=4), frozen=0, cache=cache)
    assert counts == tried
    assert faster is (fits > 0)


def test_a_large_batch_is_not_timed_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(memory_layout, "_seconds", lambda *given: counts.append(given[-1]) or 1.0)
    monkeypatch.setattr(memory_layout, "answer_key", lambda name, device, *asked: f"{name}-{device}")
    run = spec(micro_batch=512, batch_size=512, device="cuda")
    channels_last_is_faster(twin(), run, frozen=0, cache=Cache(tmp_path / "cache", 10**8))
    assert counts == [32, 32]


def test_one_picture_alone_is_timed_though_it_has_no_batch_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    real = memory_layout._seconds

    def little_memory(*given: object) -> float:
        counts.append(int(str(given[-1])))
        if counts[-1] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        real(*given)  # type: ignore[arg-type]
        return {torch.contiguous_format: 2.0, torch.channels_last: 1.0}[given[-2]]

    backbone = twin()
    # A norm of one value a picture, as the last stage of a network on small pictures has it.
    backbone.stages[-1][1].append(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.BatchNorm2d(16)))
    monkeypatch.setattr(memory_layout, "_seconds", little_memory)
    assert channels_last_is_faster(backbone, spec(), frozen=0, cache=Cache(tmp_path / "cache", 10**8))
    assert counts[-2:] == [1, 1]
