"""A still life is described without a renderer, and its numbers alone decide what is in it."""

import subprocess
import sys

import numpy as np
import pytest

from samples.still_life import KINDS, StillLife, describe


def same(one: StillLife, other: StillLife) -> bool:
    return (
        (one.camera, one.exposure, one.balance) == (other.camera, other.exposure, other.balance)
        and np.array_equal(one.surroundings, other.surroundings)
        and len(one.parts) == len(other.parts)
        and all(
            np.array_equal(first.mesh.points, second.mesh.points)
            and np.array_equal(first.material.colour, second.material.colour)
            for first, second in zip(one.parts, other.parts, strict=True)
        )
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_numbers_describe_the_same_picture_and_others_another(kind: str) -> None:
    first = describe(kind, 3)
    assert same(first, describe(kind, 3))
    other = describe(kind, 4)
    assert first.camera != other.camera
    assert not np.array_equal(first.parts[0].mesh.points, other.parts[0].mesh.points)
    for part in first.parts:
        assert np.isfinite(part.mesh.points).all()
        assert part.material.colour.dtype == np.uint8


def test_descriptions_need_no_renderer() -> None:
    script = "import sys, samples.still_life; sys.exit(bool({'mitsuba', 'drjit', 'pyoidn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
