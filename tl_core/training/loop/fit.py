"""Training by gradient steps: some stages on cached activations, the whole network on pixels, or the head alone on features. Needs torch.

Changes torch's global random state and CUDA's deterministic mode, so it needs a process of its own.
"""

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from tl_core.data.pace import Pace
from tl_core.documents.arrays import Checkpoint
from tl_core.documents.events import EpochEnded, Event, Notice
from tl_core.documents.spec import TrainSpec
from tl_core.models.build import Backbone
from tl_core.models.registry import Network
from tl_core.training.device import torch_device
from tl_core.training.head.fitted import Head, class_weights
from tl_core.training.loop.inputs import Inputs
from tl_core.training.loop.steps import Adapted, Running, Scores, State, StateMismatch, Trainer
from tl_core.training.strategies.schedules import Phase, phases, schedule, warm_up_steps
from tl_core.training.strategies.strategies import Strategy
from tl_core.training.strategies.what_learns import DIVERGED, fold_updates

LOOKED_BACK = 256
"""Training images that are scored unchanged after each epoch where training sees only mixtures of images."""

Thaw = Callable[[int], Generator[Event, None, Inputs]]
"""Gives the inputs of the stages after the given number of frozen stages."""

_RANDOM, _RANDOM_ON_DEVICE = "random/cpu", "random/device"


@dataclass(frozen=True)
class Reached:
    """The state of training after an epoch."""

    checkpoint: Checkpoint
    tensors: Mapping[str, Tensor]
    """On the CPU: `steps.State.tensors`, and the states of torch's random generators."""
    best: dict[str, Tensor]
    """The best state until then, as `Backbone.tensors` gives it."""


Keep = Callable[[Callable[[], Reached]], Iterator[Event]]
"""Is offered the state of training after each epoch, as a function that makes it. On a CPU its tensors are those that the next step
changes, so whoever wants them writes them at once."""


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
    reached: Reached | None = None,
    thaw: Thaw | None = None,
    save_best: Callable[[dict[str, Tensor]], None] = lambda tensors: None,
    adapted: Adapted = lambda micro_batch, precision: None,
    keep: Keep = lambda state: iter(()),
) -> Generator[Event, None, None]:
    """Train the head and the stages that the strategy trains; keep the state with the lowest validation loss.

    The validation loss is that after the best temperature, which the delivered bundle has: a network that improves may become
    over-confident at the same time, and the plain loss would discard it (trash600: accuracy rose from 0.79 to 0.83 while the
    plain loss rose from 0.545 to 0.551).

    The state before the first step is epoch 0 and may be the best, so a run that starts from a fitted head never ends with a
    worse one. `inputs` gives the output of the first `frozen` stages; `labels` (N,) are the labels of its rows. `spec` gives
    epochs, batch, micro-batch, precision, memory layout (`channels_last` None: no), seed and recipe. Where stages join one by
    one, `thaw` gives the output of the stages that are still frozen. `save_best` is called with each better state; nothing is
    written here. In the end the backbone has the best state, on the CPU in eval mode. Close the generator to cancel.

    When the device's memory runs out, the micro-batch is halved and the step is repeated. The batch, and so the gradient, stays the
    same, except with batch norm that learns, which sees the smaller micro-batch. When it runs out while weights are changed, the epoch
    begins again from the state that it began with; on a CPU, where no copy of that is kept, the error is passed on. Where values in
    the network are too large for float16, training goes on in float32. `adapted` is called with what was changed.

    `keep` is offered the state after each epoch. With `reached`, which it was offered in a run that was interrupted, training goes on
    after that epoch. `frozen` and `inputs` are then those of that epoch, and `backbone` is as it was before the first step, though its
    head may be another one. On a CPU, what follows is what would have followed without the interruption, bit for bit: every random
    choice rests on the seed and the number of the epoch, and the state of torch's own generator is kept.

    Raises:
        DeviceError: not even one image fits the device's memory.
        StateMismatch: `reached` is the state of another network, strategy or recipe.
        ValueError: there are no training or no validation rows.
    """
    if len(train_rows) == 0 or len(val_rows) == 0:
        raise ValueError("There must be training and validation rows.")
    torch.manual_seed(spec.seed)
    be_deterministic(inputs.device)
    trainer = Trainer(
        backbone,
        inputs,
        labels,
        spec=spec,
        strategy=strategy,
        frozen=frozen,
        class_weights=class_weights(labels[train_rows]) if spec.recipe.class_weights else None,
        adapted=adapted,
    )
    if spec.recipe.cutmix and frozen:
        yield Notice(message=_NO_CUTMIX)
    course = _Course(
        trainer, train_rows, val_rows, spec, phases(strategy, len(backbone.stages), spec.epochs), save_best
    )
    if reached is None:
        yield from course.begin()
    else:
        course.go_on(reached, inputs, frozen)
    while course.epoch < spec.epochs:
        waited = course.waited
        if 0 < spec.recipe.patience <= waited:
            yield Notice(
                message=f"Training stopped after epoch {course.epoch}: the last {waited} brought no better validation loss."
            )
            break
        phase = course.next_phase()
        if phase is not None and thaw is not None and phase.frozen is not None:
            yield Notice(message=_joins(backbone, phase))
            course.join(phase, (yield from thaw(phase.frozen)), phase.frozen)
        running = yield from course.pass_once()
        if not math.isfinite(running.loss):
            yield Notice(level="warning", message=DIVERGED.format(epoch=course.epoch))
            break
        yield from course.judge(running)
        yield from keep(course.reached)
    if course.best_epoch < course.epoch:
        yield Notice(
            message=f"The state after epoch {course.best_epoch} of {course.epoch} is kept: no later one had a smaller loss on the validation pictures."
        )
    fold_updates(backbone)
    backbone.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    backbone.load_tensors(course.best_tensors)
    backbone.eval().requires_grad_(True)


