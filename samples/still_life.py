"""What is in each picture: one piece of tableware of a kind, made from its seed, with its material, light, camera and surroundings.

A description holds meshes and bitmaps as arrays, so that it can be made and compared without a renderer.
"""

from dataclasses import dataclass, field

import numpy as np

from samples import shapes, textures
from samples.shapes import Array, Mesh
from samples.textures import Bitmap, Colour, Generator

KINDS = ("mug", "bowl", "bottle", "wine glass", "jug", "vase")
EACH = 50
"""Pictures of each kind."""


@dataclass(frozen=True)
class Material:
    """How a surface answers light."""

    colour: Bitmap
    """sRGB: (H, W, 3)"""
    roughness: float = 0.4
    """From 0 (a mirror) to 1."""
    metallic: float = 0.0
    coat: float = 0.0
    """Share of a clear coat over the colour."""
    glass: bool = False
    """Light goes through, and takes the colour with it."""
    repeat: tuple[float, float] = (1.0, 1.0)
    """How often the bitmap repeats over the texture coordinates."""


@dataclass(frozen=True)
class Part:
    """A mesh and what it is made of."""

    mesh: Mesh
    material: Material


@dataclass(frozen=True)
class Camera:
    """A thin lens. Positions in units of ten centimetres."""

    origin: tuple[float, float, float]
    target: tuple[float, float, float]
    view: float
    """Angle of view, in degrees."""
    aperture: float
    """Radius of the lens."""
    focus: float
    """Distance at which the picture is sharp."""


@dataclass(frozen=True)
class StillLife:
    """Everything in one picture."""

    kind: str
    parts: tuple[Part, ...]
    surroundings: Array
    """Light from all around: (128, 256, 3), linear."""
    camera: Camera
    exposure: float
    """Brightness of the picture's middle tones, about 1."""
    balance: Colour
    """Factors of red, green and blue."""


@dataclass
class _Piece:
    """A piece of tableware that stands at the origin, its handle towards +x."""

    parts: list[Part] = field(default_factory=list)
    width: float = 0.0
    """Largest radius."""
    height: float = 0.0


def describe(kind: str, number: int) -> StillLife:
    """The still life `number` of this kind; the same numbers give the same picture.

    Raises:
        ValueError: there is no such kind.
    """
    random = np.random.default_rng([1972, KINDS.index(kind), number])
    piece = PIECES[kind](random)
    turn = random.uniform(0, 2 * np.pi)
    if random.random() < 0.1:  # the handle behind the piece
        turn = np.pi / 2 + random.normal(0, 0.25)
    parts = [Part(part.mesh.moved(turn=turn), part.material) for part in piece.parts]
    light = random.choice(["window", "sky", "lamp", "studio"], p=[0.42, 0.22, 0.16, 0.20])
    camera = _camera(random, piece, kind)
    return StillLife(
        kind=kind,
        parts=(*parts, *_clutter(random, piece, camera), *_room(random)),
        surroundings=textures.surroundings(random, light),
        camera=camera,
        exposure=float(np.exp(random.normal(0, 0.22))),
        balance=tuple(_balance(random)),
    )


def _balance(random: Generator) -> Array:
    warmth, green = random.normal(0.042, 0.055), random.normal(0, 0.015)
    return np.array([1 + warmth, 1 + green, 1 - warmth])


def _camera(random: Generator, piece: _Piece, kind: str) -> Camera:
    from_above = random.random() < 0.11
    rise = np.radians(random.uniform(48, 76) if from_above else random.triangular(6, 20, 42))
    view = random.uniform(22, 34)
    size = max(piece.height, 1.7 * piece.width) * (
        random.uniform(0.55, 0.76) if kind in ("bottle", "vase") else random.uniform(0.62, 0.86)
    )
    if from_above:
        size = max(size, 2 * piece.width * 0.75)
    distance = size / np.tan(np.radians(view / 2)) * random.uniform(0.90, 1.22)
    cut = random.random() < 0.08
    aside = random.normal(0, 0.08 if not cut else 0.24) * distance * np.tan(np.radians(view))
    target = np.array([aside, 0.0, piece.height * random.uniform(0.40, 0.55)])
    origin = target + distance * np.array([0.0, -np.cos(rise), np.sin(rise)])
    return Camera(
        origin=tuple(origin.tolist()),
        target=tuple(target.tolist()),
        view=view,
        aperture=float(random.uniform(0.03, 0.14) * distance / 5),
        focus=float(distance - 0.4 * piece.width),
    )


