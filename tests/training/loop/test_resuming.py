"""Training that was interrupted after an epoch goes on as if nothing had happened: curve and tensors are the same, bit for bit."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from tests.training.tower import STAGES, tower
from tests.training.twin import pictures, spec
from tl_core.documents.arrays import Checkpoint
from tl_core.documents.events import EpochEnded, Event, Notice, Progress
from tl_core.documents.options import Level
from tl_core.documents.spec import TrainSpec
from tl_core.models.build import Backbone
from tl_core.training.loop.fit import Reached, fit
from tl_core.training.loop.inputs import Copies, Inputs
from tl_core.training.loop.steps import FEWER, OVERFLOWS, StateMismatch, Trainer
from tl_core.training.strategies.schedules import phases
from tl_core.training.strategies.strategies import Strategy, strategies, strategy
from tl_core.training.strategies.what_learns import first_learning

EPOCHS = 5
TRAINED = 30
ROWS = np.arange(48)
BASE: dict[str, object] = {"learning_rate": 1e-2, "stage_rate": 1e-2, "schedule": "constant"}


Has = Callable[[Checkpoint, dict[str, Tensor]], bool]


@dataclass(frozen=True)
class Case:
    """A strategy with a recipe that has state of one more kind than a plain one."""

    strategy: str = "full_fine_tuning"
    recipe: dict[str, object] = field(default_factory=dict)
    changed: dict[str, object] = field(default_factory=dict)
    views: bool = False
    """Whether the frozen stages' output is kept for views of each picture."""
    dropout: bool = False
    has: Has = lambda found, tensors: "weights/head.weight" in tensors
    """Whether the checkpoint of the second epoch has the state that the case is about: without it, the case could not fail."""


def _with(*names: str) -> Has:
    return lambda found, tensors: all(any(name in full for full in tensors) for name in names)


CASES = {
    "plain": Case(recipe={"optimizer": "sgd", "momentum": 0.9}, has=_with("/momentum_buffer")),
    "moments": Case(
        recipe={"weight_decay": 0.05, "clip": 1.0, "label_smoothing": 0.1, "class_weights": True},
        has=_with("/exp_avg_sq", "/step"),
    ),
    "batch norm": Case(recipe={"norm_learns": True}, has=_with("weights/stem.1.running_mean")),
    "average": Case(recipe={"ema": 0.8, "norm_learns": True}, has=_with("averages/stem.1.running_mean")),
    "cosine": Case(recipe={"schedule": "cosine", "warm_up": 0.3}),
    "patience": Case(recipe={"patience": 1, "learning_rate": 0.1, "stage_rate": 0.1}),
    "augmentation": Case(recipe={"augmentation": "strong"}),
    "views": Case("partial_fine_tuning", {"augmentation": "light"}, {"stages": 1}, views=True),
    "stages join": Case(
        "gradual_unfreezing",
        {"schedule": "cosine", "warm_up": 0.2, "ema": 0.7, "norm_learns": True},
        has=lambda found, tensors: len(set(found.ages)) > 1,
    ),
    "low rank": Case(
        "lora",
        {"lora_rank": 4, "ema": 0.5},
        has=lambda found, tensors: (
            "weights/attention.mlp.parametrizations.weight.0.up" in tensors
            and "weights/attention.mlp.parametrizations.weight.original" not in tensors
        ),
    ),
    "one stage": Case(
        "surgical",
        changed={"learning_stages": (1,)},
        has=lambda found, tensors: not any(name.startswith("weights/stem") for name in tensors),
    ),
    "mixing": Case(recipe={"mixup": 0.4, "cutmix": 0.4}),
    "small parts": Case(changed={"micro_batch": 5}, has=lambda found, tensors: found.micro_batch == 5),
    "channels last": Case(recipe={"clip": 0.5}, changed={"channels_last": True}),
    "scaled": Case("lp_ft", changed={"precision": "float16"}, has=lambda found, tensors: found.scaler["scale"] > 1),
    "dropout": Case(
        dropout=True,
        # Nothing else draws from torch's own generator.
        has=lambda found, tensors: not torch.equal(tensors["random/cpu"], torch.Generator().manual_seed(0).get_state()),
    ),
}