class _Course:
    """Training, epoch by epoch: how far it is, and the best state so far."""

    best: Scores
    best_tensors: dict[str, Tensor]

    def __init__(
        self,
        trainer: Trainer,
        train_rows: NDArray[np.integer],
        val_rows: NDArray[np.integer],
        spec: TrainSpec,
        course: tuple[Phase, ...],
        save_best: Callable[[dict[str, Tensor]], None],
    ) -> None:
        self.epoch = self.best_epoch = 0
        self._trainer, self._train, self._val = trainer, train_rows, val_rows
        self._spec, self._phases, self._save_best = spec, course, save_best
        self._steps = math.ceil(len(train_rows) / spec.batch_size)
        """Steps of an epoch."""
        self._factors = schedule(self._steps * spec.epochs, spec.recipe)
        self._pace: Pace | None = None
        self._sample = train_rows
        if len(train_rows) > LOOKED_BACK:
            self._sample = np.sort(np.random.default_rng(spec.seed).choice(train_rows, LOOKED_BACK, replace=False))

    def begin(self) -> Generator[Event, None, None]:
        """Score the state before the first step, which may be the best."""
        yield from self._trainer.evaluate(self._val)
        self._take_best()
        yield self._ended(None, improved=True)

    def go_on(self, reached: Reached, inputs: Inputs, frozen: int) -> None:
        """Continue after the epoch of `reached`. Raises StateMismatch."""
        checkpoint = reached.checkpoint
        self.epoch, self.best_epoch, self.best_tensors = checkpoint.epoch, checkpoint.best_epoch, reached.best
        self.best = Scores(checkpoint.best_loss, checkpoint.best_accuracy)
        # The optimizer has a group for each stage, in the order in which they joined.
        for phase in self._phases:
            if phase.joining and phase.first <= self.epoch:
                self.join(phase, inputs, frozen)
        _restore(self._trainer, reached)
        # The schedule goes on, too.
        self._factors = islice(self._factors, self.epoch * self._steps, None)

    @property
    def waited(self) -> int:
        """How many epochs brought nothing better. The stages that joined last get as many as if training had begun with them."""
        return self.epoch - max(self.best_epoch, self._phases[-1].first - 1)

    def next_phase(self) -> Phase | None:
        """The phase that begins with the next epoch and lets stages join; None where none does."""
        begins = [phase for phase in self._phases if phase.first == self.epoch + 1]
        if begins:
            # Phases differ in speed, so the remaining time is estimated from the speed of the present phase.
            self._pace = None
        return begins[0] if begins and begins[0].joining else None

    def join(self, phase: Phase, inputs: Inputs, frozen: int) -> None:
        """Let the stages of `phase` learn from now on. `inputs` give the output of the first `frozen` stages."""
        warm_up = warm_up_steps(self._steps * phase.epochs, self._spec.recipe)
        self._trainer.thaw(phase.joining, inputs, frozen=frozen, warm_up=warm_up)

    def pass_once(self) -> Generator[Event, None, Running]:
        """The next epoch: one pass over the training images, in an order that rests on the seed and the epoch's number."""
        count = len(self._train)
        before = count * self.epoch
        self._pace = self._pace or Pace("training", count * self._spec.epochs, before=before)
        self.epoch += 1
        draw = [self._spec.seed, self.epoch]
        order = np.random.default_rng(draw).permutation(self._train)
        batches, factors = np.array_split(order, self._steps), list(islice(self._factors, self._steps))
        self._trainer.keep()
        while True:
            running, whole = Running(), True
            self._trainer.expect(batches)
            for step, (rows, factor) in enumerate(zip(batches, factors, strict=True)):
                whole = yield from self._trainer.step(rows, factor, draw=[*draw, step], running=running)
                # Memory ran out while weights were changed: the epoch begins again, from the state that `keep` kept.
                if not whole:
                    break
                yield from self._pace.at(before + running.images)
            if whole:
                return running

    def judge(self, running: Running) -> Generator[Event, None, None]:
        """Score the state after an epoch, and keep it where it is the best."""
        with self._trainer.judged():
            yield from self._trainer.evaluate(self._val)
            if self._trainer.mixes:
                running = yield from self._trainer.look_back(self._sample)
            improved = self._trainer.scores.loss < self.best.loss
            if improved:
                self._take_best()
        yield self._ended(running, improved=improved)

    def reached(self) -> Reached:
        """The state after the epoch that ended last."""
        state, generator = self._trainer.state(), _device_generator(self._trainer.device)
        # From torch's own generators the network's dropout is drawn.
        random = {_RANDOM: torch.get_rng_state()}
        if generator is not None:
            random[_RANDOM_ON_DEVICE] = generator.get_rng_state()
        checkpoint = Checkpoint(
            epoch=self.epoch,
            epochs=self._spec.epochs,
            best_epoch=self.best_epoch,
            best_loss=self.best.loss,
            best_accuracy=self.best.accuracy,
            ages=state.ages,
            averaged=state.averaged,
            scaler=state.scaler,
            micro_batch=self._trainer.micro_batch,
            precision=self._trainer.precision,
            device=self._spec.device,
            torch=torch.__version__,
        )
        return Reached(checkpoint, {**state.tensors, **random}, self.best_tensors)

    def _take_best(self) -> None:
        self.best_epoch, self.best, self.best_tensors = self.epoch, self._trainer.scores, self._trainer.tensors()
        self._save_best(self.best_tensors)

    def _ended(self, running: Running | None, *, improved: bool) -> EpochEnded:
        return EpochEnded(
            epoch=self.epoch,
            epochs=self._spec.epochs,
            train_loss=running.loss if running else None,
            train_accuracy=running.accuracy if running else None,
            val_loss=self._trainer.scores.loss,
            val_accuracy=self._trainer.scores.accuracy,
            learning_rate=self._trainer.head_rate,
            best=improved,
        )