# Pieces ---------------------------------------------------------------------------------------------------------------


def _skin(random: Generator, metal: float = 0.08, wood: float = 0.06) -> tuple[Material, Material]:
    """The material of an opaque vessel and that of its handle."""
    chance = random.random()
    if chance < metal:
        colour = ((0.93, 0.92, 0.90), (0.94, 0.80, 0.52), (0.93, 0.64, 0.50), (0.62, 0.62, 0.64))[random.integers(4)]
        made = Material(
            textures.as_bytes(textures.varied(colour, random, 0.012)),
            roughness=random.uniform(0.10, 0.34),
            metallic=1.0,
        )
        return made, made
    if chance < metal + wood:
        made = Material(
            textures.as_bytes(np.rot90(textures.wood(random)).copy()),
            roughness=random.uniform(0.35, 0.6),
            repeat=(2, 1),
        )
        return made, made
    skin, grip = textures.glaze(random)
    matt = random.random() < 0.3
    roughness = float(random.uniform(0.45, 0.75) if matt else random.uniform(0.12, 0.35))
    coat = 0.0 if matt else float(random.uniform(0.3, 1.0))
    return (
        Material(textures.as_bytes(skin), roughness, coat=coat),
        Material(textures.as_bytes(textures.varied(grip, random, 0.02)), roughness, coat=coat),
    )


TINTS = (
    (0.98, 0.99, 0.98),
    (0.97, 0.99, 0.99),
    (0.72, 0.90, 0.76),
    (0.95, 0.80, 0.58),
    (0.74, 0.88, 0.95),
    (0.93, 0.78, 0.82),
)


def _glass(random: Generator, clear: float = 0.6) -> Material:
    tint = TINTS[random.integers(2)] if random.random() < clear else TINTS[random.integers(2, len(TINTS))]
    return Material(textures.as_bytes(textures.plain(tint)), glass=True)


def _body(piece: _Piece, outside: Array, wall: float, material: Material, **spout: float) -> tuple[Array, int]:
    """Add the vessel with this outside; returns its profile and the index of its rim."""
    profile, rim = shapes.vessel(np.asarray(outside, float), wall)
    mesh = shapes.with_texture_of_outside(shapes.lathe(profile), rim)
    if spout:
        mesh = shapes.with_spout(mesh, rim, **spout)
    piece.parts.append(Part(mesh, material))
    piece.width = max(piece.width, float(profile[:, 0].max()))
    piece.height = max(piece.height, float(profile[:, 1].max()))
    return profile, rim


def _drink(random: Generator, piece: _Piece, profile: Array, rim: int, level: float, colour: Colour) -> None:
    """Fill the vessel up to this share of its depth."""
    inner = profile[rim + 4 :]
    floor, top = inner[-1, 1], inner[0, 1]
    surface = floor + (top - floor) * level
    below = inner[inner[:, 1] < surface]
    if len(below) < 4:
        return
    edge = np.array([[below[0, 0], surface]])
    line = np.concatenate([below[::-1], edge, [[0.0, surface]]]) * [0.985, 1]
    line[:, 1] = np.maximum(line[:, 1], floor + 0.01)
    piece.parts.append(
        Part(shapes.lathe(line), Material(textures.as_bytes(textures.plain(colour)), roughness=0.08, coat=1.0))
    )


DRINKS = ((0.20, 0.11, 0.06), (0.50, 0.32, 0.18), (0.56, 0.28, 0.10), (0.93, 0.90, 0.84), (0.24, 0.12, 0.08))
WINES = ((0.30, 0.02, 0.06), (0.42, 0.05, 0.09), (0.85, 0.70, 0.32), (0.88, 0.52, 0.45))
SOUPS = ((0.80, 0.36, 0.12), (0.72, 0.62, 0.28), (0.45, 0.52, 0.24), (0.90, 0.86, 0.76), (0.60, 0.22, 0.14))


