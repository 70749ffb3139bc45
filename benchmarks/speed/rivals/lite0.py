"""EfficientNet-Lite0 with its ImageNet weights as timm's own module, for those who are measured beside Graft."""

import json
from typing import Any

from torch import nn

from tl_core.models.build import build
from tl_core.models.registry import network
from tl_core.models.weights.obtain import fetch

NAME = "tf_efficientnet_lite0"
SIZE = 224
MEAN = STD = (0.5, 0.5, 0.5)


def lite0(classes: int) -> nn.Module:
    """The network with a new last layer for `classes`."""
    lite0 = network("efficientnet_lite0")
    fetching = fetch(lite0)
    try:
        while True:
            next(fetching)
    except StopIteration as done:
        file = done.value
    return build(lite0, weights=lite0.default_weights, weights_file=file, classes=classes).module


def tell(**found: Any) -> None:
    """The last line of the output."""
    print(json.dumps(found), flush=True)
