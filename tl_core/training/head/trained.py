"""The head of a frozen backbone trained by gradient steps on its cached features, with epochs to watch. Needs torch.

Like the fitted head, it starts from zeros on scaled features.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tl_core.documents.events import EpochEnded, Event, Notice
from tl_core.documents.spec import TrainSpec
from tl_core.training.head.fitted import Head, calibrated_loss, check_rows, class_weights
from tl_core.training.head.logistic import Scaling
from tl_core.training.regularisation.averaging import Average
from tl_core.training.regularisation.mixing import mix
from tl_core.training.strategies.optimizers import DIVERGED, optimizer, take_step
from tl_core.training.strategies.schedules import schedule


def fit_by_steps(
    train_x: NDArray[np.floating],
    train_y: NDArray[np.integer],
    val_x: NDArray[np.floating],
    val_y: NDArray[np.integer],
    *,
    classes: int,
    spec: TrainSpec,
) -> Generator[Event, None, Head]:
    """Train a linear layer as `spec` says and return the state with the lowest validation loss after its best temperature.

    Arrays and labels as for `fit_logistic`. Yields one `EpochEnded` for each epoch, and one before the first. Of the recipe it
    uses the optimizer, `learning_rate`, schedule and warm-up, weight decay, label smoothing, mixup (of features), EMA, clipping,
    class weights and patience, but nothing that concerns stages and pixels. The same arguments give the same head on the same
    device.

    Raises:
        ValueError: shapes do not fit, there are no validation rows, or a class has no training row.
    """
    check_rows(train_x, train_y, val_x, val_y, classes)
    scaling = Scaling.of(train_x)
    steps = _Steps(scaling.apply(train_x), train_y, classes, spec)
    val = torch.from_numpy(scaling.apply(val_x)).to(spec.device)
    best, best_epoch = _judged(steps.layer, val, val_y, scaling), 0
    yield _event(0, spec.epochs, None, best, steps.rate, improved=True)
    for epoch in range(1, spec.epochs + 1):
        with _one_thread():
            steps.epoch(epoch)
            with steps.judged():
                running, now = steps.look_back(), _judged(steps.layer, val, val_y, scaling)
        if not math.isfinite(running[0]):
            yield Notice(level="warning", message=DIVERGED.format(epoch=epoch))
            break
        improved = now.val_loss < best.val_loss
        if improved:
            best, best_epoch = now, epoch
        yield _event(epoch, spec.epochs, running, now, steps.rate, improved=improved)
        if spec.recipe.patience and epoch - best_epoch >= spec.recipe.patience:
            if epoch < spec.epochs:
                yield Notice(
                    message=f"No better validation loss for {spec.recipe.patience} epochs: training stops here."
                )
            break
    return best


class _Steps:
    """A linear layer while it is trained, from zeros on."""

    def __init__(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.integer],
        classes: int,
        spec: TrainSpec,
    ) -> None:
        recipe, device = spec.recipe, torch.device(spec.device)
        self.layer = nn.Linear(features.shape[1], classes, device=device)
        for parameter in self.layer.parameters():
            nn.init.zeros_(parameter)
        self.rate = recipe.learning_rate
        self._recipe, self._seed, self._classes = recipe, spec.seed, classes
        self._features = torch.from_numpy(features).to(device)
        self._labels = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device)
        self._optimizer = optimizer(
            [
                {"params": [self.layer.weight], "weight_decay": recipe.weight_decay},
                {"params": [self.layer.bias], "weight_decay": 0.0},
            ],
            recipe,
        )
        self._average = Average(recipe.ema) if recipe.ema else None
        if self._average is not None:
            self._average.follow(self.layer.parameters())
        self._weights: Tensor | None = None
        if recipe.class_weights:
            self._weights = torch.from_numpy(class_weights(labels)).float().to(device)
        self._an_epoch = math.ceil(len(features) / spec.batch_size)
        self._factors = schedule(spec.epochs * self._an_epoch, recipe)

    def judged(self) -> AbstractContextManager[None]:
        """A context in which the layer has the weights to be scored and kept: the moving average, if the recipe asks for one."""
        return nullcontext() if self._average is None else self._average.applied()

    def epoch(self, number: int) -> None:
        """One pass over the training rows."""
        generator = np.random.default_rng([self._seed, number])
        for rows in np.array_split(generator.permutation(len(self._features)), self._an_epoch):
            self._step(torch.from_numpy(rows).to(self._features.device), generator)

    def look_back(self) -> tuple[float, float]:
        """Log loss and accuracy on the training rows, without mixup and label smoothing."""
        with torch.inference_mode():
            logits = self.layer(self._features)
            right = (logits.argmax(dim=1) == self._labels).float().mean()
            return float(functional.cross_entropy(logits, self._labels)), float(right)

    def _step(self, rows: Tensor, generator: np.random.Generator) -> None:
        self.rate = self._recipe.learning_rate * next(self._factors)
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate
        features, labels = self._features[rows], self._labels[rows]
        targets = labels
        if self._recipe.mixup:
            features, targets = mix(
                features, labels, classes=self._classes, mixup=self._recipe.mixup, cutmix=0.0, generator=generator
            )
        logits = self.layer(features)
        loss = functional.cross_entropy(
            logits, targets, weight=self._weights, label_smoothing=self._recipe.label_smoothing
        )
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        take_step(self._optimizer, self._recipe)
        if self._average is not None:
            self._average.update()


def _judged(layer: nn.Linear, val: Tensor, labels: NDArray[np.integer], scaling: Scaling) -> Head:
    with torch.inference_mode():
        logits = layer(val).cpu().numpy()
    weight, bias = (parameter.detach().cpu().numpy() for parameter in (layer.weight, layer.bias))
    return Head(
        *scaling.fold(weight, bias),
        c=None,
        val_accuracy=float((logits.argmax(axis=1) == labels).mean()),
        val_loss=calibrated_loss(logits, labels),
    )


def _event(
    epoch: int, epochs: int, running: tuple[float, float] | None, head: Head, rate: float, *, improved: bool
) -> EpochEnded:
    return EpochEnded(
        epoch=epoch,
        epochs=epochs,
        train_loss=running[0] if running else None,
        train_accuracy=running[1] if running else None,
        val_loss=head.val_loss,
        val_accuracy=head.val_accuracy,
        learning_rate=rate,
        best=improved,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: more do not make such small products faster, and are slow beside another busy process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
