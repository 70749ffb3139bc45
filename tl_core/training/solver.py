"""The head of a frozen backbone by gradient steps on its cached features: what `fit_logistic` does at once, with epochs to watch.

Starts from zeros, like the fitted head, on features scaled in the same way. Needs torch. Knows no pictures and no network.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tl_core.documents.events import EpochEnded, Event, Notice
from tl_core.documents.recipe import Recipe
from tl_core.training.head import Head, Scaling, calibrated_loss, check_rows


def fit_adam(
    train_x: NDArray[np.floating],
    train_y: NDArray[np.integer],
    val_x: NDArray[np.floating],
    val_y: NDArray[np.integer],
    *,
    classes: int,
    recipe: Recipe,
    epochs: int,
    batch_size: int,
    seed: int,
    device: str = "cpu",
) -> Generator[Event, None, Head]:
    """Train a linear layer for `epochs` and return the one with the lowest validation loss after its best temperature.

    Arrays and labels as for `fit_logistic`. Yields one `EpochEnded` for each epoch, and one before the first. Of `recipe`
    it follows the optimizer, `head_rate`, schedule and warm-up, weight decay, label smoothing, mixup (of features), EMA,
    clipping, class weights and patience; what concerns stages and pixels has no meaning here. The same arguments give the
    same head on the same device.

    Raises:
        ValueError: shapes that do not fit, no validation rows, a class without a training row.
    """
    check_rows(train_x, train_y, val_x, val_y, classes)
    scaling = Scaling.of(train_x)
    steps = _Steps(scaling.apply(train_x), train_y, classes, recipe, epochs, batch_size, seed, torch.device(device))
    val = torch.from_numpy(scaling.apply(val_x)).to(device)
    best, best_epoch = _judged(steps.kept, val, val_y, scaling), 0
    yield _event(0, epochs, None, best, steps.rate, improved=True)
    for epoch in range(1, epochs + 1):
        with _one_thread():
            running = steps.epoch(epoch)
            now = _judged(steps.kept, val, val_y, scaling)
        if not math.isfinite(running[0]):
            yield Notice(
                level="warning",
                message=(
                    f"Training went astray in epoch {epoch} (the loss is no number) and stopped; the best state so far is "
                    "kept. A lower learning rate helps."
                ),
            )
            break
        improved = now.val_loss < best.val_loss
        if improved:
            best, best_epoch = now, epoch
        yield _event(epoch, epochs, running, now, steps.rate, improved=improved)
        if recipe.patience and epoch - best_epoch >= recipe.patience:
            if epoch < epochs:
                yield Notice(message=f"No better validation loss for {recipe.patience} epochs: training stops here.")
            break
    return best


class _Steps:
    """A linear layer on the way from zeros."""

    def __init__(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.integer],
        classes: int,
        recipe: Recipe,
        epochs: int,
        batch_size: int,
        seed: int,
        device: torch.device,
    ) -> None:
        self._recipe, self._seed, self._batch_size = recipe, seed, batch_size
        self._features = torch.from_numpy(features).to(device)
        self._labels = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device)
        self._layer = nn.Linear(features.shape[1], classes, device=device)
        for parameter in self._layer.parameters():
            nn.init.zeros_(parameter)
        self._average = copy.deepcopy(self._layer).requires_grad_(False) if recipe.ema else None
        self._optimizer = _optimizer(self._layer, recipe)
        self._weights: Tensor | None = None
        if recipe.class_weights:
            counts = torch.bincount(self._labels, minlength=classes)
            self._weights = len(self._labels) / (classes * counts.float())
        self._total = epochs * math.ceil(len(features) / batch_size)
        self._done = 0
        self.warm_up = round(recipe.warm_up * self._total)
        self.rate = recipe.head_rate

    @property
    def kept(self) -> nn.Linear:
        """What is judged: the averaged layer, where the recipe averages."""
        return self._average or self._layer

    def epoch(self, number: int) -> tuple[float, float]:
        """One pass over the rows; mean loss and accuracy on the way."""
        generator = np.random.default_rng([self._seed, number])
        order = generator.permutation(len(self._features))
        loss, right = 0.0, 0
        for rows in np.array_split(order, math.ceil(len(order) / self._batch_size)):
            batch_loss, batch_right = self._step(torch.from_numpy(rows).to(self._features.device), generator)
            loss += batch_loss * len(rows)
            right += batch_right
        return loss / len(order), right / len(order)

    def _step(self, rows: Tensor, generator: np.random.Generator) -> tuple[float, int]:
        self._set_rate()
        features, labels = self._features[rows], self._labels[rows]
        share = 1.0
        others = labels
        if self._recipe.mixup:
            share = float(generator.beta(self._recipe.mixup, self._recipe.mixup))
            partners = torch.from_numpy(generator.permutation(len(rows))).to(rows.device)
            features, others = features * share + features[partners] * (1 - share), labels[partners]
        logits = self._layer(features)
        loss = share * self._loss(logits, labels) + (1 - share) * self._loss(logits, others)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if self._recipe.clip:
            nn.utils.clip_grad_norm_(self._layer.parameters(), self._recipe.clip)
        self._optimizer.step()
        self._follow()
        return float(loss.detach()), int((logits.detach().argmax(dim=1) == labels).sum())

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(
            logits, labels, weight=self._weights, label_smoothing=self._recipe.label_smoothing
        )

    def _set_rate(self) -> None:
        if self._done < self.warm_up:
            factor = (self._done + 1) / (self.warm_up + 1)
        elif self._recipe.schedule == "cosine":
            share = (self._done - self.warm_up) / max(1, self._total - self.warm_up)
            factor = max(0.01, (1 + math.cos(math.pi * share)) / 2)
        else:
            factor = 1.0
        self._done += 1
        self.rate = self._recipe.head_rate * factor
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate

    def _follow(self) -> None:
        if self._average is None:
            return
        # Early steps count more, or a short run would be judged by its first, still empty weights.
        decay = min(self._recipe.ema, (1 + self._done) / (10 + self._done))
        with torch.no_grad():
            for average, now in zip(self._average.parameters(), self._layer.parameters(), strict=True):
                average.lerp_(now, 1 - decay)


def _optimizer(layer: nn.Linear, recipe: Recipe) -> torch.optim.Optimizer:
    groups = [
        {"params": [layer.weight], "weight_decay": recipe.weight_decay},
        {"params": [layer.bias], "weight_decay": 0.0},
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.head_rate, momentum=recipe.momentum)
    return torch.optim.AdamW(groups, lr=recipe.head_rate)


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
    """So small a product gains nothing from threads, and loses much where another process works (as `head._fit`)."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