def _mug(random: Generator) -> _Piece:
    piece = _Piece()
    radius, height = random.uniform(0.34, 0.48), random.uniform(0.70, 1.10)
    foot, top, belly = random.uniform(0.70, 1.0), random.uniform(0.88, 1.12), random.uniform(0.92, 1.22)
    if random.random() < 0.12:  # a wide cup
        radius, height, foot = radius * 1.25, height * 0.75, random.uniform(0.55, 0.7)
    wall = random.uniform(0.035, 0.06)
    outside = radius * np.array(
        [
            [0, 0],
            [foot * 0.9, 0],
            [foot, 0.0],
            [foot, 0.12],
            [belly, height / radius * 0.38],
            [(belly + top) / 2, height / radius * 0.7],
            [top, height / radius * 0.93],
            [top * random.uniform(0.98, 1.06), height / radius],
        ]
    )
    glass = random.random() < 0.07
    skin, grip = _skin(random)
    if glass:
        skin = grip = _glass(random)
    profile, rim = _body(piece, outside, wall, skin)
    low, high = height * random.uniform(0.14, 0.30), height * random.uniform(0.72, 0.90)
    piece.parts.append(
        Part(
            shapes.handle(
                profile,
                rim,
                wall,
                low=low,
                high=high,
                reach=random.uniform(0.20, 0.34),
                width=random.uniform(0.05, 0.09),
                thickness=random.uniform(0.035, 0.055),
                ear=random.uniform(-0.05, 0.08),
            ),
            grip,
        )
    )
    if glass or random.random() < 0.6:
        _drink(random, piece, profile, rim, random.uniform(0.6, 0.92), DRINKS[random.integers(len(DRINKS))])
    return piece


def _bowl(random: Generator) -> _Piece:
    piece = _Piece()
    radius = random.uniform(0.55, 0.95)
    height = radius * random.uniform(0.38, 0.95)
    foot, flare = random.uniform(0.35, 0.6), random.uniform(0.9, 1.1)
    if random.random() < 0.12:  # deep, as a beaker or a tea bowl
        radius, foot = random.uniform(0.42, 0.55), random.uniform(0.5, 0.75)
        height = radius * random.uniform(1.05, 1.5)
    rise = height / radius
    full = random.uniform(0.78, 1.0)
    outside = radius * np.array(
        [
            [0, 0.0],
            [foot * 0.85, 0],
            [foot, 0],
            [foot, 0.08],
            [foot * 1.02, 0.10],
            [full * 0.88, rise * 0.36],
            [full, rise * 0.66],
            [1.0, rise * 0.92],
            [flare, rise],
        ]
    )
    skin, _ = _skin(random, metal=0.08, wood=0.16)
    glass = random.random() < 0.07
    profile, rim = _body(piece, outside, random.uniform(0.035, 0.07), _glass(random) if glass else skin)
    chance = random.random()
    if chance < 0.25:
        _drink(random, piece, profile, rim, random.uniform(0.45, 0.8), SOUPS[random.integers(len(SOUPS))])
    elif chance < 0.5 and radius > 0.6:
        for _ in range(random.integers(2, 5)):
            angle, far = random.uniform(0, 2 * np.pi), radius * random.uniform(0.1, 0.42)
            size = radius * random.uniform(0.26, 0.36)
            piece.parts.append(
                _fruit(
                    random,
                    size,
                    (far * np.cos(angle), far * np.sin(angle), height * 0.35 + size * random.uniform(0.7, 1.1)),
                )
            )
    return piece


