"""One network while it is trained: steps of the optimizer, scores, and what happens when memory runs out. Needs torch.

Knows rows of inputs and their labels. Knows no epochs, no best state and no files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tl_core.documents.events import Event, Notice
from tl_core.documents.spec import TrainSpec
from tl_core.errors import DeviceError
from tl_core.models.build import Backbone
from tl_core.training.head import calibrated_loss
from tl_core.training.inputs import Inputs
from tl_core.training.strategies import Strategy

LARGEST_GRADIENT = 1.0
"""Norm that gradients are clipped to."""
WARM_UP = 0.1
"""Share of all steps in which the learning rate rises."""

_NORMS = (nn.modules.batchnorm._BatchNorm,)

Result = TypeVar("Result")


@dataclass
class Running:
    """Sums over the training images of one epoch."""

    images: int = 0
    loss_sum: float = 0.0
    correct: int = 0

    @property
    def loss(self) -> float:
        return self.loss_sum / max(1, self.images)


@dataclass(frozen=True)
class Scores:
    loss: float
    accuracy: float
    logits: NDArray[np.float32]


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
    ) -> None:
        self.micro_batch = min(spec.micro_batch, spec.batch_size)
        self.scores = Scores(math.inf, 0.0, np.zeros((0, 0), dtype=np.float32))
        self._device = inputs.device
        self._inputs = inputs
        self._labels = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(self._device)
        self._bfloat16 = spec.precision == "bfloat16"
        self._layout = torch.channels_last if spec.channels_last else torch.contiguous_format
        self._norm_learns = spec.recipe.norm_learns
        backbone.to(self._device, memory_format=self._layout)  # type: ignore[call-overload]
        backbone.eval().requires_grad_(False)
        self._network = backbone.suffix(frozen)
        head = list(backbone.head_parameters())
        stages = [p for stage in range(frozen, len(backbone.stages)) for p in backbone.stage_parameters(stage)]
        self._learning = [*stages, *head]
        for parameter in self._learning:
            parameter.requires_grad_(True)
        recipe = spec.recipe
        head_rate, decay = recipe.head_rate, recipe.weight_decay
        self._optimizer = torch.optim.AdamW(
            [*_groups(head, head_rate, decay), *_groups(stages, recipe.stage_rate, decay)]
        )
        self.head_rate = head_rate

    def step(
        self, rows: NDArray[np.integer], factor: float, *, draw: list[int], running: Running
    ) -> Generator[Event, None, None]:
        """One step of the optimizer on the images `rows`, in as many parts as memory asks for."""
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        self.head_rate = self._optimizer.param_groups[0]["lr"]
        seed = int(np.random.default_rng(draw).integers(2**62))
        loss_sum, correct = yield from self._retry(lambda: self._gradient(rows, seed))
        nn.utils.clip_grad_norm_(self._learning, LARGEST_GRADIENT)
        if math.isfinite(loss_sum):
            self._optimizer.step()
        running.images += len(rows)
        running.loss_sum += loss_sum
        running.correct += correct

    def evaluate(self, rows: NDArray[np.integer]) -> Generator[Event, None, None]:
        """Sets `scores` to those on the images `rows`, nothing changed at random."""
        self.scores = yield from self._retry(lambda: self._score(rows))

    def _gradient(self, rows: NDArray[np.integer], seed: int) -> tuple[float, int]:
        self._optimizer.zero_grad(set_to_none=True)
        self._train_mode()
        generator = torch.Generator().manual_seed(seed)
        images, labels = self._inputs.batch(rows, generator), self._labels[torch.from_numpy(rows).to(self._device)]
        loss_sum, correct = torch.zeros((), device=self._device), torch.zeros((), device=self._device)
        for part in np.array_split(np.arange(len(rows)), math.ceil(len(rows) / self.micro_batch)):
            chosen = slice(int(part[0]), int(part[-1]) + 1)
            logits = self._forward(images[chosen])
            # No label smoothing: a fitted head answers every training picture right, so smoothing would be all that is left
            # of the gradient, and it takes the network away from what it knows (sign_digits: 0.89 down to 0.76).
            loss = functional.cross_entropy(logits, labels[chosen], reduction="sum")
            torch.autograd.backward(loss / len(rows))
            loss_sum += loss.detach()
            correct += (logits.detach().argmax(dim=1) == labels[chosen]).sum()
        return float(loss_sum), int(correct)

    def _score(self, rows: NDArray[np.integer]) -> Scores:
        self._network.eval()
        parts = np.array_split(rows, math.ceil(len(rows) / self.micro_batch))
        with torch.inference_mode():
            logits = torch.cat([self._forward(self._inputs.batch(part)) for part in parts])
            truth = self._labels[torch.from_numpy(np.asarray(rows)).to(self._device)]
            accuracy = float((logits.argmax(dim=1) == truth).float().mean())
        scores = logits.cpu().numpy()
        return Scores(calibrated_loss(scores, truth.cpu().numpy()), accuracy, scores)

    def _forward(self, images: Tensor) -> Tensor:
        if images.dim() == 4:
            images = images.contiguous(memory_format=self._layout)
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bfloat16):
            return torch.as_tensor(self._network(images)).float()

    def _train_mode(self) -> None:
        self._network.train()
        # A single image has no statistics of its own.
        if not self._norm_learns or self.micro_batch == 1:
            for module in self._network.modules():
                if isinstance(module, _NORMS):
                    module.eval()

    def _retry(self, work: Callable[[], Result]) -> Generator[Event, None, Result]:
        while True:
            try:
                return work()
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                if self.micro_batch == 1:
                    raise DeviceError(
                        "Not even one picture fits the device's memory while training. Choose a smaller image size or "
                        "backbone, or fewer stages."
                    ) from error
            self._optimizer.zero_grad(set_to_none=True)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            self.micro_batch //= 2
            yield Notice(
                level="warning",
                message=(
                    f"The device's memory ran out. Training goes on with {self.micro_batch} pictures at once; the batch "
                    "stays the same, so it only takes longer."
                ),
            )


def _out_of_memory(error: RuntimeError) -> bool:
    # CUDA has a type of its own; Metal and the CPU's allocator only have their words.
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in ("out of memory", "not enough memory", "can't allocate memory")
    )


def _groups(parameters: list[nn.Parameter], rate: float, decay: float) -> list[dict[str, object]]:
    """Weights decay; biases and the scales of norm layers do not."""
    parts = [([p for p in parameters if p.dim() > 1], decay), ([p for p in parameters if p.dim() <= 1], 0.0)]
    return [{"params": chosen, "lr": rate, "peak": rate, "weight_decay": value} for chosen, value in parts if chosen]


def schedule(steps: int) -> Iterator[float]:
    """Factors of the learning rate: a linear rise, then half a cosine down to almost nothing."""
    warm_up = max(1, round(WARM_UP * steps))
    for step in range(steps):
        if step < warm_up:
            yield (step + 1) / (warm_up + 1)
        else:
            yield max(0.01, (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))) / 2)
