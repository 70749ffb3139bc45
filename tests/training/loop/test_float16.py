"""Training in float16: the loss is scaled, and a gradient that the scale makes too large is no step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.helpers import best_of, finish
from tests.training.tower import inputs_after, tower
from tests.training.twin import pictures, spec
from tl_core.documents.events import EpochEnded, Notice
from tl_core.models.build import Backbone
from tl_core.training.loop.fit import fit
from tl_core.training.loop.steps import Running, Trainer
from tl_core.training.strategies.strategies import strategy

pytestmark = pytest.mark.usefixtures("tower_family")

PLAIN_SGD: dict[str, object] = {"optimizer": "sgd", "momentum": 0, "weight_decay": 0, "norm_learns": False}
FAR_TOO_LARGE = 2.0**30
"""A scale at which gradients overflow in float16."""


def _trainer(recipe: dict[str, object], *, scale: float | None = None, precision: str = "float16") -> Trainer:
    backbone, (_, labels) = tower(), pictures()
    plan = spec(precision=precision, recipe={**PLAIN_SGD, "learning_rate": 0.1, "stage_rate": 0.1, **recipe})
    trainer = Trainer(backbone, inputs_after(backbone, 0), labels, spec=plan, strategy=strategy("lp_ft"), frozen=0)
    if scale is not None:
        trainer._scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return trainer


def _step(trainer: Trainer) -> Running:
    running = Running()
    finish(trainer.step(np.arange(16), 1.0, draw=[0, 0], running=running))
    return running


def _ages(trainer: Trainer) -> set[int]:
    return {group["age"] for group in trainer._optimizer.param_groups}


def _fit(backbone: Backbone, precision: str) -> list[object]:
    _, labels = pictures()
    rows = np.arange(len(labels))
    plan = spec(epochs=4, precision=precision, recipe={"optimizer": "sgd", "learning_rate": 0.1, "stage_rate": 1e-2})
    fitting = fit(
        backbone,
        inputs_after(backbone, 0),
        labels,
        rows[:54],
        rows[54:],
        spec=plan,
        strategy=strategy("lp_ft"),
        frozen=0,
        save_best=lambda _: None,
    )
    return list(finish(fitting)[1])


def test_float16_learns_like_float32() -> None:
    losses = {}
    for precision in ("float32", "float16"):
        events = _fit(tower(), precision)
        losses[precision] = [event.val_loss for event in events if isinstance(event, EpochEnded)]
    assert losses["float16"] != losses["float32"]
    assert losses["float16"] == pytest.approx(losses["float32"], rel=0.05)
    assert min(losses["float16"]) < losses["float16"][0] / 2


def test_a_scale_that_is_too_large_costs_no_step() -> None:
    recipe: dict[str, object] = {"ema": 0.9, "norm_learns": True}
    calm, shaken = _trainer(recipe, scale=1.0), _trainer(recipe, scale=FAR_TOO_LARGE)
    losses = [_step(trainer).loss for trainer in (calm, shaken)]
    assert losses[0] == losses[1], "counted once, however often the gradient was computed"
    assert shaken._scaler.get_scale() < FAR_TOO_LARGE
    assert _ages(shaken) == {1}
    for name, tensor in calm.tensors().items():
        assert torch.allclose(tensor, shaken.tensors()[name], atol=1e-4), name
    with calm.judged(), shaken.judged():
        for name, tensor in calm.tensors().items():
            assert torch.allclose(tensor, shaken.tensors()[name], atol=1e-4), name


def test_gradients_are_clipped_in_their_own_scale() -> None:
    trainer = _trainer({"clip": 0.01, "learning_rate": 1.0, "stage_rate": 1.0})
    before = trainer.tensors()
    _step(trainer)
    changes = [(tensor - before[name]).float().flatten() for name, tensor in trainer.tensors().items()]
    assert float(torch.cat(changes).norm()) == pytest.approx(0.01, rel=1e-2)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_what_no_scale_mends_is_no_step_and_ends(broken: str) -> None:
    trainer = _trainer({"ema": 0.9})
    head = trainer._backbone.head
    assert head is not None
    if broken == "loss":
        head.register_forward_hook(lambda module, given, out: out * torch.inf)
    else:
        head.weight.register_hook(lambda gradient: gradient * torch.inf)
    before = trainer.tensors()
    assert not np.isfinite(_step(trainer).loss)
    assert _ages(trainer) == {0}
    with trainer.judged():
        averaged = trainer.tensors()
    for state in (trainer.tensors(), averaged):
        assert all(torch.equal(tensor, before[name]) for name, tensor in state.items())


def test_a_run_whose_loss_is_no_number_ends_as_diverged() -> None:
    backbone, seen = tower(), 0

    def overflow(module: torch.nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> torch.Tensor:
        nonlocal seen
        seen += module.training
        return out * torch.inf if seen > 6 else out

    backbone.stages[0][1].register_forward_hook(overflow)
    events = _fit(backbone, "float16")
    assert any(isinstance(event, Notice) and "diverged in epoch 2" in event.message for event in events)
    assert np.isfinite(best_of(events).val_loss)


def test_the_pull_at_a_stage_has_no_scale() -> None:
    lengths = []
    for scale in (2.0**8, FAR_TOO_LARGE):
        trainer = _trainer({}, scale=scale)
        finish(trainer.pull(np.arange(16)))
        head = trainer._backbone.head
        assert head is not None
        assert head.weight.grad is not None
        lengths.append(float(head.weight.grad.norm()))
    assert lengths[1] == pytest.approx(lengths[0], rel=1e-2)