def _bottle(random: Generator) -> _Piece:
    piece = _Piece()
    height, radius = random.uniform(1.7, 2.9), random.uniform(0.28, 0.46)
    neck = radius * random.uniform(0.24, 0.42)
    shoulder = height * random.uniform(0.45, 0.66)
    slope = height * random.uniform(0.08, 0.26)
    if random.random() < 0.22:  # a flask, as round as a vase
        radius, height = radius * 1.5, height * 0.75
        shoulder, slope, neck = height * 0.42, height * 0.22, neck * 1.3
    top = min(shoulder + slope, height * 0.9)
    waist = random.uniform(0.9, 1.04)
    lip = neck * random.uniform(1.12, 1.4)
    outside = np.array(
        [
            [0, 0],
            [radius * 0.9, 0],
            [radius, 0.0],
            [radius, 0.12],
            [radius * waist, shoulder * 0.55],
            [radius, shoulder * 0.92],
            [radius * 0.97, shoulder + slope * 0.25],
            [neck * 1.12, top],
            [neck, top + 0.06],
            [neck, height - 0.14],
            [neck, height - 0.10],
            [lip, height - 0.10],
            [lip, height - 0.05],
            [lip * 0.98, height],
        ]
    )
    chance = random.random()
    if chance < 0.62:
        if random.random() < 0.55:
            colour = (
                (0.16, 0.36, 0.20),
                (0.42, 0.22, 0.08),
                (0.20, 0.34, 0.42),
                (0.52, 0.62, 0.38),
                (0.12, 0.22, 0.16),
            )[random.integers(5)]
            skin = Material(textures.as_bytes(textures.plain(np.sqrt(colour))), glass=True)
        else:
            skin = _glass(random, 0.7)
    else:
        skin, _ = _skin(random, metal=0.12, wood=0.02)
    wall = 0.05
    profile, rim = _body(piece, outside, wall, skin)
    if skin.glass and random.random() < 0.55:
        _drink(
            random,
            piece,
            profile,
            rim,
            random.uniform(0.25, 0.68),
            (*WINES, *DRINKS)[random.integers(len(WINES) + len(DRINKS))],
        )
    stop = random.random()
    if stop < 0.5:
        size = lip * random.uniform(0.72, 0.9) if stop < 0.35 else lip * 1.12
        body = shapes.solid(
            np.array(
                [[0, -0.12], [size * 0.6, -0.12], [size * 0.98, 0.0], [size, 0.03], [size, 0.16], [size, 0.2], [0, 0.2]]
            )
        )
        if stop < 0.35:
            made = Material(textures.as_bytes(textures.varied((0.72, 0.55, 0.38), random, 0.12, 0.8)), roughness=0.8)
        else:
            made, _ = _skin(random, metal=0.5)
        piece.parts.append(Part(shapes.lathe(body).moved(to=(0, 0, height + 0.01)), made))
    if random.random() < 0.35 and stop < 0.9:
        low, high = shoulder * random.uniform(0.2, 0.35), shoulder * random.uniform(0.65, 0.85)
        paper, _ = textures.glaze(random)
        paper = paper[: textures.SIDE // 2] * 0.55 + np.array([0.92, 0.89, 0.82]) * 0.45
        heights = np.linspace(low, high, 12)
        band = np.stack([[shapes.radius_at(profile, rim, z) + 0.006 for z in heights], heights], axis=1)
        piece.parts.append(Part(shapes.lathe(band), Material(textures.as_bytes(paper), roughness=0.6)))
    return piece


def _wine_glass(random: Generator) -> _Piece:
    piece = _Piece()
    bowl, deep = random.uniform(0.32, 0.50), random.uniform(0.65, 1.15)
    stem = random.uniform(0.55, 1.0)
    if random.random() < 0.2:  # a goblet with a short stem
        stem = random.uniform(0.2, 0.4)
    if random.random() < 0.15:  # a flute
        bowl, deep = random.uniform(0.22, 0.28), random.uniform(1.2, 1.5)
    if random.random() < 0.12:  # a shallow one
        bowl, deep = random.uniform(0.45, 0.58), random.uniform(0.35, 0.5)
    foot, thin = bowl * random.uniform(0.75, 0.98), random.uniform(0.035, 0.06)
    rim_width = bowl * random.uniform(0.68, 1.02)
    outside = np.array(
        [
            [0, 0],
            [foot, 0],
            [foot, 0.02],
            [foot, 0.035],
            [thin * 2.4, 0.09],
            [thin, 0.2],
            [thin, 0.2 + (stem - 0.2) * 0.5 if stem > 0.3 else 0.22],
            [thin, stem - 0.02],
            [thin * 1.4, stem + 0.02],
            [bowl * 0.72, stem + deep * 0.12],
            [bowl * 1.04, stem + deep * 0.40],
            [bowl * 0.98, stem + deep * 0.66],
            [rim_width, stem + deep * 0.92],
            [rim_width, stem + deep],
        ]
    )
    wall = 0.022
    profile, rim = shapes.vessel(outside, wall, floor=stem + 0.035)
    chance = random.random()
    made = _glass(random, 0.72) if chance < 0.86 else _skin(random, metal=0.7, wood=0.05)[0]
    piece.parts.append(Part(shapes.with_texture_of_outside(shapes.lathe(profile), rim), made))
    piece.width, piece.height = float(profile[:, 0].max()), float(profile[:, 1].max())
    if random.random() < 0.55:
        _drink(random, piece, profile, rim, random.uniform(0.25, 0.55), WINES[random.integers(len(WINES))])
    return piece


def _jug(random: Generator) -> _Piece:
    piece = _Piece()
    height, radius = random.uniform(1.0, 1.9), random.uniform(0.42, 0.60)
    neck, lip = random.uniform(0.55, 0.85), random.uniform(0.60, 0.95)
    belly = random.uniform(0.25, 0.45)
    if random.random() < 0.25:  # a milk jug, hardly more than a mug
        height, neck, lip = random.uniform(0.75, 1.0), random.uniform(0.80, 0.98), random.uniform(0.85, 1.02)
        radius *= 0.85
    foot = random.uniform(0.6, 0.9)
    outside = np.array(
        [
            [0, 0],
            [radius * foot * 0.92, 0],
            [radius * foot, 0],
            [radius * foot, 0.06],
            [radius * 1.03, height * belly],
            [radius * 0.98, height * (belly + 0.15)],
            [radius * neck, height * 0.76],
            [radius * neck, height * 0.84],
            [radius * lip, height * 0.97],
            [radius * lip, height],
        ]
    )
    wall = random.uniform(0.04, 0.06)
    skin, grip = _skin(random, metal=0.12, wood=0.02)
    if random.random() < 0.12:
        skin = grip = _glass(random)
    small = random.random() < 0.25
    profile, rim = _body(
        piece,
        outside,
        wall,
        skin,
        length=random.uniform(0.05, 0.10) if small else random.uniform(0.12, 0.24),
        width=random.uniform(0.28, 0.5),
        depth=height * random.uniform(0.16, 0.32),
        rise=random.uniform(0.0, 0.08),
    )
    low, high = height * random.uniform(0.22, 0.40), height * random.uniform(0.80, 0.92)
    piece.parts.append(
        Part(
            shapes.handle(
                profile,
                rim,
                wall,
                low=low,
                high=high,
                reach=random.uniform(0.24, 0.42),
                width=random.uniform(0.05, 0.085),
                thickness=random.uniform(0.035, 0.055),
                ear=random.uniform(0.0, 0.16),
            ),
            grip,
        )
    )
    if random.random() < 0.35:
        _drink(random, piece, profile, rim, random.uniform(0.5, 0.9), DRINKS[3] if random.random() < 0.6 else TINTS[4])
    return piece


def _vase(random: Generator) -> _Piece:
    piece = _Piece()
    height, radius = random.uniform(1.2, 2.4), random.uniform(0.36, 0.62)
    way = random.choice(["amphora", "cylinder", "trumpet", "round", "narrow"], p=[0.28, 0.16, 0.18, 0.20, 0.18])
    foot = random.uniform(0.5, 0.8)
    neck, lip = random.uniform(0.35, 0.6), random.uniform(0.5, 0.95)
    shapes_of = {
        "amphora": [
            [foot, 0.0],
            [foot, 0.03],
            [0.95, 0.38],
            [1.03, 0.58],
            [0.85, 0.74],
            [neck, 0.84],
            [neck, 0.90],
            [lip, 1.0],
        ],
        "cylinder": [
            [0.80, 0.0],
            [0.82, 0.03],
            [0.80, 0.4],
            [0.82, 0.7],
            [0.84, 0.94],
            [random.uniform(0.8, 0.95), 1.0],
        ],
        "trumpet": [
            [foot, 0.0],
            [foot, 0.04],
            [foot * 0.8, 0.25],
            [foot * 0.85, 0.5],
            [0.75, 0.78],
            [1.0, 0.95],
            [1.05, 1.0],
        ],
        "round": [
            [foot, 0.0],
            [foot, 0.03],
            [1.15, 0.22],
            [1.22, 0.48],
            [0.85, 0.74],
            [neck, 0.84],
            [neck, 0.92],
            [neck * 1.15, 1.0],
        ],
        "narrow": [
            [0.75, 0.0],
            [0.78, 0.03],
            [1.0, 0.20],
            [0.92, 0.38],
            [0.36, 0.58],
            [0.26, 0.72],
            [0.26, 0.92],
            [random.uniform(0.32, 0.5), 1.0],
        ],
    }[way]
    if way == "round":
        height *= 0.75
    outside = np.array([[0, 0], [shapes_of[0][0] * 0.9, 0.0], *shapes_of]) * [radius, height]
    glass = random.random() < 0.16
    skin, _ = _skin(random, metal=0.08, wood=0.05)
    profile, rim = _body(piece, outside, random.uniform(0.035, 0.055), _glass(random, 0.4) if glass else skin)
    if random.random() < 0.30:
        _stems(random, piece, profile[rim, 0], height)
    return piece


def _stems(random: Generator, piece: _Piece, opening: float, height: float) -> None:
    """Twigs with leaves or seed heads."""
    stalk = Material(
        textures.as_bytes(textures.plain(((0.36, 0.30, 0.20), (0.30, 0.40, 0.20))[random.integers(2)])), roughness=0.7
    )
    leaf = ((0.30, 0.42, 0.22), (0.72, 0.60, 0.38), (0.56, 0.62, 0.48), (0.80, 0.42, 0.36), (0.90, 0.86, 0.78))[
        random.integers(5)
    ]
    foliage = Material(textures.as_bytes(textures.varied(leaf, random, 0.1)), roughness=0.6)
    long = random.random() < 0.5
    for _ in range(random.integers(2, 6)):
        angle, lean = random.uniform(0, 2 * np.pi), random.uniform(0.1, 0.55)
        out = np.array([np.cos(angle), np.sin(angle), 0.0])
        reach = height * random.uniform(0.45, 0.9)
        line = shapes.rounded(
            np.stack(
                [
                    -out * opening * 0.5 + [0, 0, height * 0.3],
                    out * opening * 0.55 + [0, 0, height],
                    out * (opening + lean * reach * 0.5) + [0, 0, height + reach * 0.6],
                    out * (opening + lean * reach) + [0, 0, height + reach],
                ]
            )
        )
        line = shapes.even(line, 40)
        piece.parts.append(Part(shapes.sweep(line, 0.014, 0.014, taper=0.5, segments=8), stalk))
        for at in range(22, 40, 3 if long else 2):
            side = random.uniform(0, 2 * np.pi)
            size = random.uniform(0.05, 0.09)
            blade = shapes.solid(
                np.array(
                    [[0, 0], [size * 0.3, size], [size * 0.34, size * 1.6], [0, size * 3 if long else size * 1.9]]
                ),
                14,
            )
            mesh = shapes.lathe(blade, 10).moved(tilt=random.uniform(0.3, 1.2), turn=side, to=tuple(line[at]))
            piece.parts.append(Part(mesh, foliage))


PIECES = {"mug": _mug, "bowl": _bowl, "bottle": _bottle, "wine glass": _wine_glass, "jug": _jug, "vase": _vase}


# Around the piece -----------------------------------------------------------------------------------------------------

FRUITS = (
    ((0.90, 0.76, 0.22), 1.28),
    ((0.90, 0.52, 0.14), 1.0),
    ((0.70, 0.16, 0.12), 0.92),
    ((0.55, 0.66, 0.22), 0.93),
    ((0.40, 0.16, 0.24), 1.1),
    ((0.86, 0.60, 0.42), 0.97),
)
"""Colour, and height as a share of the width."""


def _fruit(random: Generator, size: float, at: tuple[float, float, float]) -> Part:
    """A lemon, an orange, an apple, a plum or a peach, `size` in radius, its middle at `at`."""
    colour, long = FRUITS[random.integers(len(FRUITS))]
    tip = 0.12 if long > 1.2 else -0.10 if long < 0.95 else 0.0
    angle = np.linspace(-np.pi / 2, np.pi / 2, 40)
    line = size * np.stack([np.cos(angle), long * np.sin(angle)], axis=1)
    line[:, 1] += size * tip * np.sign(angle) * np.exp(-((np.abs(angle) - np.pi / 2) ** 2) / 0.04)
    line[[0, -1], 0] = 0
    mesh = shapes.lathe(line, 48).moved(tilt=random.uniform(-0.9, 0.9), turn=random.uniform(0, 2 * np.pi), to=at)
    second = np.array(colour) * np.array([0.95, random.uniform(0.7, 1.1), 0.9])
    skin = textures.mixed(
        colour, second, 0.5 + 0.35 * textures.noise(random, (textures.SIDE, textures.SIDE), smooth=1.5)
    )
    return Part(mesh, Material(textures.as_bytes(skin), roughness=random.uniform(0.3, 0.5), coat=0.2))


def _clutter(random: Generator, piece: _Piece, camera: Camera) -> list[Part]:
    """Things at the edge: fruit, a plate, a spoon, a book, a cloth, or another vessel out of focus."""
    found: list[Part] = []
    half = camera.focus * np.tan(np.radians(camera.view / 2))
    number = random.choice([0, 1, 2, 3], p=[0.18, 0.34, 0.32, 0.16])
    sides = [-1, 1] if random.random() < 0.5 else [1, -1]
    chosen = random.choice(
        ["fruit", "plate", "spoon", "book", "vessel", "ball"],
        size=number,
        replace=False,
        p=[0.28, 0.14, 0.14, 0.16, 0.18, 0.10],
    )
    for place, what in enumerate(chosen):
        side = sides[place % 2]
        back = random.uniform(0.5, 2.2) if random.random() < 0.75 else random.uniform(-0.9, -0.4)
        x = camera.target[0] + side * half * (1 + 0.2 * max(back, 0)) * random.uniform(0.72, 1.05)
        if abs(x) < piece.width + 0.45 and back < piece.width + 0.6:
            x = side * (piece.width + 0.5)
        if what == "fruit":
            for step in range(random.integers(1, 4)):
                size = random.uniform(0.24, 0.38)
                found.append(
                    _fruit(
                        random,
                        size,
                        (x + side * step * 0.62, back + random.uniform(-0.1, 0.5) + 0.3 * step, size * 0.93),
                    )
                )
        elif what == "plate":
            skin, _ = _skin(random)
            r = random.uniform(0.8, 1.2)
            profile, rim = shapes.vessel(
                r * np.array([[0, 0], [0.5, 0], [0.55, 0.0], [0.62, 0.05], [0.85, 0.10], [1, 0.13]]), 0.04
            )
            mesh = shapes.with_texture_of_outside(shapes.lathe(profile), rim)
            found.append(Part(mesh.moved(to=(x + side * r * 0.8, back + 0.4, 0)), skin))
        elif what == "spoon":
            metal, _ = _skin(random, metal=0.7, wood=0.3)
            line = np.array([[0, 0, 0.03], [0.5, 0, 0.06], [1.1, 0, 0.05], [1.25, 0, 0.03]])
            turn, to = random.uniform(0, 2 * np.pi), (x, min(back, 0.6), 0)
            found.append(
                Part(
                    shapes.sweep(shapes.even(shapes.rounded(line), 30), 0.045, 0.018, taper=0.8).moved(
                        turn=turn, to=to
                    ),
                    metal,
                )
            )
            dish = shapes.solid(
                np.array([[0, 0], [0.12, 0.0], [0.19, 0.05], [0.19, 0.06], [0.1, 0.03], [0, 0.025]]), 40
            )
            lathed = shapes.lathe(dish, 40)
            oval = Mesh(lathed.points * [1.45, 1, 1], lathed.across, lathed.along)
            found.append(Part(oval.moved(to=(1.45, 0, 0)).moved(turn=turn, to=to), metal))
        elif what == "book":
            colour = np.array(textures.GLAZES[random.integers(len(textures.GLAZES))])
            z = 0.0
            for _ in range(random.integers(1, 3)):
                thick = random.uniform(0.14, 0.3)
                turn, to = random.uniform(-0.5, 0.5), (x + side * 0.8, max(back, 0.8) + 0.6, z)
                found += [Part(mesh.moved(turn=turn, to=to), made) for mesh, made in _book(random, thick, colour)]
                z, colour = z + thick, np.array(textures.GLAZES[random.integers(len(textures.GLAZES))])
        elif what == "vessel":
            other = PIECES[KINDS[random.integers(len(KINDS))]](random)
            away = (x + side * random.uniform(0.2, 0.6), max(back, 0) + random.uniform(1.2, 2.4), 0.0)
            found += [Part(part.mesh.moved(turn=random.uniform(0, 6), to=away), part.material) for part in other.parts]
        else:
            size = random.uniform(0.06, 0.13)
            colour = textures.GLAZES[random.integers(len(textures.GLAZES))]
            for _ in range(random.integers(3, 8)):
                angle = np.linspace(-np.pi / 2, np.pi / 2, 20)
                line = size * np.stack([np.cos(angle), np.sin(angle)], axis=1)
                line[[0, -1], 0] = 0
                to = (x + side * random.uniform(0, 0.6), back + random.uniform(-0.5, 0.6), size)
                found.append(
                    Part(
                        shapes.lathe(line, 24).moved(to=to),
                        Material(textures.as_bytes(textures.plain(colour)), roughness=0.3, coat=0.5),
                    )
                )
    if random.random() < 0.22:
        found.append(_napkin(random))
    return found


def _book(random: Generator, thick: float, colour: Array) -> list[tuple[Mesh, Material]]:
    wide, deep = random.uniform(1.1, 1.5), random.uniform(0.8, 1.0)
    cover = Material(textures.as_bytes(textures.varied(colour, random, 0.03)), roughness=0.55)
    pages = Material(textures.as_bytes(textures.plain((0.90, 0.86, 0.77))), roughness=0.8)
    return [
        (_box(wide, deep, 0.02), cover),
        (_box(wide * 0.97, deep * 0.97, thick - 0.04).moved(to=(0, 0, 0.02)), pages),
        (_box(wide, deep, 0.02).moved(to=(0, 0, thick - 0.02)), cover),
    ]


def _box(wide: float, deep: float, high: float) -> Mesh:
    """A box that stands on the origin, with a bevel at the edges of its foot and its top."""
    corners = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]]) / 2 * [wide, deep]
    ring = corners[
        [0, 1, 1, 2, 2, 3, 3, 0, 0]
    ]  # each corner for both of its sides, so that both have the whole texture
    size = np.array([0.0, 1 - 1e-3, 1.0, 1.0, 1 - 1e-3, 0.0])
    z = np.array([0.0, 0.0, 1e-4, high - 1e-4, high, high])
    points = np.concatenate([ring * size[:, None, None], np.broadcast_to(z[:, None, None], (6, 9, 1))], axis=2)
    return Mesh(points, np.linspace(0, 1, 9), np.linspace(0, 1, 6))


