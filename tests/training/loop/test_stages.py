"""Strategies that work stage by stage: which stage is pulled hardest, stages that join one by one, and how far each moved."""

from collections.abc import Generator

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.tower import STAGES, frozen_at_first, inputs_after, thaw, tower
from tests.training.twin import (
    TRAIN,
    VAL,
    best_of,
    finish,
    little_memory,
    logits,
    losses,
    pictures,
    smaller_batches,
    spec,
    train,
    twin,
)
from tl_core.documents.events import Event, Notice
from tl_core.documents.spec import TrainSpec
from tl_core.evaluation.calibration import calibrated_loss
from tl_core.models.build import Backbone
from tl_core.training.loop.inputs import Inputs
from tl_core.training.loop.stages import stage_movement, stage_pulls
from tl_core.training.strategies.schedules import MOST_PHASES, phases
from tl_core.training.strategies.strategies import strategies, strategy

RATES = {"learning_rate": 1e-2, "stage_rate": 1e-2}
STEPS = [name for name, row in strategies().items() if row.takes_steps]


def _spec(name: str, **changed: object) -> TrainSpec:
    learning = (1,) if name == "surgical" else None
    row = strategy(name).recipe.changed({**RATES, "augmentation": "none"})
    plan = spec(stages=1, learning_stages=learning, **changed)
    return plan.model_copy(update={"recipe": row})


def _fit(
    name: str, plan: TrainSpec, backbone: Backbone, **more: object
) -> tuple[list[Event], list[tuple[int, dict[str, Tensor]]]]:
    """Also: what was asked for when stages joined, with the tensors at that moment."""
    asked = []

    def join(frozen: int) -> Generator[Event, None, Inputs]:
        asked.append((frozen, {key: tensor.clone() for key, tensor in backbone.tensors().items()}))
        return thaw(backbone, frozen)

    frozen = frozen_at_first(backbone, name, plan)
    events = train(backbone, inputs_after(backbone, frozen), plan, name, frozen=frozen, thaw=join, **more)
    return events, asked


@pytest.mark.parametrize("name", STEPS)
def test_every_strategy_learns_keeps_its_best_and_repeats(name: str) -> None:
    found, (pixels, labels) = [], pictures()
    for _ in range(2):
        backbone, saved = tower(), []
        names = set(backbone.tensors())
        events, _ = _fit(name, _spec(name, epochs=4), backbone, save_best=saved.append)
        assert best_of(events).epoch > 0
        assert set(backbone.tensors()) == set(saved[-1]) == names, "the library's own names"
        assert all(torch.equal(tensor, saved[-1][key]) for key, tensor in backbone.tensors().items())
        assert calibrated_loss(logits(backbone, pixels[VAL]), labels[VAL]) == pytest.approx(
            best_of(events).val_loss, abs=1e-3
        )
        found.append(losses(events))
    assert found[0] == found[1]
    assert min(found[0][1:]) < found[0][0]


@pytest.mark.parametrize("name", STEPS)
def test_every_strategy_survives_a_full_memory(name: str) -> None:
    roomy, tight = tower(), tower()
    little_memory(tight.head, 5)
    plan = _spec(name, epochs=2)
    plan = plan.model_copy(update={"recipe": plan.recipe.changed({"norm_learns": False})})
    wanted, _ = _fit(name, plan, roomy)
    events, _ = _fit(name, plan, tight)
    assert smaller_batches(events)[-1] == 4
    assert best_of(events).val_loss == pytest.approx(best_of(wanted).val_loss, rel=1e-2)


@pytest.mark.parametrize(
    ("stages", "epochs", "joining"),
    [
        (3, 4, [(), (2,), (1,), (0,)]),
        (8, 8, [(), (6, 7), (4, 5), (2, 3), (0, 1)]),
        (5, 8, [(), (4,), (3,), (2,), (0, 1)]),
        (8, 2, [(), tuple(range(8))]),
        (8, 1, [tuple(range(8))]),
    ],
)
def test_stages_join_in_phases_that_share_the_epochs(stages: int, epochs: int, joining: list[tuple[int, ...]]) -> None:
    found = phases(strategy("gradual_unfreezing"), stages, epochs)
    assert [phase.joining for phase in found] == joining
    assert sum(phase.epochs for phase in found) == epochs
    assert len(found) <= MOST_PHASES
    assert [phase.first for phase in found] == list(np.cumsum([1, *(phase.epochs for phase in found[:-1])]))
    for phase in found:
        assert phase.frozen == min(phase.joining, default=stages)


