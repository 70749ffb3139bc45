"""The shapes of rendered tableware are closed bodies, with handles on their walls and spouts on their rims."""

from collections import Counter

import numpy as np
import pytest

from samples import shapes
from samples.shapes import Mesh

BEAKER = np.array([[0.0, 0.0], [0.35, 0.0], [0.4, 0.05], [0.42, 0.5], [0.4, 0.9]])
WALL = 0.04


def open_edges(mesh: Mesh) -> int:
    """Edges that are not shared by exactly two faces, points at the same place taken as one."""
    _, same = np.unique(mesh.vertices.round(6), axis=0, return_inverse=True)
    faces = same.ravel()[mesh.faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    return sum(count != 2 for count in Counter(map(tuple, edges.tolist())).values())


def test_a_vessel_is_closed_hollow_and_looks_outwards() -> None:
    profile, rim = shapes.vessel(BEAKER, WALL)
    assert profile[0, 0] == 0
    assert profile[-1, 0] == 0
    assert (profile[:, 0] >= 0).all()
    mesh = shapes.lathe(profile)
    assert open_edges(mesh) == 0
    outside = shapes.lathe(np.concatenate([profile[: rim + 1], [[0.0, profile[rim, 1]]]]))
    assert 0 < mesh.volume < 0.5 * outside.volume
    top = mesh.points[..., 2].max()
    assert mesh.points[rim, 0, 2] == pytest.approx(top, abs=WALL / 4)


def test_a_handle_is_closed_and_both_its_ends_lie_within_the_wall() -> None:
    profile, rim = shapes.vessel(BEAKER, WALL)
    grip = shapes.handle(profile, rim, WALL, low=0.2, high=0.75, reach=0.3, width=0.06, thickness=0.04, ear=0.05)
    assert open_edges(grip) == 0
    assert grip.volume > 0
    for row in (0, -1):
        x, y, z = grip.points[row].mean(axis=0)
        radius = shapes.radius_at(profile, rim, z)
        assert radius - WALL < np.hypot(x, y) < radius
    assert grip.points[..., 0].max() > profile[:, 0].max() + 0.2


def test_a_spout_lies_on_the_rim_opposite_the_handle_and_leaves_the_foot_round() -> None:
    profile, rim = shapes.vessel(BEAKER, WALL)
    round_ = shapes.lathe(profile)
    mesh = shapes.with_spout(round_, rim, length=0.2, width=0.4, depth=0.25, rise=0.05)
    assert open_edges(mesh) == 0
    radius = np.hypot(mesh.points[..., 0], mesh.points[..., 1])
    row, column = np.unravel_index(radius.argmax(), radius.shape)
    tip = mesh.points[row, column]
    assert abs(row - rim) < 8
    assert tip[0] == pytest.approx(-(profile[rim, 0] + 0.2), abs=WALL)
    assert tip[1] == pytest.approx(0, abs=0.02)
    low = round_.points[..., 2] < profile[rim, 1] - 0.25 - WALL
    assert (mesh.points[low] == round_.points[low]).all()


def test_normals_of_a_ball_point_away_from_its_middle() -> None:
    angle = np.linspace(-np.pi / 2, np.pi / 2, 60)
    line = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    line[[0, -1], 0] = 0
    ball = shapes.lathe(line)
    assert ball.volume == pytest.approx(4 / 3 * np.pi, rel=0.01)
    assert np.einsum("ij,ij->i", ball.normals, ball.vertices).min() > 0.99
