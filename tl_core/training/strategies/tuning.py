"""A strategy's row as it is for one network: how large its steps are depends on how the network is normalised. No torch."""

from __future__ import annotations

from dataclasses import replace

from tl_core.models.registry import Network
from tl_core.training.strategies.strategies import Strategy

WITHOUT_BATCH_NORM = 0.1
"""Factor of the stages' learning rates where nothing is normalised over the batch: published recipes fine-tune vision
transformers and ConvNeXt with AdamW at 1e-5 to 1e-4, where EfficientNets take 1e-3."""


def tuned(row: Strategy, network: Network) -> Strategy:
    """`row` with the recipe that it has on `network`. Small updates, biases and norms learn at the same rate everywhere."""
    if network.layout.batch_norm or not row.takes_steps or row.parameters != "all":
        return row
    rate = row.recipe.stage_rate * WITHOUT_BATCH_NORM
    return replace(row, recipe=row.recipe.changed({"stage_rate": rate}))
