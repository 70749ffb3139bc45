"""One network while it is trained: steps of the optimizer, scores, and smaller micro-batches when memory runs out. Needs torch."""

import math
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tl_core.documents.events import Event, Notice
from tl_core.documents.spec import Precision, TrainSpec
from tl_core.errors import DeviceError, memory_ran_out
from tl_core.evaluation.calibration import calibrated_loss
from tl_core.models.build import Backbone
from tl_core.training.device import PART_BYTES, autocast, give_memory_back, to_device
from tl_core.training.loop.inputs import Inputs
from tl_core.training.loop.regularisation import Average, mix
from tl_core.training.part_sizes import PartSize, in_parts
from tl_core.training.strategies.strategies import Strategy
from tl_core.training.strategies.what_learns import (
    BATCH_NORMS,
    OPTIMIZERS,
    folded_tensors,
    give_state,
    head_groups,
    insert_updates,
    stage_groups,
    take_step,
)

Result = TypeVar("Result")
Adapted = Callable[[int, Precision], None]
"""Is told the micro-batch and the precision with which training goes on, where memory or the range of float16 was too small."""

STEADY = ("cpu",)
"""Devices whose memory is the host's: images are scored by micro-batches, elsewhere by the largest parts that fit; and no copy of what
steps change is kept in the host's memory."""
LOWEST_SCALE = 1.0
"""A gradient that is not finite although the loss is multiplied by this or less is not finite for its scale."""
FEWER = "The device's memory ran out. Training goes on with {at_once} pictures at once; the batch stays the same, so it only takes longer."
AGAIN = (
    "The device's memory ran out while the weights were changed. They are again as they were at the start of this epoch, which begins "
    "anew with {at_once} pictures at once."
)
OVERFLOWS = "Some values in this network are too large for float16. Training goes on in float32, which is slower and needs more memory."


@dataclass
class Running:
    """Sums over the training images of one epoch. They stay on the device, since reading a number waits for all earlier steps."""

    images: int = 0
    loss_sum: Tensor | float = 0.0
    """Sum of the plain log loss, without label smoothing and mixed labels."""
    correct: Tensor | int = 0

    @property
    def loss(self) -> float:
        return float(self.loss_sum) / max(1, self.images)

    @property
    def accuracy(self) -> float:
        return float(self.correct) / max(1, self.images)


@dataclass(frozen=True)
class Scores:
    """Scores on validation images."""

    loss: float
    """Log loss after the best temperature."""
    accuracy: float


@dataclass(frozen=True)
class State:
    """All that steps change."""

    tensors: dict[str, Tensor]
    """On the CPU: `weights/NAME` for what learns and for statistics of batch norm, `averages/NAME`, `optimizer/NAME/KEY`."""
    ages: tuple[int, ...]
    """Steps of each group of the optimizer's parameters."""
    averaged: int
    """Steps of the moving average."""
    scaler: dict[str, Any]
    """The scale of the loss, and how many steps it has been right for; empty where the loss is not scaled."""


class StateMismatch(ValueError):
    """A state is that of another network, strategy or recipe."""