def test_without_joining_there_is_one_phase() -> None:
    (only,) = phases(strategy("lp_ft"), 8, 5)
    assert (only.first, only.epochs, only.joining, only.frozen) == (1, 5, (), None)


def test_stages_join_from_the_last_to_the_stem_and_learn_from_then_on() -> None:
    backbone = tower()
    start = {key: tensor.clone() for key, tensor in backbone.tensors().items()}
    events, asked = _fit("gradual_unfreezing", _spec("gradual_unfreezing", epochs=4), backbone)
    assert [frozen for frozen, _ in asked] == [2, 1, 0]
    said = [event.message for event in events if isinstance(event, Notice) and "learns too" in event.message]
    assert [message.split(" learns")[0] for message in said] == [
        f"From epoch {epoch} on, {name}" for epoch, name in ((2, "attention"), (3, "conv"), (4, "stem"))
    ]
    for frozen, tensors in asked:
        moved = {key.split(".")[0] for key in start if not torch.equal(start[key], tensors[key])}
        # The norm after pooling belongs to the last stage.
        learnt = {"head", *STAGES[frozen + 1 :], *(["norm"] if frozen < 2 else [])}
        assert moved == learnt


def _pulls(backbone: Backbone) -> tuple[float, ...]:
    inputs, labels = inputs_after(backbone, 0), pictures()[1]
    row, plan = strategy("surgical"), _spec("surgical")
    return finish(stage_pulls(backbone, inputs, labels, TRAIN, spec=plan, strategy=row))[0]


@pytest.mark.parametrize("planted", [0, 1])
def test_the_stage_that_is_pulled_hardest_is_found(planted: int) -> None:
    backbone = tower()
    convolution, norm = backbone.stages[planted][1][0][:2]
    before = _pulls(tower())
    with torch.no_grad():
        # A hundredth of the weights, and a norm that makes up for it: the same function with a far larger gradient.
        convolution.weight *= 0.01
        convolution.bias *= 0.01
        norm.running_var.copy_((norm.running_var + norm.eps) * 1e-4 - norm.eps)
    pulls = _pulls(backbone)
    assert int(np.argmax(pulls)) == planted
    others = [stage for stage in range(3) if stage != planted]
    assert [pulls[stage] for stage in others] == pytest.approx([before[stage] for stage in others], rel=0.2)


def test_the_pull_needs_no_float64_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's GPUs have none."""
    to_host, to_double = Tensor.cpu, Tensor.double
    on_host: list[Tensor] = []

    def cpu(tensor: Tensor) -> Tensor:
        on_host.append(to_host(tensor))
        return on_host[-1]

    def double(tensor: Tensor) -> Tensor:
        assert any(tensor is moved for moved in on_host)
        return to_double(tensor)

    wanted = _pulls(tower())
    monkeypatch.setattr(Tensor, "cpu", cpu)
    monkeypatch.setattr(Tensor, "double", double)
    assert _pulls(tower()) == wanted
    assert on_host


def test_looking_for_the_stage_moves_nothing_and_repeats() -> None:
    backbone = tower()
    start = {key: tensor.clone() for key, tensor in backbone.tensors().items()}
    assert _pulls(backbone) == _pulls(backbone)
    assert all(torch.equal(start[key], tensor) for key, tensor in backbone.tensors().items())
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_a_planted_change_is_measured_exactly() -> None:
    backbone = twin()
    before = {name: tensor.clone() for name, tensor in backbone.tensors(head=False).items()}
    with torch.no_grad():
        for parameter in backbone.stage_parameters(1):
            parameter.mul_(1.25)
        for parameter in backbone.head_parameters():
            parameter.mul_(7)
    stem, last = stage_movement(before, backbone, {1})
    assert (stem.name, stem.distance, stem.learned) == ("stem", 0.0, False)
    assert (last.name, last.learned) == ("stage1", True)
    assert last.distance == pytest.approx(0.25, rel=1e-6)
    assert last.parameters == sum(parameter.numel() for parameter in backbone.stage_parameters(1))


def test_statistics_of_batch_norm_are_no_movement() -> None:
    backbone = twin()
    before = {name: tensor.clone() for name, tensor in backbone.tensors().items()}
    backbone.train()
    with torch.no_grad():
        backbone(torch.randn(8, 3, 32, 32))
    assert not torch.equal(before["stem.1.running_mean"], backbone.tensors()["stem.1.running_mean"])
    assert [row.distance for row in stage_movement(before, backbone, {0, 1})] == [0.0, 0.0]
