"""Training by steps: it learns, keeps its best, leaves frozen stages alone, and survives a full memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.twin import (
    TRAIN,
    VAL,
    best_of,
    embedded,
    finish,
    little_memory,
    logits,
    on_pixels,
    pictures,
    smaller_batches,
    spec,
    train,
    twin,
)
from tl_core.documents.events import EpochEnded, Event, Notice, Progress
from tl_core.documents.spec import TrainSpec
from tl_core.errors import DeviceError
from tl_core.evaluation.calibration import calibrated_loss
from tl_core.models.build import Backbone
from tl_core.training.head.fitted import Head, fit_logistic
from tl_core.training.loop.fit import fit, set_fitted_head
from tl_core.training.loop.inputs import Inputs
from tl_core.training.strategies.strategies import strategy

WHOLE, LAST = "full_fine_tuning", "partial_fine_tuning"
FAST: dict[str, object] = {"stage_rate": 1e-2, "learning_rate": 1e-2, "augmentation": "light"}
STILL: dict[str, object] = {**FAST, "norm_learns": False}


def _train(backbone: Backbone, plan: TrainSpec, name: str = WHOLE, *, frozen: int = 0, **more: Any) -> list[Event]:
    inputs = on_pixels(backbone, frozen=frozen, level=plan.recipe.augmentation)
    return train(backbone, inputs, plan, name, frozen=frozen, **more)


def _epochs(events: list[Event]) -> list[EpochEnded]:
    return [event for event in events if isinstance(event, EpochEnded)]


def test_a_whole_network_learns() -> None:
    backbone = twin()
    events = _train(backbone, spec(epochs=8, recipe=FAST))
    curve = _epochs(events)
    assert [point.epoch for point in curve] == list(range(9))
    assert curve[0].train_loss is None
    assert best_of(events).val_accuracy > 0.8 > curve[0].val_accuracy
    assert curve[-1].train_loss < curve[1].train_loss
    progress = [event for event in events if isinstance(event, Progress)]
    assert progress[-1].done == progress[-1].total == 8 * 54


def test_the_best_epoch_is_saved_kept_and_returned() -> None:
    backbone = twin()
    saved: list[dict[str, Tensor]] = []
    events = _train(backbone, spec(epochs=6, recipe=FAST), save_best=saved.append)
    curve = _epochs(events)
    assert len(saved) == sum(point.best for point in curve)
    best = min(curve, key=lambda point: point.val_loss)
    assert best_of(events) == best
    for name, tensor in backbone.tensors().items():
        assert torch.equal(tensor, saved[-1][name])
    pixels, labels = pictures()
    assert calibrated_loss(logits(backbone, pixels[VAL]), labels[VAL]) == pytest.approx(best.val_loss, abs=1e-5)


def _from_fitted_head(taught: Callable[[np.ndarray], np.ndarray]) -> tuple[list[Event], float]:
    """Fit a head, train on with labels `taught`; returns the fitted head's calibrated loss, too."""
    backbone = twin()
    pixels, labels = pictures()
    features = embedded(backbone, pixels)
    # Half of the features are hidden from the head, so that there is something left to learn.
    features[:, 8:] = 0
    head, _ = finish(fit_logistic(features, labels, TRAIN, VAL, classes=3))
    set_fitted_head(backbone, head)
    taught_labels = np.concatenate([taught(labels[TRAIN]), labels[VAL]])
    plan = spec(epochs=6, stages=1, recipe={"learning_rate": 3e-3, "stage_rate": 3e-3, "norm_learns": False})
    events = train(backbone, on_pixels(backbone, frozen=1), plan, LAST, labels=taught_labels, frozen=1)
    return events, calibrated_loss(head.logits(features[VAL]), labels[VAL])


def test_what_starts_from_a_fitted_head_starts_where_that_stood_and_gets_better() -> None:
    events, fitted = _from_fitted_head(lambda labels: labels)
    assert _epochs(events)[0].val_loss == pytest.approx(fitted, abs=1e-4)
    assert best_of(events).epoch > 0
    assert best_of(events).val_loss < fitted


def test_what_starts_from_a_fitted_head_does_not_end_with_a_worse_one() -> None:
    events, fitted = _from_fitted_head(lambda labels: (labels + 1) % 3)
    assert all(point.val_loss > fitted for point in _epochs(events)[1:]), "wrong labels teach nothing"
    assert best_of(events).epoch == 0
    assert best_of(events).val_loss == pytest.approx(fitted, abs=1e-4)
    assert "The state after epoch 0 of" in str([event for event in events if isinstance(event, Notice)])


def test_a_head_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        set_fitted_head(twin(), Head(np.zeros((3, 40), dtype=np.float32), np.zeros(3, dtype=np.float32)))


def test_frozen_stages_stay_as_they_are() -> None:
    backbone = twin()
    before = {name: tensor.clone() for name, tensor in backbone.tensors().items()}
    events = _train(backbone, spec(stages=1, recipe=FAST), LAST, frozen=1)
    assert best_of(events).epoch > 0
    changed = {name for name, tensor in backbone.tensors().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith(("block.", "head.")) for name in changed)
    assert "block.1.running_mean" in changed


