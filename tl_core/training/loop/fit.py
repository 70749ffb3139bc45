"""Training by gradient steps: some stages on cached activations, or the whole network on pixels. Needs torch.

Changes torch's global random state and CUDA's deterministic mode, so it needs a process of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tl_core.data.pace import Pace
from tl_core.documents.checkpoint import Checkpoint
from tl_core.documents.events import EpochEnded, Event, Notice
from tl_core.documents.spec import TrainSpec
from tl_core.models.build import Backbone
from tl_core.training.head.fitted import Head, class_weights
from tl_core.training.loop.inputs import Inputs
from tl_core.training.loop.steps import Adapted, Running, Scores, State, StateMismatch, Trainer
from tl_core.training.strategies import lora
from tl_core.training.strategies.optimizers import DIVERGED
from tl_core.training.strategies.schedules import Phase, phases, schedule, warm_up_steps
from tl_core.training.strategies.strategies import Strategy

LOOKED_BACK = 256
"""Training images that are scored unchanged after each epoch where training sees only mixtures of images."""

Thaw = Callable[[int], Generator[Event, None, Inputs]]
"""Gives the inputs of the stages after the given number of frozen stages."""

_RANDOM, _RANDOM_ON_DEVICE = "random/cpu", "random/device"


@dataclass(frozen=True)
class Reached:
    """The state of training after an epoch, but for the best state until then."""

    checkpoint: Checkpoint
    tensors: Mapping[str, Tensor]
    """On the CPU: `steps.State.tensors`, and the states of torch's random generators."""


Keep = Callable[[Callable[[], Reached]], Iterator[Event]]
"""Is offered the state of training after each epoch, as a function that makes it. On a CPU its tensors are those that the next step
changes, so whoever wants them writes them at once."""


def _nothing_kept(state: Callable[[], Reached]) -> Iterator[Event]:
    return iter(())


def set_fitted_head(backbone: Backbone, head: Head) -> None:
    """Copy the weights of the fitted head into the backbone's head.

    Raises:
        ValueError: the backbone has no head, or one of another shape.
    """
    layer = backbone.head
    if layer is None or tuple(layer.weight.shape) != head.weight.shape:
        raise ValueError("The fitted head does not fit this backbone.")
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        layer.bias.copy_(torch.from_numpy(head.bias))