def _device_generator(device: torch.device) -> Any:
    """The module with the functions for the generator of `device`; None for a CPU, which has the one of torch itself."""
    return {"cuda": torch.cuda, "mps": torch.mps}.get(device.type)


def _restore(trainer: Trainer, reached: Reached) -> None:
    """Give `trainer` the state of `reached`. On another device it computes as its spec says. Raises StateMismatch."""
    checkpoint, tensors, device = reached.checkpoint, dict(reached.tensors), trainer.device
    random, on_device = tensors.pop(_RANDOM, None), tensors.pop(_RANDOM_ON_DEVICE, None)
    if random is None:
        raise StateMismatch("The state of the random numbers is missing.")
    same_device = checkpoint.device == device.type
    if same_device:
        trainer.compute_as(checkpoint.micro_batch, checkpoint.precision, scaled=bool(checkpoint.scaler))
    trainer.restore(State(tensors, checkpoint.ages, checkpoint.averaged, dict(checkpoint.scaler)))
    torch.set_rng_state(random)
    generator = _device_generator(device)
    if generator is not None and on_device is not None and same_device:
        generator.set_rng_state(on_device)


_NO_CUTMIX = "CutMix needs pixels. As long as the first stages are frozen, training reads what they give, and CutMix is left out."


def _joins(backbone: Backbone, phase: Phase) -> str:
    names = [backbone.stages[stage][0] for stage in phase.joining]
    if len(names) == 1:
        return f"From epoch {phase.first} on, {names[0]} learns too."
    return f"From epoch {phase.first} on, {names[0]} {'and' if len(names) == 2 else 'to'} {names[-1]} learn too."