def _napkin(random: Generator) -> Part:
    """A cloth under the piece, with folds."""
    rise = 0.008 + 0.005 * np.clip(textures.noise(random, (64, 64), smooth=2.2), -1.2, 2)
    size = random.uniform(2.4, 3.6)
    mesh = shapes.sheet(size, size * random.uniform(0.6, 1.0), rise=rise)
    made = Material(textures.as_bytes(textures.cloth(random)), roughness=0.9)
    return Part(mesh.moved(turn=random.uniform(0, 6), to=(random.normal(0, 0.4), random.normal(0, 0.3), 0.0)), made)


def _room(random: Generator) -> list[Part]:
    """The table, and a wall behind it or none."""
    far = random.uniform(3.0, 7.0)
    size = 24.0
    way = random.choice(
        ["wood", "planks", "marble", "terrazzo", "concrete", "cloth"], p=[0.25, 0.30, 0.12, 0.07, 0.05, 0.21]
    )
    bitmap = {
        "wood": textures.wood,
        "planks": lambda made: textures.wood(made, planks=int(random.integers(3, 8))),
        "marble": textures.marble,
        "terrazzo": textures.terrazzo,
        "concrete": textures.concrete,
        "cloth": textures.cloth,
    }[way](random)
    roughness = random.uniform(0.22, 0.5) if way in ("wood", "planks", "marble", "terrazzo") else 0.85
    times = size / (random.uniform(2.5, 4.0) if way != "planks" else random.uniform(3.5, 5.5))
    made = Material(textures.as_bytes(bitmap), roughness=float(roughness), repeat=(times, times))
    ground = shapes.sheet(size, size, rise=np.zeros((2, 2))).moved(
        turn=random.choice([0.0, np.pi / 2, random.uniform(0, 6)])
    )
    found = [Part(ground.moved(to=(0, 0, -0.001)), made)]
    if random.random() < 0.62:
        paint = (textures.tiles if random.random() < 0.22 else textures.plaster)(random)
        upright = shapes.sheet(size, size, rise=np.zeros((2, 2)))
        points = upright.points[..., [0, 2, 1]] * [1, 1, 1] + [0, far, 0]
        found.append(
            Part(
                Mesh(points, upright.across, upright.along),
                Material(textures.as_bytes(paint), roughness=0.8, repeat=(size / 5, size / 5)),
            )
        )
    return found