def test_cached_activations_train_like_recomputed_ones() -> None:
    plan = spec(stages=1, recipe={"learning_rate": 1e-3, "stage_rate": 1e-3})
    first, second = twin(), twin()
    computed = on_pixels(first, frozen=1)
    cached = Inputs.of_activations(
        computed.batch(np.concatenate([TRAIN, VAL])).numpy().astype(np.float16), device=computed.device
    )
    recomputed = best_of(train(first, computed, plan, LAST, frozen=1)).val_loss
    assert best_of(train(second, cached, plan, LAST, frozen=1)).val_loss == pytest.approx(recomputed, rel=1e-2)


@pytest.mark.parametrize("channels_last", [False, True])
def test_same_spec_same_network(channels_last: bool) -> None:
    one, two = twin(), twin()
    first = _train(one, spec(channels_last=channels_last, recipe=FAST))
    second = _train(two, spec(channels_last=channels_last, recipe=FAST))
    assert best_of(first).val_loss == best_of(second).val_loss
    assert all(torch.equal(tensor, two.tensors()[name]) for name, tensor in one.tensors().items())
    other = _train(twin(), spec(channels_last=channels_last, seed=1, recipe=FAST))
    assert best_of(other).val_loss != best_of(first).val_loss


def test_a_full_memory_halves_the_micro_batch_and_keeps_the_gradient() -> None:
    # Batch norm that learns sees the micro-batch, so the same gradient needs it fixed.
    roomy, tight = twin(), twin()
    little_memory(tight.stages[0][1], 5)
    plan, told = spec(epochs=2, recipe=STILL), list[tuple[int, str]]()
    wanted, events = (_train(one, plan, adapted=lambda *found: told.append(found)) for one in (roomy, tight))
    assert smaller_batches(events) == [8, 4]
    assert told == [(8, "float32"), (4, "float32")]
    assert not any(isinstance(event, Notice) for event in wanted)
    assert best_of(events).val_loss == pytest.approx(best_of(wanted).val_loss, rel=1e-3)
    for name, tensor in roomy.tensors().items():
        assert torch.allclose(tensor, tight.tensors()[name], atol=1e-4), name


def test_memory_that_runs_out_between_two_micro_batches_leaves_no_half_gradient() -> None:
    steady, shaken = twin(), twin()
    calls = {"training": 0}

    def fail_once(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        calls["training"] += module.training
        if calls["training"] == 2:
            calls["training"] += 1
            raise torch.OutOfMemoryError("CUDA out of memory.")

    shaken.stages[0][1][0].register_forward_pre_hook(fail_once)
    _train(steady, spec(epochs=1, micro_batch=4, recipe=STILL))
    events = _train(shaken, spec(epochs=1, micro_batch=8, recipe=STILL))
    assert smaller_batches(events) == [4]
    for name, tensor in steady.tensors().items():
        assert torch.allclose(tensor, shaken.tensors()[name], atol=1e-5), name


def test_memory_for_not_even_one_picture_says_what_to_do() -> None:
    backbone = twin()
    little_memory(backbone.stages[0][1], 0)
    with pytest.raises(DeviceError, match="smaller image size"):
        _train(backbone, spec())


def test_another_runtime_error_is_not_taken_for_a_full_memory() -> None:
    backbone = twin()

    def broken(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    backbone.stages[0][1][0].register_forward_pre_hook(broken)
    with pytest.raises(RuntimeError, match="mat1"):
        _train(backbone, spec())


def test_a_rate_that_is_far_too_high_ends_with_the_best_state_and_a_warning() -> None:
    backbone = twin()
    plan = spec()
    # Beyond what a recipe takes, so that a few steps are enough.
    plan = plan.model_copy(
        update={"recipe": plan.recipe.model_copy(update={"learning_rate": 1e30, "stage_rate": 1e30})}
    )
    events = _train(backbone, plan)
    assert any(isinstance(event, Notice) and "lower learning rate" in event.message for event in events)
    assert np.isfinite(best_of(events).val_loss)
    assert all(torch.isfinite(tensor.float()).all() for tensor in backbone.tensors().values())


def test_closing_the_generator_stops_it() -> None:
    backbone = twin()
    saved: list[int] = []
    running = fit(
        backbone,
        on_pixels(backbone),
        pictures()[1],
        TRAIN,
        VAL,
        spec=spec(epochs=1000),
        strategy=strategy(WHOLE),
        frozen=0,
        save_best=lambda tensors: saved.append(1),
    )
    next(running)
    running.close()
    assert saved == [1]
    with pytest.raises(StopIteration):
        next(running)


def test_one_picture_left_over_does_not_break_batch_norm() -> None:
    events = _train(twin(), spec(batch_size=53, micro_batch=1, epochs=1))
    assert all(np.isfinite(point.val_loss) for point in _epochs(events))
