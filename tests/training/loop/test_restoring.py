"""Memory that runs out while weights are changed: the epoch begins again from what was kept. The CPU stands for a GPU here."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.tower import frozen_at_first, inputs_after, thaw, tower
from tests.training.twin import losses, smaller_batches, spec, train
from tl_core.documents.events import EpochEnded, Event, Notice
from tl_core.errors import DeviceError
from tl_core.training.loop import steps
from tl_core.training.loop.regularisation import Average
from tl_core.training.strategies.strategies import strategy

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."
RECIPE: dict[str, object] = {"learning_rate": 1e-2, "stage_rate": 1e-2, "ema": 0.8, "clip": 1.0, "norm_learns": True}
AN_EPOCH = 4
"""Steps of an epoch: 54 images in batches of 16."""


def _fit(
    name: str, *, micro_batch: int = 16, precision: str = "float32", **more: object
) -> tuple[list[Event], dict[str, Tensor]]:
    """All events, and the tensors that were kept."""
    backbone = tower()
    plan = spec(epochs=3, micro_batch=micro_batch, precision=precision, recipe=RECIPE)
    frozen = frozen_at_first(backbone, name, plan)
    join = partial(thaw, backbone)
    events = train(backbone, inputs_after(backbone, frozen), plan, name, frozen=frozen, thaw=join, **more)
    return events, backbone.tensors()


def _full_at(monkeypatch: pytest.MonkeyPatch, place: str, failing: Callable[[int], bool]) -> None:
    """Memory runs out in each step number n, from 0, of which `failing(n)`.

    Places: before the `gradient`; after half of the `weights` moved; after all of them and their `averages` did.
    """
    owner, name = {
        "gradient": (steps.Trainer, "_gradient"),
        "weights": (steps, "take_step"),
        "averages": (Average, "update"),
    }[place]
    real, calls = getattr(owner, name), 0

    def shaken(*given: Any) -> object:
        nonlocal calls
        calls += 1
        if not failing(calls - 1):
            return real(*given)
        if place == "weights":
            for group in given[0].param_groups[1::2]:
                for parameter in group["params"]:
                    parameter.grad = None
        if place != "gradient":
            real(*given)
        raise torch.OutOfMemoryError(FULL)

    monkeypatch.setattr(owner, name, shaken)


@pytest.mark.parametrize("place", ["weights", "averages"])
@pytest.mark.parametrize(
    ("name", "precision"),
    [("full_fine_tuning", "float32"), ("lora", "float32"), ("gradual_unfreezing", "float32"), ("lp_ft", "float16")],
)
def test_the_epoch_begins_again_as_if_nothing_had_happened(
    as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch, name: str, precision: str, place: str
) -> None:
    # Where stages join, in the second epoch, in which the rates of the first of them rise.
    first = AN_EPOCH if strategy(name).thaws else 0
    with monkeypatch.context() as patch:
        _full_at(patch, "gradient", lambda step: step == first)
        right, tensors = _fit(name, precision=precision)
    _full_at(monkeypatch, place, lambda step: step == first + 2)
    events, found = _fit(name, precision=precision)
    told = [[event.message for event in some if isinstance(event, Notice)] for some in (right, events)]
    assert steps.FEWER.format(at_once=8) in told[0]
    assert steps.AGAIN.format(at_once=8) in told[1]
    assert losses(events) == losses(right)
    assert all(torch.equal(tensor, found[key]) for key, tensor in tensors.items())


def test_a_later_epoch_begins_again_from_where_it_began(as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    right, _ = _fit("full_fine_tuning")
    # In the last step of the second epoch, and in the first of its second attempt.
    _full_at(monkeypatch, "weights", lambda step: step in (2 * AN_EPOCH - 1, 2 * AN_EPOCH))
    events, _ = _fit("full_fine_tuning")
    assert smaller_batches(events) == [8, 4]
    assert losses(events)[:2] == losses(right)[:2]
    assert [event.epoch for event in events if isinstance(event, EpochEnded)] == [0, 1, 2, 3]


def test_memory_that_is_never_enough_ends_in_words_with_what_was_kept(
    as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[dict[str, Tensor]] = []
    _full_at(monkeypatch, "weights", lambda step: True)
    with pytest.raises(DeviceError, match="smaller image size"):
        _fit("full_fine_tuning", micro_batch=4, save_best=saved.append)
    assert len(saved) == 1, "the state before the first step"


def test_on_a_cpu_no_copy_is_kept_and_the_error_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[dict[str, Tensor]] = []
    _full_at(monkeypatch, "weights", lambda step: step == 2)
    with pytest.raises(torch.OutOfMemoryError):
        _fit("full_fine_tuning", save_best=saved.append)
    assert len(saved) == 1


def test_another_error_in_a_step_is_not_taken_for_a_full_memory(
    as_on_a_gpu: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(steps, "take_step", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        _fit("full_fine_tuning")
