"""Training in float16: the loss is scaled, and a gradient that the scale makes too large is no step."""

import numpy as np
import pytest
import torch

from tests.training.tower import inputs_after, tower
from tests.training.twin import best_of, finish, losses, one_step, pictures, spec, train, trainer_of
from tl_core.documents.events import Event, Notice
from tl_core.models.build import Backbone
from tl_core.training.loop.inputs import Inputs
from tl_core.training.loop.steps import OVERFLOWS, Trainer

PLAIN_SGD: dict[str, object] = {"optimizer": "sgd", "momentum": 0, "weight_decay": 0, "norm_learns": False}
FAR_TOO_LARGE = 2.0**30
"""A scale at which gradients overflow in float16."""


def _trainer(recipe: dict[str, object], *, scale: float | None = None, precision: str = "float16") -> Trainer:
    backbone = tower()
    plan = spec(precision=precision, recipe={**PLAIN_SGD, "learning_rate": 0.1, "stage_rate": 0.1, **recipe})
    trainer = trainer_of(backbone, inputs_after(backbone, 0), plan, "lp_ft")
    if scale is not None:
        trainer._scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return trainer


def _ages(trainer: Trainer) -> set[int]:
    return {group["age"] for group in trainer._optimizer.param_groups}


def _fit(backbone: Backbone, precision: str, **more: object) -> list[Event]:
    plan = spec(epochs=4, precision=precision, recipe={"optimizer": "sgd", "learning_rate": 0.1, "stage_rate": 1e-2})
    return train(backbone, inputs_after(backbone, 0), plan, "lp_ft", **more)


def test_float16_learns_like_float32() -> None:
    whole, half = (losses(_fit(tower(), precision)) for precision in ("float32", "float16"))
    assert half != whole
    assert half == pytest.approx(whole, rel=0.05)
    assert min(half) < half[0] / 2


def test_a_scale_that_is_too_large_costs_no_step() -> None:
    recipe: dict[str, object] = {"ema": 0.9, "norm_learns": True}
    calm, shaken = _trainer(recipe, scale=1.0), _trainer(recipe, scale=FAR_TOO_LARGE)
    assert one_step(calm).loss == one_step(shaken).loss, "counted once, however often the gradient was computed"
    assert shaken._scaler.get_scale() < FAR_TOO_LARGE
    assert _ages(shaken) == {1}
    for name, tensor in calm.tensors().items():
        assert torch.allclose(tensor, shaken.tensors()[name], atol=1e-4), name
    with calm.judged(), shaken.judged():
        for name, tensor in calm.tensors().items():
            assert torch.allclose(tensor, shaken.tensors()[name], atol=1e-4), name


def test_memory_that_runs_out_while_the_scale_is_taken_out_costs_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    calm, shaken = _trainer({}), _trainer({})
    calm.micro_batch = 8
    real, calls = shaken._scaler.unscale_, 0

    def full_once(optimizer: torch.optim.Optimizer) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            optimizer.param_groups[0]["params"][0].grad.zero_()
            raise torch.OutOfMemoryError("CUDA out of memory.")
        real(optimizer)

    monkeypatch.setattr(shaken._scaler, "unscale_", full_once)
    for trainer in (calm, shaken):
        one_step(trainer)
    assert shaken.micro_batch == 8
    assert all(torch.equal(tensor, shaken.tensors()[name]) for name, tensor in calm.tensors().items())


def test_gradients_are_clipped_in_their_own_scale() -> None:
    trainer = _trainer({"clip": 0.01, "learning_rate": 1.0, "stage_rate": 1.0})
    before = trainer.tensors()
    one_step(trainer)
    changes = [(tensor - before[name]).float().flatten() for name, tensor in trainer.tensors().items()]
    assert float(torch.cat(changes).norm()) == pytest.approx(0.01, rel=1e-2)


@pytest.mark.parametrize("broken", ["loss", "gradient"])
def test_what_no_scale_mends_is_no_step_and_ends(broken: str) -> None:
    trainer = _trainer({"ema": 0.9})
    head = trainer._backbone.head
    if broken == "loss":
        head.register_forward_hook(lambda module, given, out: out * torch.inf)
    else:
        head.weight.register_hook(lambda gradient: gradient * torch.inf)
    before = trainer.tensors()
    assert not np.isfinite(one_step(trainer).loss)
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


FAR = 1e20
"""A factor that is too large for float16."""


def _too_large_for_float16(backbone: Backbone, where: str) -> Backbone:
    """`backbone`, in which values are too large for float16 on the way, in float32 not."""

    def there_and_back(
        module: torch.nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor
    ) -> torch.Tensor | None:
        if where == "gradient":
            if out.requires_grad:
                out.register_hook(lambda gradient: gradient * FAR / FAR)
            return None
        return out * FAR / FAR if module.training or where == "scores" else out

    backbone.stages[0][1][0][0].register_forward_hook(there_and_back)
    return backbone


@pytest.mark.parametrize("where", ["scores", "steps", "gradient"])
def test_a_network_that_is_too_large_for_float16_goes_on_in_float32_and_learns_as_there(where: str) -> None:
    told: list[tuple[int, str]] = []
    events = _fit(_too_large_for_float16(tower(), where), "float16", adapted=lambda *changed: told.append(changed))
    wanted = _fit(_too_large_for_float16(tower(), where), "float32")
    assert losses(events)[1:] == pytest.approx(losses(wanted)[1:], rel=1e-4)
    assert losses(events)[0] == pytest.approx(losses(wanted)[0], rel=1e-2), (
        "it is scored in float16 as long as that does"
    )
    assert [one.message for one in events if isinstance(one, Notice)] == [OVERFLOWS]
    assert told == [(16, "float32")]


def test_frozen_stages_that_are_too_large_for_float16_are_computed_in_float32_too() -> None:
    backbone = _too_large_for_float16(tower(), "scores")
    inputs = Inputs.of_pixels(
        backbone, pictures()[0], frozen=1, device=torch.device("cpu"), level="none", precision="float16"
    )
    trainer = trainer_of(backbone, inputs, spec(precision="float16", stages=2), "partial_fine_tuning", frozen=1)
    _, events = finish(trainer.evaluate(np.arange(16)))
    assert [one.message for one in events if isinstance(one, Notice)] == [OVERFLOWS]
    assert np.isfinite(trainer.scores.loss)
    assert np.isfinite(one_step(trainer).loss)


def test_the_pull_at_a_stage_has_no_scale() -> None:
    lengths = []
    for scale in (2.0**8, FAR_TOO_LARGE):
        trainer = _trainer({}, scale=scale)
        finish(trainer.pull(np.arange(16)))
        lengths.append(float(trainer._backbone.head.weight.grad.norm()))
    assert lengths[1] == pytest.approx(lengths[0], rel=1e-2)
