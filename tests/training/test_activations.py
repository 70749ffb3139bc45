"""What the frozen stages give is theirs, is computed once, and is not kept where there is no room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.helpers import finish
from tests.training.twin import SIZE, pictures, twin
from tl_core.data.cache import Cache
from tl_core.documents.events import Notice, Progress
from tl_core.training import activations
from tl_core.training.activations import embed_on_device, frozen_activations
from tl_core.training.trial import channels_last_is_faster

pytestmark = pytest.mark.usefixtures("twin_family")


def test_cached_activations_are_what_the_frozen_stages_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, (pixels, _) = twin(), pictures(5)
    cache = Cache(tmp_path / "cache", 10**8)
    found, events = finish(frozen_activations(backbone, pixels, frozen=1, cache=cache, key="k", device="cpu"))
    with torch.inference_mode():
        wanted = backbone.prefix(1)(backbone.normalise(torch.from_numpy(pixels))).numpy()
    assert found is not None
    assert found.dtype == np.float16
    assert np.allclose(found, wanted, atol=5e-3)
    assert any(isinstance(event, Progress) and event.done == len(pixels) for event in events)

    def never(*args: object) -> None:
        raise AssertionError("computed twice")

    monkeypatch.setattr(activations, "run_graph", never)
    again, events = finish(frozen_activations(backbone, pixels, frozen=1, cache=cache, key="k", device="cpu"))
    assert again is not None
    assert np.array_equal(again, found)
    assert events == []


def test_no_room_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    backbone, (pixels, _) = twin(), pictures(5)
    cache = Cache(tmp_path / "cache", 50_000)
    found, events = finish(frozen_activations(backbone, pixels, frozen=1, cache=cache, key="k", device="cpu"))
    assert found is None
    assert [type(event) for event in events] == [Notice]
    assert cache.size() == 0


def test_what_is_quicker_to_compute_is_not_kept(tmp_path: Path) -> None:
    backbone, (pixels, _) = twin(), pictures(5)
    backbone.row = backbone.row.model_copy(update={"stage_gflops": (1e-6, *backbone.row.stage_gflops[1:])})
    cache = Cache(tmp_path / "cache", 10**8)
    found, events = finish(frozen_activations(backbone, pixels, frozen=1, cache=cache, key="k", device="cpu"))
    assert found is None
    assert "quicker" in events[0].message  # type: ignore[union-attr]
    assert cache.size() == 0


def test_embeddings_by_torch_are_the_backbones(tmp_path: Path) -> None:
    backbone, (pixels, _) = twin(), pictures(5)
    cache = Cache(tmp_path / "cache", 10**8)
    found, _ = finish(embed_on_device(backbone, pixels, cache=cache, key="k", device="cpu"))
    with torch.inference_mode():
        wanted = backbone.embed(backbone.normalise(torch.from_numpy(pixels))).numpy()
    assert found.dtype == np.float32
    assert np.allclose(found, wanted, atol=1e-5)


def test_the_layouts_trial_is_remembered_and_leaves_the_network_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tl_core.training import trial

    backbone, cache = twin(), Cache(tmp_path / "cache", 10**8)
    before = {name: tensor.clone() for name, tensor in backbone.tensors().items()}
    seconds = {"contiguous": 2.0, "channels_last": 1.0}
    real = trial._seconds
    monkeypatch.setattr(trial, "_seconds", lambda *given: real(*given) and seconds[given[-1]])

    def ask() -> bool:
        return channels_last_is_faster(backbone, frozen=1, image_size=SIZE, device="cpu", bfloat16=False, cache=cache)

    assert ask() is True
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.tensors().items())
    seconds["channels_last"] = 3.0
    assert ask() is True, "the same machine takes the same layout again"
    assert (
        channels_last_is_faster(backbone, frozen=0, image_size=SIZE, device="cpu", bfloat16=False, cache=cache) is False
    )
