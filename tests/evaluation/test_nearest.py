from __future__ import annotations

import numpy as np

from tl_core.evaluation.nearest import nearest


def test_the_direction_counts_and_not_the_length() -> None:
    vectors = np.array([[0, 3], [10, 1], [0.1, 0.1], [-1, 0], [0, 0]], np.float16)
    found = nearest(np.array([1, 1], np.float32), vectors, 3)
    assert [near.row for near in found] == [2, 1, 0]
    assert np.isclose(found[0].similarity, 1, atol=1e-3)
    assert np.isclose(found[2].similarity, 0.5**0.5, atol=1e-3)
