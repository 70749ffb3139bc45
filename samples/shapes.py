"""Meshes of tableware: profiles turned on a lathe, handles swept along a curve, spouts drawn out of a rim.

One unit is ten centimetres and z points up. Knows nothing of materials, light or cameras.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SEGMENTS = 96
"""Parts of a full turn."""


@dataclass(frozen=True)
class Mesh:
    """A surface over a grid. `across` runs along its rows and `along` along its columns; both are texture coordinates from 0 to 1."""

    points: Array
    """(rows, columns, 3)"""
    across: Array
    """(columns,)"""
    along: Array
    """(rows,)"""

    @property
    def vertices(self) -> Array:
        """(rows * columns, 3)"""
        return self.points.reshape(-1, 3)

    @property
    def texture_coordinates(self) -> Array:
        """(rows * columns, 2)"""
        return np.stack(np.meshgrid(self.across, self.along), axis=-1).reshape(-1, 2)

    @property
    def faces(self) -> NDArray[np.int64]:
        """Two triangles for each cell of the grid, seen from outside against the clock: (2 * (rows - 1) * (columns - 1), 3)."""
        rows, columns = self.points.shape[:2]
        corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
        right, above = corner + 1, corner + columns
        return np.concatenate([np.stack([corner, right, above + 1], 1), np.stack([corner, above + 1, above], 1)])

    @property
    def normals(self) -> Array:
        """Mean of the normals of the faces around each vertex, the vertices of a seam or of a pole taken as one: (rows * columns, 3)."""
        points, faces = self.vertices, self.faces
        normal = np.cross(points[faces[:, 1]] - points[faces[:, 0]], points[faces[:, 2]] - points[faces[:, 0]])
        _, same = np.unique(points.round(6), axis=0, return_inverse=True)
        same = same.ravel()
        summed = np.zeros((same.max() + 1, 3))
        for corner in range(3):
            np.add.at(summed, same[faces[:, corner]], normal)
        return (summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12))[same]

    @property
    def volume(self) -> float:
        """Volume inside of a closed mesh whose faces look outwards, by the divergence theorem."""
        a, b, c = np.moveaxis(self.vertices[self.faces], 1, 0)
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)

    def moved(
        self, *, turn: float = 0.0, tilt: float = 0.0, scale: float = 1.0, to: tuple[float, ...] = (0, 0, 0)
    ) -> Mesh:
        """The mesh scaled, tilted about x, turned about z (both in radians) and moved."""
        (s, c), (st, ct) = (np.sin(turn), np.cos(turn)), (np.sin(tilt), np.cos(tilt))
        turned = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, ct, -st], [0, st, ct]])
        return Mesh(self.points * scale @ turned.T + np.asarray(to, float), self.across, self.along)


def rounded(points: Array, times: int = 3) -> Array:
    """The line through `points` (N, 2 or 3) with its corners cut off (Chaikin 1974); its ends stay, and it leaves their hull nowhere."""
    for _ in range(times):
        first, second = points[:-1], points[1:]
        cut = np.stack([0.75 * first + 0.25 * second, 0.25 * first + 0.75 * second], axis=1).reshape(
            -1, points.shape[1]
        )
        points = np.concatenate([points[:1], cut, points[-1:]])
    return points


def lengths(line: Array) -> Array:
    """Distance along the line from its start to each of its points: (N,)."""
    return np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])


def even(line: Array, number: int) -> Array:
    """`number` points at even distances along the line."""
    far = lengths(line)
    at = np.linspace(0, far[-1], number)
    return np.stack([np.interp(at, far, axis) for axis in line.T], axis=1)


def vessel(outside: Array, wall: float, floor: float = 0.0) -> tuple[Array, int]:
    """The closed profile of a hollow body, from the middle of its foot over the rim to the middle of its inner floor.

    `outside` (N, 2) holds radius and height from the middle of the foot to the rim, and the inside lies a `wall` within it, from the
    height `floor` on. Returns the profile (M, 2) and the index of its rim.
    """
    outer = even(rounded(outside), 120)
    slope = np.gradient(outer, axis=0)
    slope /= np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)
    inner = outer + wall * np.stack([-slope[:, 1], slope[:, 0]], axis=1)
    inner = inner[(outer[:, 1] >= floor) & (inner[:, 1] >= floor + wall) & (inner[:, 0] > 0.01)]
    inner[:, 1] = np.minimum(np.maximum.accumulate(inner[:, 1]), outer[-1, 1] - 1e-3)
    lip = (outer[-1] + inner[-1]) / 2 + np.array([0.0, wall * 0.5])
    inside = np.concatenate([inner[::-1], [[0.0, inner[0, 1]]]])
    over = rounded(np.stack([outer[-1], [outer[-1, 0], lip[1]], [inner[-1, 0], lip[1]], inner[-1]]), 2)[1:-1]
    inside = even(rounded(inside, 2), 100)
    return np.concatenate([outer, over, inside]), len(outer) + len(over) // 2


def solid(outside: Array, number: int = 80) -> Array:
    """The closed profile of a full body: radius and height, from the axis to the axis, upwards."""
    return even(rounded(outside), number)


def lathe(profile: Array, segments: int = SEGMENTS) -> Mesh:
    """The profile (N, 2), radius and height, turned about z."""
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    ring[-1] = ring[0]
    points = np.concatenate(
        [profile[:, None, :1] * ring[None], np.broadcast_to(profile[:, None, 1:], (len(profile), segments + 1, 1))],
        axis=2,
    )
    far = lengths(profile)
    return Mesh(points, angle / (2 * np.pi), far / far[-1])


def with_texture_of_outside(mesh: Mesh, rim: int) -> Mesh:
    """The lower half of the texture runs from foot to rim and the upper half over the inside."""
    outer = mesh.along / mesh.along[rim] * 0.5
    inner = 0.5 + (mesh.along - mesh.along[rim]) / (mesh.along[-1] - mesh.along[rim]) * 0.5
    return Mesh(mesh.points, mesh.across, np.where(np.arange(len(mesh.along)) <= rim, outer, inner))


def with_spout(mesh: Mesh, rim: int, *, length: float, width: float, depth: float, rise: float) -> Mesh:
    """The lathed mesh with a spout drawn out of its rim towards -x.

    `length` is how far it reaches out and `rise` how far up, `width` is its half width as an angle, and it begins `depth` below the rim.
    """
    points = mesh.points.copy()
    top = points[rim, 0, 2]
    away = np.abs((mesh.across * 2 * np.pi) - np.pi)
    near = np.exp(-((away / width) ** 2))[None, :]
    up = np.clip((points[..., 2] - (top - depth)) / depth, 0, 1) ** 2
    pinch = 0.35 * np.exp(-(((away - 1.9 * width) / width) ** 2))[None, :]
    radius = np.hypot(points[..., 0], points[..., 1])
    wide = np.clip(radius / 0.05, 0, 1)
    out = wide * up * length * (near - pinch * 0.5)
    points[..., :2] *= ((radius + out) / np.maximum(radius, 1e-9))[..., None]
    points[..., 2] += wide * up * near * rise
    return Mesh(points, mesh.across, mesh.along)


def sweep(line: Array, width: float, thickness: float, *, taper: float = 1.0, segments: int = 24) -> Mesh:
    """A closed tube along the line (N, 3), which lies in a plane upright on the table.

    Its cross-section is an ellipse with half axes `width` (at right angles to the plane) and `thickness`; at the end it is `taper` times as large
    as at the start.
    """
    tangent = np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    chord = line[len(line) // 2] - (line[0] + line[-1]) / 2
    side = np.cross(chord, line[-1] - line[0])
    if np.linalg.norm(side) < 1e-6:
        side = np.cross(tangent[0], [0.3, 1.0, 0.2])
    side /= np.linalg.norm(side)
    up = np.cross(side, tangent)
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    size = np.linspace(1, taper, len(line))[:, None, None]
    ring = size * (
        width * np.cos(angle)[None, :, None] * side[None, None] + thickness * np.sin(angle)[None, :, None] * up[:, None]
    )
    ring[:, -1] = ring[:, 0]
    tube = line[:, None] + ring
    ends = [np.broadcast_to(line[at], (1, segments + 1, 3)) for at in (0, -1)]
    points = np.concatenate([ends[0], tube, ends[1]])
    mesh = Mesh(points, angle / (2 * np.pi), np.linspace(0, 1, len(points)))
    return mesh if mesh.volume > 0 else Mesh(points[:, ::-1], mesh.across, mesh.along)


def radius_at(profile: Array, rim: int, height: float) -> float:
    """Outer radius of the vessel at this height."""
    outer = profile[: rim + 1]
    at = np.maximum.accumulate(outer[:, 1])
    return float(np.interp(height, at, outer[:, 0]))


def handle(
    profile: Array,
    rim: int,
    wall: float,
    *,
    low: float,
    high: float,
    reach: float,
    width: float,
    thickness: float,
    ear: float,
) -> Mesh:
    """A handle towards +x that leaves the wall at the height `high` and comes back to it at `low`.

    `reach` is how far it stands off; `ear` moves its outermost part up (positive) or down. Both ends lie in the middle of the wall.
    """
    ends = [np.array([radius_at(profile, rim, z) - wall / 2, 0.0, z]) for z in (high, low)]
    out = max(ends[0][0], ends[1][0]) + reach
    span = high - low
    control = np.stack(
        [
            ends[0],
            ends[0] + [wall, 0, 0.02 * span],
            [out * 0.98, 0.0, high + span * (0.06 + ear)],
            [out, 0.0, (high + low) / 2 + span * ear],
            [ends[1][0] + reach * 0.75, 0.0, low - span * 0.04 + span * ear * 0.4],
            ends[1] + [wall, 0, 0.0],
            ends[1],
        ]
    )
    return sweep(even(rounded(control, 4), 64), width, thickness, taper=0.9)


def sheet(width: float, depth: float, *, rise: Array) -> Mesh:
    """A cloth: a rectangle around the origin, `rise` (rows, columns) above the table."""
    rows, columns = rise.shape
    x, y = np.meshgrid(np.linspace(-width / 2, width / 2, columns), np.linspace(-depth / 2, depth / 2, rows))
    return Mesh(np.stack([x, y, rise], axis=-1), np.linspace(0, 1, columns), np.linspace(0, 1, rows))