Kept = tuple[str, bytes, dict[str, Tensor]]
"""What a run that was killed has on the disk: the document of its checkpoint, the file, and the best state."""


@dataclass
class Run:
    """What a run has said, what lay on the disk after each of its epochs, and the tensors that it delivers."""

    events: list[Event] = field(default_factory=list)
    kept: dict[int, Kept] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def curve(self) -> list[EpochEnded]:
        return [event.model_copy(update={"time": 0}) for event in self.events if isinstance(event, EpochEnded)]

    @property
    def said(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Notice)]


def _run(case: Case, after: Kept | None = None) -> Run:
    """Train with a network of its own; from the checkpoint of a killed run on where there is one."""
    row, run = strategy(case.strategy), Run()
    backbone, labels = _network(case), pictures()[1][ROWS]
    plan = spec(epochs=EPOCHS, recipe={**BASE, **case.recipe}, **case.changed)
    reached, best = None, dict[str, Tensor]()
    if after is not None:
        text, file, saved = after
        reached, best = Reached(Checkpoint.parse(text, "kept"), load(file), dict(saved)), dict(saved)
        # Torch's generator of a new process is somewhere else.
        torch.rand(17)
    frozen = _frozen(backbone, row, plan, reached.checkpoint.epoch if reached else 0)

    def keep(state: Callable[[], Reached]) -> Iterator[Event]:
        found = state()
        tensors = {name: tensor.contiguous() for name, tensor in found.tensors.items()}
        run.kept[found.checkpoint.epoch] = (found.checkpoint.model_dump_json(), save(tensors), dict(best))
        yield from ()

    fitting = fit(
        backbone,
        _inputs(case, backbone, plan, frozen),
        labels,
        ROWS[:TRAINED],
        ROWS[TRAINED:],
        spec=plan,
        strategy=row,
        frozen=frozen,
        save_best=best.update,
        thaw=partial(_thaw, backbone),
        keep=keep,
        reached=reached,
    )
    run.events += fitting
    run.tensors = backbone.tensors()
    return run


def _network(case: Case) -> Backbone:
    backbone = tower()
    if case.dropout:
        backbone.module.get_submodule("conv").append(nn.Dropout(0.3))
    return backbone


def _frozen(backbone: Backbone, row: Strategy, plan: TrainSpec, epoch: int) -> int:
    if not row.thaws:
        return first_learning(backbone, row, plan)
    joined = [phase.frozen for phase in phases(row, len(STAGES), EPOCHS) if phase.first <= max(1, epoch)]
    return joined[-1] or 0


def _inputs(case: Case, backbone: Backbone, plan: TrainSpec, frozen: int) -> Inputs:
    found = _after(backbone, frozen, plan.recipe.augmentation)
    if not case.views:
        return found
    changed = np.random.default_rng(3).normal(0, 0.1, (2, TRAINED, *found.rows.shape[1:]))
    views = tuple((found.rows[:TRAINED] + noise).astype(np.float16) for noise in changed)
    return Inputs.of_activations(found.rows, device=found.device, copies=Copies(ROWS[:TRAINED], views))


def _after(backbone: Backbone, frozen: int, level: Level = "none") -> Inputs:
    """What the first `frozen` stages give; pixels where that is none."""
    pixels = pictures()[0][ROWS]
    found = Inputs.of_pixels(backbone, pixels, frozen=frozen, device=torch.device("cpu"), level=level)
    if frozen == 0:
        return found
    plain = Inputs.of_pixels(backbone, pixels, frozen=frozen, device=found.device, level="none")
    return Inputs.of_activations(plain.batch(ROWS).numpy(), device=found.device)


def _thaw(backbone: Backbone, frozen: int) -> Generator[Event, None, Inputs]:
    yield from ()
    return _after(backbone, frozen)