class Trainer:
    """One network while it is trained."""

    def __init__(
        self,
        backbone: Backbone,
        inputs: Inputs,
        labels: NDArray[np.integer],
        *,
        spec: TrainSpec,
        strategy: Strategy,
        frozen: int,
        class_weights: NDArray[np.floating] | None = None,
        adapted: Adapted = lambda micro_batch, precision: None,
    ) -> None:
        """`inputs` give the output of the first `frozen` stages; `class_weights` (C,) are the classes' weights in the loss.

        `adapted` is called when either of what it takes changes.

        For a strategy with low-rank updates, they are inserted into `backbone`; `fold_updates` removes them.
        """
        self.micro_batch = min(spec.micro_batch, spec.batch_size)
        self.precision: Precision = spec.precision
        self._adapted = adapted
        self.scores = Scores(math.inf, 0.0)
        self._spec, self._strategy, self._recipe = spec, strategy, spec.recipe
        self.device = inputs.device
        self._labels = torch.from_numpy(np.asarray(labels, dtype=np.int64))
        self._classes = int(self._labels.max()) + 1
        self._class_weights = (
            None if class_weights is None else torch.from_numpy(np.float32(class_weights)).to(self.device)
        )
        self._layout = torch.channels_last if spec.channels_last else torch.contiguous_format
        self._average = Average(spec.recipe.ema) if spec.recipe.ema else None
        self._kept: State | None = None
        self._names: dict[int, str] = {}
        # In float16, gradients that are small become zero unless the loss is multiplied (arXiv 1710.03740).
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=spec.precision == "float16")
        if strategy.parameters.low_rank:
            insert_updates(backbone, spec.recipe.lora_rank, spec.seed)
        backbone.to(self.device, memory_format=self._layout)  # type: ignore[call-overload]
        backbone.eval().requires_grad_(False)
        self._backbone = backbone
        self._optimizer = OPTIMIZERS[spec.recipe.optimizer](head_groups(backbone, spec), spec.recipe)
        self.head_rate = spec.recipe.learning_rate
        self._begin(inputs, frozen, () if strategy.thaws else range(frozen, len(backbone.stages)), 0)

    @property
    def mixes(self) -> bool:
        """Whether training sees only mixtures of images."""
        return bool(self._recipe.mixup or (self._recipe.cutmix and self._cuts))

    @property
    def _learning(self) -> list[nn.Parameter]:
        return [parameter for group in self._optimizer.param_groups for parameter in group["params"]]

    @property
    def _cuts(self) -> bool:
        return self._frozen == 0 and self._inputs.normalise is not None

    def thaw(self, stages: Collection[int], inputs: Inputs, *, frozen: int, warm_up: int) -> None:
        """Let `stages` learn from now on, with a warm-up of `warm_up` steps. `inputs` give the output of the first `frozen` stages.

        What learnt before keeps its state in the optimizer.
        """
        self._backbone.to(self.device, memory_format=self._layout)  # type: ignore[call-overload]
        self._begin(inputs, frozen, stages, warm_up)

    def _begin(self, inputs: Inputs, frozen: int, stages: Collection[int], warm_up: int) -> None:
        self._inputs, self._frozen = inputs, frozen
        self._scored = PartSize(self.micro_batch, largest=PART_BYTES // max(1, inputs.rows[:1].nbytes))
        self._network = self._backbone.suffix(frozen)
        for group in stage_groups(self._backbone, self._strategy, self._spec, stages):
            self._optimizer.add_param_group({**group, "warm_up": warm_up})
        for parameter in self._learning:
            parameter.requires_grad_(True)
        whole = self._backbone.module
        self._names |= {id(tensor): name for name, tensor in (*whole.named_parameters(), *whole.named_buffers())}
        self._statistics = [
            buffer
            for module in self._network.modules()
            if self._keeps_statistics(module)
            for buffer in module.buffers(recurse=False)
        ]
        if self._average is not None:
            self._average.follow(self._learning)
            self._average.follow(statistic for statistic in self._statistics if statistic.is_floating_point())

    def expect(self, batches: Sequence[NDArray[np.integer]]) -> None:
        """Announce the next calls of `step`, with the same array objects in this order."""
        self._inputs.expect(batches)

    def keep(self) -> None:
        """Keep a copy of all that steps change: what learns, its averages, statistics of batch norm, the optimizer's state.

        `step` goes back to it where memory runs out while weights are changed. On a CPU, nothing is kept: there the copy would take the
        memory that is missing. The optimizer takes the memory of its own state now, and not in the midst of a step.
        """
        give_state(self._optimizer)
        self._kept = None if self.device.type in STEADY else self.state(copied=True)

    def state(self, *, copied: bool = False) -> State:
        """All that steps change, after `keep`. On a CPU the tensors are the trainer's own, which the next step changes, unless `copied`."""
        return State(
            tensors={name: tensor.detach().to("cpu", copy=copied) for name, tensor in self._changing().items()},
            ages=tuple(group["age"] for group in self._optimizer.param_groups),
            averaged=self._average.steps if self._average else 0,
            scaler=self._scaler.state_dict(),
        )

    @torch.no_grad()
    def restore(self, state: State) -> None:
        """Go back to `state`, which `state()` gave of a trainer with the same stages.

        Raises:
            StateMismatch: it is that of another network, strategy or recipe.
        """
        give_state(self._optimizer)
        changing, groups = self._changing(), self._optimizer.param_groups
        if {name: tensor.shape for name, tensor in changing.items()} != {
            name: tensor.shape for name, tensor in state.tensors.items()
        } or len(groups) != len(state.ages):
            raise StateMismatch("It is not the state of this network with these settings.")
        for name, tensor in changing.items():
            tensor.copy_(state.tensors[name])
        for group, age in zip(groups, state.ages, strict=True):
            group["age"] = age
        if self._average is not None:
            self._average.steps = state.averaged
        if state.scaler and self._scaler.is_enabled():
            self._scaler.load_state_dict(state.scaler)

    def compute_as(self, micro_batch: int, precision: Precision, *, scaled: bool) -> None:
        """Go on with that micro-batch and precision, and with a loss that is `scaled` as in float16 or not."""
        self.micro_batch = micro_batch
        self.precision = self._inputs.precision = precision
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)

    def step(
        self, rows: NDArray[np.integer], factor: float, *, draw: list[int], running: Running
    ) -> Generator[Event, None, bool]:
        """One step of the optimizer on the images `rows`, in as many parts as memory requires.

        False where memory ran out while weights were changed: they and all that belongs to them are again as they were when `keep` was
        called, and the micro-batch is smaller. Where nothing was kept, the error is passed on.

        `draw` are the seeds of everything that is random in the step. In float16, a gradient that is too large for its scale is
        computed again with a smaller one, and only then the step is taken. If the loss is not finite, or the gradient at every
        scale, float16 is given up for float32. If that mends nothing, training has diverged: `running.loss` is not finite, either, and
        where a run began in another precision nor are the weights from then on.

        Raises:
            DeviceError: not even one image fits the device's memory.
        """
        for group in self._optimizer.param_groups:
            joined = min(1.0, (group["age"] + 1) / (group["warm_up"] + 1))
            group["lr"] = group["peak"] * factor * joined
        self.head_rate = self._optimizer.param_groups[0]["lr"]
        loss_sum, correct, finite = yield from self._finite_gradient(rows, draw)
        if finite and not (yield from self._moved()):
            return False
        running.images += len(rows)
        running.loss_sum = running.loss_sum + loss_sum
        running.correct = running.correct + correct
        return True

    def judged(self) -> AbstractContextManager[None]:
        """A context in which the network has the weights to be scored and kept: the moving average, if the recipe asks for one."""
        return nullcontext() if self._average is None else self._average.applied()

    def tensors(self) -> dict[str, Tensor]:
        """A copy of every tensor by the library's own name, with low-rank updates added to the weights."""
        return {name: tensor.clone() for name, tensor in folded_tensors(self._backbone).items()}

    def evaluate(self, rows: NDArray[np.integer]) -> Generator[Event, None, None]:
        """Set `scores` to those on the images `rows`, which are not augmented.

        On a GPU as many go through the network together as fit its memory, which the first call finds by doubling.

        Raises:
            DeviceError: not even one image fits the device's memory.
        """
        logits, truth = yield from self._answers(rows)
        accuracy = float((logits.argmax(axis=1) == truth).mean())
        self.scores = Scores(calibrated_loss(logits, truth), accuracy)

    def look_back(self, rows: NDArray[np.integer]) -> Generator[Event, None, Running]:
        """Loss and accuracy on the unchanged training images `rows`, where training saw only mixtures."""
        logits, truth = yield from self._answers(rows)
        loss = functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth), reduction="sum")
        return Running(len(rows), float(loss), int((logits.argmax(axis=1) == truth).sum()))

    def pull(self, rows: NDArray[np.integer]) -> Generator[Event, None, None]:
        """Set the parameters' gradients to those of the mean loss on the unchanged images `rows`, without a step."""
        yield from self._finite_gradient(rows, None)

    def _moved(self) -> Generator[Event, None, bool]:
        """Take the step; False where memory ran out meanwhile, and what was kept is back."""
        try:
            take_step(self._optimizer, self._recipe)
            for group in self._optimizer.param_groups:
                group["age"] += 1
            if self._average is not None:
                self._average.update()
        except RuntimeError as error:
            if self._kept is None or not memory_ran_out(error):
                raise
            if self.micro_batch == 1:
                raise DeviceError.of_memory(error) from error
        else:
            return True
        # Some weights have taken the step and others have not.
        self.restore(self._kept)
        self._halve()
        yield Notice(level="warning", message=AGAIN.format(at_once=self.micro_batch))
        return False

    def _changing(self) -> dict[str, Tensor]:
        """The tensors that steps change, by the names of `State.tensors`."""
        averages = self._average.by_tensor() if self._average else ()
        return {
            **{f"weights/{self._names[id(tensor)]}": tensor.data for tensor in (*self._learning, *self._statistics)},
            **{f"averages/{self._names[id(tensor)]}": average for tensor, average in averages},
            **{
                f"optimizer/{self._names[id(parameter)]}/{key}": value
                for parameter, values in self._optimizer.state.items()
                for key, value in values.items()
                if isinstance(value, Tensor)
            },
        }

    def _finite_gradient(
        self, rows: NDArray[np.integer], draw: list[int] | None
    ) -> Generator[Event, None, tuple[Tensor, Tensor, bool]]:
        """What `_gradient` returns, and whether the gradient is finite; where it is not, the sum of the loss is NaN.

        In float16, the gradient is computed again with smaller scales of the loss, then in float32, and the device is waited for. In a
        run that begins in another precision, it is not looked at and the answer is True. However often it is computed, statistics of
        batch norm follow the images once.
        """
        before = [statistic.clone() for statistic in self._statistics]

        def compute() -> tuple[Tensor, Tensor]:
            for statistic, value in zip(self._statistics, before, strict=True):
                statistic.copy_(value)
            sums = self._gradient(rows, draw)
            self._scaler.unscale_(self._optimizer)
            return sums

        while True:
            loss_sum, correct = yield from self._retry(compute)
            scale = self._scaler.get_scale()
            self._scaler.update()
            if self._scaler.get_scale() >= scale:
                return loss_sum, correct, True
            if scale <= LOWEST_SCALE or not math.isfinite(float(loss_sum)):
                if self.precision != "float16":
                    return torch.full_like(loss_sum, math.nan), correct, False
                yield self._give_up_float16()

    def _gradient(self, rows: NDArray[np.integer], draw: list[int] | None) -> tuple[Tensor, Tensor]:
        """The sum of the plain loss, and how many are right; `draw` None: no augmentation."""
        self._optimizer.zero_grad(set_to_none=True)
        images, labels = self._batch(rows, draw), to_device(self._labels[torch.from_numpy(rows)], self.device)
        targets, mixes = labels, draw is not None and self.mixes
        if mixes:
            images, targets = mix(
                images,
                labels,
                classes=self._classes,
                mixup=self._recipe.mixup,
                cutmix=self._recipe.cutmix if self._cuts else 0.0,
                generator=np.random.default_rng([*(draw or ()), 1]),
            )
        parts = np.array_split(np.arange(len(rows)), math.ceil(len(rows) / self.micro_batch))
        self._network.eval()
        if draw is not None:
            self._train_mode(smallest=len(parts[-1]))
        loss_sum, correct = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        for part in parts:
            chosen = slice(int(part[0]), int(part[-1]) + 1)
            logits = self._forward(images[chosen])
            # The default is no smoothing: a fitted head is right on every training image, so smoothing would be all that is left
            # of the gradient, and it spoils the pretrained weights (sign_digits: accuracy from 0.89 down to 0.76).
            loss = functional.cross_entropy(
                logits,
                targets[chosen],
                weight=self._class_weights,
                label_smoothing=self._recipe.label_smoothing,
                reduction="sum",
            )
            torch.autograd.backward(self._scaler.scale(loss / len(rows)))
            loss_sum += functional.cross_entropy(logits.detach(), labels[chosen], reduction="sum")
            correct += (logits.detach().argmax(dim=1) == labels[chosen]).sum()
        return loss_sum, correct

    def _batch(self, rows: NDArray[np.integer], draw: list[int] | None) -> Tensor:
        if draw is None:
            return self._inputs.batch(rows, at_once=self.micro_batch)
        seed = int(np.random.default_rng(draw).integers(2**62))
        return self._inputs.batch(rows, torch.Generator().manual_seed(seed), at_once=self.micro_batch)

    def _answers(
        self, rows: NDArray[np.integer]
    ) -> Generator[Event, None, tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """Logits (M, C) and labels (M,) of the images `rows`, which are not augmented."""
        logits = yield from self._logits(rows)
        if self.precision == "float16" and not logits.isfinite().all():
            yield self._give_up_float16()
            logits = yield from self._logits(rows)
        return logits.cpu().numpy(), self._labels[torch.from_numpy(np.asarray(rows))].numpy()

    def _give_up_float16(self) -> Notice:
        """Compute in float32 from now on; what to tell the user."""
        self.precision = self._inputs.precision = "float32"
        self._adapted(self.micro_batch, self.precision)
        return Notice(level="warning", message=OVERFLOWS)

    def _logits(self, rows: NDArray[np.integer]) -> Generator[Event, None, Tensor]:
        self._network.eval()
        if self.device.type in STEADY:
            return (yield from self._retry(lambda: self._scored_by_micro_batches(rows)))
        return self._scored_by_largest_parts(rows)

    @torch.inference_mode()
    def _scored_by_micro_batches(self, rows: NDArray[np.integer]) -> Tensor:
        parts = np.array_split(rows, math.ceil(len(rows) / self.micro_batch))
        self._inputs.expect(parts)
        return torch.cat([self._forward(self._inputs.batch(part)) for part in parts])

    @torch.inference_mode()
    def _scored_by_largest_parts(self, rows: NDArray[np.integer]) -> Tensor:
        size = self._scored.size
        expected = {start: rows[start : start + size] for start in range(0, len(rows), size)}
        self._inputs.expect(list(expected.values()))

        def work(part: slice) -> Tensor:
            # While the size changes, the parts are others than those that are read ahead.
            changed = part.stop - part.start != size
            return self._forward(self._inputs.batch(rows[part] if changed else expected[part.start]))

        parts = in_parts(work, len(rows), self._scored, make_room=lambda: give_memory_back(self.device))
        return torch.cat([logits for _, logits in parts])

    def _forward(self, images: Tensor) -> Tensor:
        if images.dim() == 4:
            images = images.contiguous(memory_format=self._layout)
        with autocast(self.device, self.precision):
            return torch.as_tensor(self._network(images)).float()

    def _train_mode(self, smallest: int) -> None:
        """Set modules to training mode; `smallest`: images in the smallest part of the step."""
        self._network.train()
        for number, (_, stage) in enumerate(self._backbone.stages):
            if number >= self._frozen and not any(parameter.requires_grad for parameter in stage.parameters()):
                stage.eval()
        for module in self._network.modules():
            # A single image has no batch statistics.
            if isinstance(module, BATCH_NORMS) and (smallest == 1 or not self._keeps_statistics(module)):
                module.eval()

    def _keeps_statistics(self, module: nn.Module) -> bool:
        """Whether `module` is a batch norm whose statistics follow the batches."""
        return (
            self._recipe.norm_learns
            and isinstance(module, BATCH_NORMS)
            and any(parameter.requires_grad for parameter in module.parameters(recurse=False))
        )

    def _retry(self, work: Callable[[], Result]) -> Generator[Event, None, Result]:
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not memory_ran_out(error):
                    raise
                if self.micro_batch == 1:
                    raise DeviceError.of_memory(error) from error
            self._halve()
            yield Notice(level="warning", message=FEWER.format(at_once=self.micro_batch))

    def _halve(self) -> None:
        """Halve the micro-batch, when memory ran out."""
        self._optimizer.zero_grad(set_to_none=True)
        give_memory_back(self.device)
        self.micro_batch //= 2
        self._adapted(self.micro_batch, self.precision)
