"""The head of a frozen backbone as a network of no stages, which the loop trains on features as it trains any network. Needs torch."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tl_core.documents.events import Event
from tl_core.documents.spec import TrainSpec
from tl_core.models.build import Backbone
from tl_core.models.registry import Network
from tl_core.training.device import torch_device
from tl_core.training.head.fitted import Head
from tl_core.training.loop.fit import fit
from tl_core.training.loop.inputs import Inputs
from tl_core.training.strategies.strategies import Strategy


class HeadAlone:
    """A head of zeros, and what it learns from: features that are centred and scaled, so that one learning rate suits every backbone."""

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
    with _one_thread():
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


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: more do not make such small products faster, and are slow beside another busy process."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