def _require_same(case: Case) -> None:
    """Kill a run after each of its epochs: what follows must be what would have followed."""
    whole = _run(case)
    text, file, _ = whole.kept[2]
    assert case.has(Checkpoint.parse(text, "kept"), load(file))
    for epoch, kept in whole.kept.items():
        again = _run(case, kept)
        assert again.curve == whole.curve[epoch + 1 :]
        assert again.said == whole.said[len(whole.said) - len(again.said) :]
        for name, tensor in whole.tensors.items():
            assert torch.equal(tensor, again.tensors[name]), name
        for later, state in again.kept.items():
            assert state[:2] == whole.kept[later][:2]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_run_that_is_interrupted_after_any_epoch_ends_as_if_it_had_not_been(case: Case) -> None:
    _require_same(case)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, row in strategies().items() if row.takes_steps])
def test_every_strategy_goes_on_with_its_own_recipe(name: str) -> None:
    own = strategy(name).recipe.model_dump()
    _require_same(Case(name, own, {"learning_stages": (1,)} if strategy(name).learns == "one" else {}))


def test_a_run_that_stopped_early_does_not_go_on() -> None:
    whole = _run(CASES["patience"])
    assert "Training stopped" in whole.said[-2]
    assert max(whole.kept) < EPOCHS
    again = _run(CASES["patience"], whole.kept[max(whole.kept)])
    assert (again.curve, again.said) == ([], whole.said[-2:])


def test_what_is_interrupted_twice_goes_on_twice() -> None:
    case = CASES["stages join"]
    whole = _run(case)
    again = _run(case, _run(case, whole.kept[1]).kept[3])
    assert again.curve == whole.curve[4:]
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in whole.tensors.items())


def test_a_best_state_that_is_newer_than_the_checkpoint_changes_nothing() -> None:
    """The worker may be killed after it has written the one and before it has written the other."""
    whole = _run(CASES["moments"])
    assert [point.epoch for point in whole.curve if point.best][-2:] == [4, 5]
    text, file, _ = whole.kept[2]
    again = _run(CASES["moments"], (text, file, whole.kept[5][2]))
    assert again.curve == whole.curve[3:]
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in whole.tensors.items())


@pytest.mark.parametrize("what", ["memory", "float16"])
def test_what_training_had_to_give_up_stays_given_up(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    case = Case("lp_ft", {"norm_learns": False}, {"precision": "float16"} if what == "float16" else {})
    real, calls = Trainer._forward, 0

    def too_small(trainer: Trainer, images: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if what == "memory" and len(images) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        found = real(trainer, images)
        return found * torch.inf if what == "float16" and trainer.precision == "float16" and calls > 4 else found

    monkeypatch.setattr(Trainer, "_forward", too_small)
    whole = _run(case)
    message = FEWER.format(at_once=4) if what == "memory" else OVERFLOWS
    assert message in whole.said
    again = _run(case, whole.kept[2])
    assert again.curve == whole.curve[3:]
    assert message not in again.said


def test_the_state_of_another_run_is_refused() -> None:
    kept = _run(CASES["plain"]).kept[1]
    with pytest.raises(StateMismatch):
        _run(CASES["moments"], kept)


def test_on_another_device_it_computes_as_its_spec_says() -> None:
    text, file, best = _run(CASES["scaled"]).kept[1]
    again = _run(Case("lp_ft"), (text.replace('"device":"cpu"', '"device":"cuda"'), file, best))
    found = Checkpoint.parse(again.kept[2][0], "kept")
    assert (found.epoch, found.precision, found.scaler, found.device) == (2, "float32", {}, "cpu")


def test_the_time_that_is_left_is_that_of_the_epochs_that_are_left() -> None:
    again = _run(CASES["plain"], _run(CASES["plain"]).kept[3])
    progress = [event for event in again.events if isinstance(event, Progress)]
    assert progress
    assert all(3 * TRAINED < event.done <= event.total == EPOCHS * TRAINED for event in progress)
