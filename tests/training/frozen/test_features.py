"""Frozen features that are kept are there without the device, the weights and the network that gave them."""

from pathlib import Path

import numpy as np
import pytest

from tests.training.twin import finish
from tl_core.data.cache import Cache
from tl_core.errors import DeviceError
from tl_core.models.registry import network
from tl_core.training.frozen.features import frozen_features


def test_kept_features_need_no_device_and_missing_ones_say_that_it_is_not_there(tmp_path: Path) -> None:
    row, cache = network("efficientnet_lite0"), Cache(tmp_path / "cache", 10**8)
    pixels = np.zeros((3, 32, 32, 3), dtype=np.uint8)
    given = {"weights": row.default_weights, "device": "mps", "cache": cache}
    with pytest.raises(DeviceError):
        finish(frozen_features(pixels, row, key="a-b", **given))
    assert cache.get("features", "a-b") is None
    wanted = np.arange(6, dtype=np.float32).reshape(3, 2)
    with cache.entry("features", "a-b") as entry:
        np.save(entry.temporary.open("wb"), wanted)
        entry.commit()
    found, _ = finish(frozen_features(pixels, row, key="a-b", **given))
    assert (found == wanted).all()