def fit(
    backbone: Backbone,
    inputs: Inputs,
    labels: NDArray[np.integer],
    train_rows: NDArray[np.integer],
    val_rows: NDArray[np.integer],
    *,
    spec: TrainSpec,
    strategy: Strategy,
    frozen: int,
    save_best: Callable[[dict[str, Tensor]], None],
    thaw: Thaw | None = None,
    adapted: Adapted = lambda micro_batch, precision: None,
    keep: Keep = _nothing_kept,
    reached: Reached | None = None,
    best_tensors: dict[str, Tensor] | None = None,
) -> Generator[Event, None, None]:
    """Train the head and the stages that the strategy trains; keep the state with the lowest validation loss.

    The validation loss is that after the best temperature, which the delivered bundle has: a network that improves may become
    over-confident at the same time, and the plain loss would discard it (trash600: accuracy rose from 0.79 to 0.83 while the
    plain loss rose from 0.545 to 0.551).

    The state before the first step is epoch 0 and may be the best, so a run that starts from a fitted head never ends with a
    worse one. `inputs` gives the output of the first `frozen` stages; `labels` (N,) are the labels of its rows. `spec` gives
    epochs, batch, micro-batch, precision, memory layout, seed and recipe. Where stages join one by
    one, `thaw` gives the output of the stages that are still frozen. `save_best` is called with each better state; nothing is
    written here. In the end the backbone has the best state, on the CPU in eval mode. Close the generator to cancel.

    When the device's memory runs out, the micro-batch is halved and the step is repeated. The batch, and so the gradient, stays the
    same, except with batch norm that learns, which sees the smaller micro-batch. When it runs out while weights are changed, the epoch
    begins again from the state that it began with; on a CPU, where no copy of that is kept, the error is passed on. Where values in
    the network are too large for float16, training goes on in float32. `adapted` is called with what was changed.

    `keep` is offered the state after each epoch. With `reached`, which it was offered in a run that was interrupted, and
    `best_tensors`, which `save_best` was called with last, training goes on after that epoch. `frozen` and `inputs` are then those of that epoch, and `backbone` is as it was
    before the first step, though its head may be another one. On a CPU, what follows is what would have followed without the
    interruption, bit for bit: every random choice rests on the seed and the number of the epoch, and the state of torch's own
    generator is kept.

    Raises:
        DeviceError: not even one image fits the device's memory.
        StateMismatch: `reached` is the state of another network, strategy or recipe.
        ValueError: there are no training or no validation rows, or stages join and `thaw` is missing, or `reached` comes without
            `best_tensors`.
    """
    if len(train_rows) == 0 or len(val_rows) == 0:
        raise ValueError("There must be training and validation rows.")
    if strategy.thaws and thaw is None:
        raise ValueError("Stages that join need `thaw`, which gives their inputs.")
    torch.manual_seed(spec.seed)
    be_deterministic(inputs.device)
    recipe = spec.recipe
    trainer = Trainer(
        backbone,
        inputs,
        labels,
        spec=spec,
        strategy=strategy,
        frozen=frozen,
        class_weights=class_weights(labels[train_rows]) if recipe.class_weights else None,
        adapted=adapted,
    )
    if recipe.cutmix and frozen:
        yield Notice(message=_NO_CUTMIX)
    steps_an_epoch = math.ceil(len(train_rows) / spec.batch_size)
    factors = schedule(steps_an_epoch * spec.epochs, recipe)
    course = phases(strategy, len(backbone.stages), spec.epochs)
    sample = _sample(train_rows, spec.seed)

    def rising(phase: Phase) -> int:
        return warm_up_steps(steps_an_epoch * phase.epochs, recipe)

    if reached is None:
        done = best_epoch = 0
        yield from trainer.evaluate(val_rows)
        best, best_tensors = trainer.scores, trainer.tensors()
        save_best(best_tensors)
        yield _epoch_event(0, spec, None, best, trainer.head_rate, improved=True)
    elif best_tensors is None:
        raise ValueError("What was reached comes with its best state.")
    else:
        found = reached.checkpoint
        done, best_epoch, best = found.epoch, found.best_epoch, Scores(found.best_loss, found.best_accuracy)
        for phase in course:
            if phase.joining and phase.first <= done:
                trainer.thaw(phase.joining, inputs, frozen=frozen, warm_up=rising(phase))
        _restore(trainer, reached, inputs.device)
        factors = islice(factors, done * steps_an_epoch, None)
    pace: Pace | None = None
    for epoch in range(done + 1, spec.epochs + 1):
        # The stages that joined last get as many epochs as if training had begun with them.
        waited = epoch - 1 - max(best_epoch, course[-1].first - 1)
        if recipe.patience and waited >= recipe.patience:
            yield Notice(
                message=f"Training stopped after epoch {epoch - 1}: the last {waited} brought no better validation loss."
            )
            break
        phase = next(phase for phase in reversed(course) if phase.first <= epoch)
        if phase.first == epoch and phase.joining and thaw is not None and phase.frozen is not None:
            yield Notice(message=_joins(backbone, phase))
            more = yield from thaw(phase.frozen)
            trainer.thaw(phase.joining, more, frozen=phase.frozen, warm_up=rising(phase))
        if phase.first == epoch or pace is None:
            # Phases differ in speed, so the remaining time is estimated from the speed of the present phase.
            pace = Pace("training", len(train_rows) * spec.epochs, before=len(train_rows) * (epoch - 1))
        order = np.random.default_rng([spec.seed, epoch]).permutation(train_rows)
        batches, rates = np.array_split(order, steps_an_epoch), list(islice(factors, steps_an_epoch))
        trainer.keep()
        running: Running | None = None
        while running is None:
            running = yield from _passed(
                trainer, batches, rates, draw=[spec.seed, epoch], pace=pace, before=len(train_rows) * (epoch - 1)
            )
        if not math.isfinite(running.loss):
            yield Notice(level="warning", message=DIVERGED.format(epoch=epoch))
            break
        with trainer.judged():
            yield from trainer.evaluate(val_rows)
            if trainer.mixes:
                running = yield from trainer.look_back(sample)
            improved = trainer.scores.loss < best.loss
            if improved:
                best_epoch, best = epoch, trainer.scores
                best_tensors = trainer.tensors()
                save_best(best_tensors)
        yield _epoch_event(epoch, spec, running, trainer.scores, trainer.head_rate, improved=improved)
        yield from keep(partial(_reached, epoch, spec, trainer, inputs.device, best_epoch, best))
    lora.fold(backbone)
    backbone.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    backbone.load_tensors(best_tensors)
    backbone.eval().requires_grad_(True)