def be_deterministic(device: torch.device) -> None:
    """Let CUDA compute the same values for the same inputs."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)


class HeadAlone:
    """The head of a frozen backbone as a network of no stages: a head of zeros, and what it learns from: features that are centred and scaled, so that one learning rate suits every backbone."""

    def __init__(
        self,
        network: Network,
        features: NDArray[np.floating],
        train_rows: NDArray[np.integer],
        *,
        classes: int,
        device: str,
    ) -> None:
        """`features` (N, D) are those of all images; centre and scale are those of `train_rows`."""
        learned = features[train_rows]
        self._centre = learned.mean(axis=0, dtype=np.float64)
        self._scale = float(np.sqrt(learned.var(axis=0, dtype=np.float64).mean())) or 1.0
        scaled = np.asarray((features - self._centre) / self._scale, dtype=np.float32)
        self.inputs = Inputs.of_activations(scaled, device=torch_device(device))
        layer = nn.Linear(features.shape[1], classes)
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        layout = replace(network.layout, stages=(), tail=(), auxiliary=(), head_trailing=())
        row = network.model_copy(update={"head": "head", "own_layout": layout})
        self.backbone = Backbone(row, nn.ModuleDict({"head": layer}), row.weights_row())

    def head(self) -> Head:
        """The head for features as they are."""
        tensors = self.backbone.tensors()
        weight = tensors["head.weight"].double().numpy() / self._scale
        bias = tensors["head.bias"].double().numpy() - weight @ self._centre
        return Head(weight.astype(np.float32), bias.astype(np.float32))


def trained_head(
    network: Network,
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    train_rows: NDArray[np.integer],
    val_rows: NDArray[np.integer],
    *,
    classes: int,
    spec: TrainSpec,
    strategy: Strategy,
) -> Generator[Event, None, Head]:
    """Train the head on `features` (N, D) of `network` as `spec` says; the state with the lowest validation loss, as `fit` finds it.

    Raises:
        ValueError: there are no training or no validation rows.
        DeviceError: not even one image fits the device's memory.
    """
    alone = HeadAlone(network, features, train_rows, classes=classes, device=spec.device)
    # More threads do not make such small products faster, and are slow beside another busy process.
    with threadpool_limits(1):
        yield from fit(
            alone.backbone,
            alone.inputs,
            labels,
            train_rows,
            val_rows,
            spec=spec,
            strategy=strategy,
            frozen=0,
        )
    return alone.head()
