"""What frozen stages cost is timed where it is asked, remembered there, and decides as arithmetic does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.training.twin import SIZE, pictures, spec, twin
from tl_core.data.cache import Cache
from tl_core.models.build import Backbone
from tl_core.training.frozen import keeping
from tl_core.training.frozen.keeping import Costs, measured_costs

pytestmark = pytest.mark.usefixtures("twin_family")
PIXELS, _ = pictures(5)


def _slow(module: nn.Module, inputs: object) -> None:
    for _ in range(200):
        torch.randn(64, 64) @ torch.randn(64, 64)


def _once(backbone: Backbone, pixels: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return np.asarray(backbone.prefix(1)(backbone.normalise(torch.from_numpy(pixels))).numpy())


def _measured(backbone: Backbone, cache: Cache, *, images: int = len(PIXELS), level: str = "none") -> Costs:
    run = spec(recipe={"augmentation": level})
    return measured_costs(
        backbone, PIXELS, lambda some: _once(backbone, some), spec=run, frozen=1, images=images, cache=cache
    )


def test_a_slow_stage_is_dearer_to_compute_than_to_read(tmp_path: Path) -> None:
    backbone = twin()
    backbone.stages[0][1].register_forward_pre_hook(_slow)
    found = _measured(backbone, Cache(tmp_path, 10**8))
    assert 0 < found.read < found.again
    assert 0 < found.read < found.once
    assert not list(tmp_path.glob(".keeping-*")), "what was written to be timed is gone"


def test_it_is_timed_once_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, cache = twin(), Cache(tmp_path, 10**8)
    first = _measured(backbone, cache)

    def never(*given: object, **more: object) -> float:
        raise AssertionError("timed again")

    monkeypatch.setattr(keeping, "timed", never)
    assert _measured(backbone, cache) == first
    with pytest.raises(AssertionError, match="timed again"):
        _measured(backbone, cache, level="strong")


def test_more_than_the_memory_holds_is_read_from_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    real = keeping._read_seconds

    def noting(*given: object, cold: bool, **more: object) -> float:
        asked.append(cold)
        return real(*given, cold=cold, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(keeping, "_read_seconds", noting)
    monkeypatch.setattr(keeping, "available_mb", lambda device: 100.0)
    a_picture = 8 * SIZE // 2 * SIZE // 2 * 2
    _measured(twin(), Cache(tmp_path, 10**8), images=int(60e6 / a_picture))
    _measured(twin(), Cache(tmp_path, 10**8), images=int(80e6 / a_picture))
    assert asked == [False, True]


def test_a_damaged_note_is_timed_again(tmp_path: Path) -> None:
    backbone, cache = twin(), Cache(tmp_path, 10**8)
    _measured(backbone, cache)
    (note,) = (tmp_path / "activations").glob("keeping-*")
    note.unlink()
    note.write_bytes(b"{")
    assert _measured(backbone, cache).again > 0


@pytest.mark.parametrize(("epochs", "keeps"), [(1, False), (2, True), (20, True)])
def test_keeping_pays_where_it_is_asked_for_often_enough(epochs: int, keeps: bool) -> None:
    costs = Costs(once=1.5, read=0.1, again=1.0)
    asked = 100 * epochs
    assert (costs.keeping(fresh=100, asked=asked) < costs.recomputing(asked=asked)) is keeps