def _reached(
    epoch: int, spec: TrainSpec, trainer: Trainer, device: torch.device, best_epoch: int, best: Scores
) -> Reached:
    state, generator = trainer.state(), _device_generator(device)
    # From torch's own generators the network's dropout is drawn.
    random = {_RANDOM: torch.get_rng_state()}
    if generator is not None:
        random[_RANDOM_ON_DEVICE] = generator.get_rng_state()
    checkpoint = Checkpoint(
        epoch=epoch,
        epochs=spec.epochs,
        best_epoch=best_epoch,
        best_loss=best.loss,
        best_accuracy=best.accuracy,
        ages=state.ages,
        averaged=state.averaged,
        scaler=state.scaler,
        micro_batch=trainer.micro_batch,
        precision=trainer.precision,
        device=spec.device,
        torch=torch.__version__,
    )
    return Reached(checkpoint, {**state.tensors, **random})


def _device_generator(device: torch.device) -> Any:
    """The module with the functions for the generator of `device`; None for a CPU, which has the one of torch itself."""
    return {"cuda": torch.cuda, "mps": torch.mps}.get(device.type)


def _restore(trainer: Trainer, reached: Reached, device: torch.device) -> None:
    """Give `trainer` the state of `reached`. On another device it computes as its spec says. Raises StateMismatch."""
    found, tensors = reached.checkpoint, dict(reached.tensors)
    random, on_device = tensors.pop(_RANDOM, None), tensors.pop(_RANDOM_ON_DEVICE, None)
    if random is None:
        raise StateMismatch("The state of the random numbers is missing.")
    same_device = found.device == device.type
    if same_device:
        trainer.compute_as(found.micro_batch, found.precision, scaled=bool(found.scaler))
    trainer.restore(State(tensors, found.ages, found.averaged, dict(found.scaler)))
    torch.set_rng_state(random)
    generator = _device_generator(device)
    if generator is not None and on_device is not None and same_device:
        generator.set_rng_state(on_device)


def _passed(
    trainer: Trainer,
    batches: list[NDArray[np.integer]],
    factors: list[float],
    *,
    draw: list[int],
    pace: Pace,
    before: int,
) -> Generator[Event, None, Running | None]:
    """One pass over the training images; None where it has to begin again, from the state that `trainer` kept and has again."""
    running = Running()
    trainer.expect(batches)
    for step, (rows, factor) in enumerate(zip(batches, factors, strict=True)):
        if not (yield from trainer.step(rows, factor, draw=[*draw, step], running=running)):
            return None
        yield from pace.at(before + running.images)
    return running


_NO_CUTMIX = "CutMix needs pixels. As long as the first stages are frozen, training reads what they give, and CutMix is left out."


def _joins(backbone: Backbone, phase: Phase) -> str:
    names = [backbone.stages[stage][0] for stage in phase.joining]
    if len(names) == 1:
        return f"From epoch {phase.first} on, {names[0]} learns too."
    return f"From epoch {phase.first} on, {names[0]} {'and' if len(names) == 2 else 'to'} {names[-1]} learn too."


def _sample(rows: NDArray[np.integer], seed: int) -> NDArray[np.integer]:
    if len(rows) <= LOOKED_BACK:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, LOOKED_BACK, replace=False))


def be_deterministic(device: torch.device) -> None:
    """Let CUDA compute the same values for the same inputs."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)


def _epoch_event(
    epoch: int, spec: TrainSpec, running: Running | None, scores: Scores, rate: float, *, improved: bool
) -> EpochEnded:
    return EpochEnded(
        epoch=epoch,
        epochs=spec.epochs,
        train_loss=running.loss if running else None,
        train_accuracy=running.accuracy if running else None,
        val_loss=scores.loss,
        val_accuracy=scores.accuracy,
        learning_rate=rate,
        best=improved,
    )
