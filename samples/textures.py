"""Bitmaps of surfaces, and light from all around, made from noise. Colours are sRGB from 0 to 1 until a bitmap is written as bytes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Bitmap = NDArray[np.uint8]
Colour = Sequence[float]
Generator = np.random.Generator

SIDE = 512
"""Pixels of a bitmap's side."""


def noise(
    random: Generator, shape: tuple[int, int], *, smooth: float = 1.5, stretch: tuple[float, float] = (1, 1)
) -> Array:
    """Noise with mean 0 and deviation 1 that tiles. The larger `smooth`, the larger its blots, and `stretch` makes them longer down or
    across.
    """
    down, across = (np.fft.fftfreq(size) * size * by for size, by in zip(shape, stretch, strict=True))
    frequency = np.hypot(down[:, None], across[None])
    found = np.fft.ifft2(np.fft.fft2(random.standard_normal(shape)) / (frequency + 1.0) ** smooth).real
    return (found - found.mean()) / found.std()


def mixed(first: Colour | Array, second: Colour | Array, share: Array) -> Array:
    """`first` where `share` (H, W) is 0, `second` where it is 1: (H, W, 3)."""
    weight = np.clip(share, 0, 1)[..., None]
    return np.asarray(first) * (1 - weight) + np.asarray(second) * weight


def as_bytes(picture: Array) -> Bitmap:
    """(H, W, 3) from 0 to 1, rounded to bytes."""
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def plain(colour: Colour) -> Array:
    """One colour: (8, 8, 3)."""
    return np.broadcast_to(np.asarray(colour, float), (8, 8, 3)).copy()


def varied(colour: Colour, random: Generator, by: float = 0.04, smooth: float = 1.6) -> Array:
    """One colour, slightly uneven."""
    return np.asarray(colour) * (1 + by * noise(random, (SIDE, SIDE), smooth=smooth))[..., None]


WOODS = (
    ((0.78, 0.60, 0.40), (0.60, 0.41, 0.24)),
    ((0.55, 0.37, 0.22), (0.34, 0.21, 0.12)),
    ((0.36, 0.24, 0.17), (0.20, 0.13, 0.09)),
    ((0.87, 0.76, 0.60), (0.74, 0.60, 0.43)),
    ((0.66, 0.48, 0.34), (0.45, 0.29, 0.19)),
    ((0.70, 0.66, 0.60), (0.50, 0.46, 0.42)),
    ((0.93, 0.91, 0.87), (0.80, 0.77, 0.72)),
)
"""Light and dark colour of each wood."""


def wood(random: Generator, planks: int = 1) -> Array:
    """Grain along the columns, in planks with dark joints."""
    light, dark = WOODS[random.integers(len(WOODS))]
    long = noise(random, (SIDE, SIDE), smooth=2.0, stretch=(1, 7))
    ticks = np.linspace(0, 1, SIDE, endpoint=False)
    rings = 0.5 + 0.5 * np.sin(2 * np.pi * (random.integers(4, 9) * ticks[:, None] + 0.9 * long))
    fibre = noise(random, (SIDE, SIDE), smooth=0.7, stretch=(1, 30))
    share = 0.45 * rings + 0.18 * fibre + 0.25 + 0.1 * long
    if planks > 1:
        height = SIDE // planks
        for plank in range(planks):
            part = slice(plank * height, (plank + 1) * height)
            share[part] = np.roll(share[part], random.integers(SIDE), axis=1) + random.normal(0, 0.13)
            share[plank * height : plank * height + 3] = 1.5
    return mixed(light, dark, share) * (1 - 0.5 * np.clip(share - 1.1, 0, 1))[..., None]


def marble(random: Generator) -> Array:
    """Veins through a pale or dark stone."""
    ground, vein = [
        ((0.93, 0.92, 0.90), (0.55, 0.54, 0.55)),
        ((0.88, 0.84, 0.78), (0.58, 0.46, 0.36)),
        ((0.16, 0.17, 0.18), (0.62, 0.60, 0.56)),
        ((0.40, 0.45, 0.42), (0.80, 0.82, 0.78)),
    ][random.integers(4)]
    veins = np.exp(-np.abs(noise(random, (SIDE, SIDE), smooth=1.7)) * 14)
    broad = np.exp(-np.abs(noise(random, (SIDE, SIDE), smooth=1.9)) * 4)
    return mixed(ground, vein, 0.75 * veins * (0.4 + 0.6 * broad) + 0.18 * broad)


def terrazzo(random: Generator) -> Array:
    """Chips of several colours in cement."""
    picture = varied((0.86, 0.83, 0.78), random, 0.02)
    for _ in range(5):
        chips = noise(random, (SIDE, SIDE), smooth=0.9)
        blurred = np.fft.ifft2(np.fft.fft2(chips) * _lowpass(24)).real
        picture = mixed(
            picture,
            random.uniform(0.2, 0.85) * np.array([1, random.uniform(0.7, 1), random.uniform(0.5, 1)]),
            (blurred / blurred.std() - 1.75) * 6,
        )
    return picture


def _lowpass(width: float) -> Array:
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(SIDE) * SIDE] * 2))
    return np.exp(-((frequency / width) ** 2))


def concrete(random: Generator) -> Array:
    """Cement or slate, blotted."""
    grey = random.uniform(0.25, 0.72)
    colour = grey * np.array([1, random.uniform(0.90, 0.98), random.uniform(0.76, 0.98)])
    return (
        np.asarray(colour)
        * (1 + 0.07 * noise(random, (SIDE, SIDE), smooth=1.6) + 0.03 * noise(random, (SIDE, SIDE), smooth=0.2))[
            ..., None
        ]
    )


CLOTHS = (
    (0.90, 0.87, 0.80),
    (0.80, 0.72, 0.60),
    (0.36, 0.45, 0.54),
    (0.62, 0.30, 0.25),
    (0.49, 0.55, 0.45),
    (0.83, 0.70, 0.45),
    (0.28, 0.30, 0.34),
    (0.78, 0.60, 0.56),
    (0.93, 0.92, 0.90),
    (0.22, 0.32, 0.40),
)


def cloth(random: Generator) -> Array:
    """Linen: plain, striped or checked, with its threads."""
    ground = np.array(CLOTHS[random.integers(len(CLOTHS))])
    second = np.array(CLOTHS[random.integers(len(CLOTHS))])
    ticks = np.linspace(0, 1, SIDE, endpoint=False)
    number = random.integers(3, 14)
    band = (np.sin(2 * np.pi * number * ticks) > random.uniform(-0.2, 0.75)).astype(float)
    way = random.integers(4)
    share = [
        np.zeros((SIDE, SIDE)),
        band[None] + np.zeros((SIDE, 1)),
        0.5 * (band[None] + band[:, None]),
        np.maximum((band[None] > 0) * 0.6, (band[:, None] > 0) * 0.6),
    ][way]
    picture = mixed(ground, second, share)
    threads = 128
    weave = 0.5 + 0.25 * (np.sin(2 * np.pi * threads * ticks)[None] + np.sin(2 * np.pi * threads * ticks)[:, None])
    slub = noise(random, (SIDE, SIDE), smooth=0.6, stretch=(1, 12)) + noise(
        random, (SIDE, SIDE), smooth=0.6, stretch=(12, 1)
    )
    return picture * (0.90 + 0.14 * weave + 0.03 * slub)[..., None]


def tiles(random: Generator) -> Array:
    """Glazed tiles with joints."""
    colour = np.array(GLAZES[random.integers(len(GLAZES))]) * 0.5 + 0.42
    down, across = random.integers(2, 5), random.integers(1, 5)
    picture = varied(colour, random, 0.02)
    ticks = np.linspace(0, 1, SIDE, endpoint=False)
    for axis, number in ((0, down), (1, across)):
        joint = (np.abs((ticks * number) % 1 - 0.5) > 0.5 - 0.012 * number).astype(float)
        picture = mixed(
            picture,
            (0.75, 0.73, 0.70),
            joint[:, None] + np.zeros((1, SIDE)) if axis == 0 else joint[None] + np.zeros((SIDE, 1)),
        )
    return picture


def plaster(random: Generator) -> Array:
    """A painted wall."""
    colours = (
        (0.88, 0.85, 0.80),
        (0.78, 0.70, 0.60),
        (0.60, 0.66, 0.62),
        (0.74, 0.55, 0.46),
        (0.40, 0.48, 0.52),
        (0.84, 0.76, 0.62),
        (0.30, 0.34, 0.36),
        (0.66, 0.62, 0.66),
        (0.86, 0.78, 0.74),
        (0.52, 0.56, 0.44),
    )
    return varied(colours[random.integers(len(colours))], random, 0.035)


GLAZES = (
    (0.93, 0.91, 0.87),
    (0.95, 0.93, 0.90),
    (0.88, 0.82, 0.72),
    (0.73, 0.41, 0.28),
    (0.82, 0.60, 0.28),
    (0.58, 0.64, 0.52),
    (0.62, 0.74, 0.70),
    (0.17, 0.25, 0.38),
    (0.16, 0.40, 0.43),
    (0.84, 0.67, 0.62),
    (0.22, 0.22, 0.23),
    (0.49, 0.17, 0.15),
    (0.55, 0.68, 0.78),
    (0.40, 0.30, 0.24),
    (0.70, 0.68, 0.64),
    (0.90, 0.78, 0.45),
    (0.33, 0.42, 0.30),
    (0.76, 0.34, 0.33),
)


def glaze(random: Generator) -> tuple[Array, Colour]:
    """The glaze of a vessel and its colour at a handle. The lower half is the outside from foot to rim, the upper half the inside."""
    base = np.array(GLAZES[random.integers(len(GLAZES))])
    second = np.array(GLAZES[random.integers(len(GLAZES))])
    if np.abs(base - second).sum() < 0.5:
        second = np.array([0.94, 0.92, 0.88]) if base.mean() < 0.6 else np.array([0.24, 0.29, 0.36])
    outside = np.linspace(0, 1, SIDE // 2)[:, None] + np.zeros((1, SIDE))
    around = np.linspace(0, 1, SIDE, endpoint=False)[None] + np.zeros((SIDE // 2, 1))
    pattern = random.choice(
        ["plain", "bands", "ribs", "dots", "speckles", "dipped", "faded", "waves", "leaves"],
        p=[0.24, 0.14, 0.06, 0.10, 0.16, 0.13, 0.09, 0.05, 0.03],
    )
    if pattern == "bands":
        edges = np.sort(random.uniform(0.25, 0.95, 2 * random.integers(1, 4)))
        share = sum(((outside > low) & (outside < high)).astype(float) for low, high in edges.reshape(-1, 2))
    elif pattern == "ribs":
        share = np.sin(2 * np.pi * random.integers(8, 22) * around) > random.uniform(-0.3, 0.6)
    elif pattern == "dots":
        down, across = random.integers(5, 10), random.integers(8, 18)
        row = np.floor(outside * down)
        x, y = (around * across + 0.5 * (row % 2)) % 1 - 0.5, (outside * down) % 1 - 0.5
        share = (random.uniform(0.2, 0.34) - np.hypot(x, y)) * 20 * ((outside > 0.3) & (outside < 0.97))
    elif pattern == "speckles":
        grain = noise(random, (SIDE // 2, SIDE), smooth=0.55)
        share, second = (grain - random.uniform(1.9, 2.5)) * 3, np.array([0.25, 0.18, 0.13])
    elif pattern == "dipped":
        line = random.uniform(0.35, 0.75) + random.uniform(0, 0.03) * np.sin(
            2 * np.pi * (around * random.integers(1, 5))
        )
        share = (outside - line) * 60
        if random.random() < 0.5:
            base, second = np.array([0.70, 0.52, 0.38]), base
    elif pattern == "faded":
        share = (outside - random.uniform(0.2, 0.4)) * random.uniform(1.2, 2.5) + 0.05 * noise(random, outside.shape)
    elif pattern == "waves":
        number = random.integers(4, 9)
        share = np.sin(2 * np.pi * (outside * number + 0.25 * np.sin(2 * np.pi * around * random.integers(5, 12)))) * 4
    elif pattern == "leaves":
        x, y = (around * random.integers(5, 9)) % 1 - 0.5, (outside * 4) % 1 - 0.5
        share = (0.16 - np.abs(x) / (0.51 + 0.49 * np.cos(2 * np.pi * y))) * 30
        share *= outside > 0.3
    else:
        share = np.zeros_like(outside)
    skin = mixed(base, second, np.asarray(share, float))
    within = second if random.random() < 0.25 and pattern not in ("speckles", "dipped") else base
    if random.random() < 0.4:
        within = np.array([0.93, 0.91, 0.87])
    picture = np.concatenate([skin, np.broadcast_to(within, skin.shape)])
    picture *= (1 + random.uniform(0.004, 0.028) * noise(random, (SIDE, SIDE), smooth=1.4))[..., None]
    grip = second if pattern in ("dipped", "faded") else base
    return picture, tuple(grip)


def surroundings(random: Generator, way: str) -> NDArray[np.float32]:
    """Light from all around: (128, 256, 3), linear. Columns are the azimuth from behind the scene over its right; the first row is the zenith.

    `way` is one of `window`, `sky`, `lamp` and `studio`.
    """
    height, width = 128, 256
    up = np.linspace(90, -90, height)[:, None] + np.zeros((1, width))
    around = (np.linspace(0, 360, width, endpoint=False)[None] + 180) % 360 - 180 + np.zeros((height, 1))
    blots = noise(random, (height, width), smooth=1.5)
    tint = np.stack([noise(random, (height, width), smooth=1.8) for _ in range(3)], axis=-1)
    side = random.choice([-1, 1])
    warm = np.array([1.0, 0.86, 0.68])
    cool = np.array([0.88, 0.95, 1.0])

    def rectangle(azimuth: float, elevation: float, wide: float, high: float, soft: float = 2.5) -> Array:
        x = np.abs((around - azimuth + 180) % 360 - 180)
        y = np.abs(up - elevation)
        return np.clip((wide / 2 - x) / soft, 0, 1) * np.clip((high / 2 - y) / soft, 0, 1)

    def disc(azimuth: float, elevation: float, radius: float) -> Array:
        x = ((around - azimuth + 180) % 360 - 180) * np.cos(np.radians(elevation))
        return np.clip((radius - np.hypot(x, up - elevation)) / (0.3 * radius), 0, 1)

    if way == "sky":
        horizon, zenith = np.array([0.95, 0.93, 0.90]), np.array([0.42, 0.58, 0.85])
        light = mixed(horizon, zenith, np.clip(up / 60, 0, 1)) * 1.1 * (1 + 0.25 * np.clip(blots, -1, 2))[..., None]
        green = np.array([[0.16, 0.24, 0.08], [0.30, 0.25, 0.13], [0.20, 0.26, 0.16]][random.integers(3)])
        garden = green * np.exp(0.55 * noise(random, (height, width), smooth=0.9))[..., None] * (1 + 0.15 * tint)
        light = mixed(light, garden, np.clip((random.uniform(4, 16) + 3 * blots - up) / 4, 0, 1))
        sun = disc(side * random.uniform(40, 140), random.uniform(25, 60), random.uniform(3, 6))
        light = light + sun[..., None] * random.uniform(40, 140) * np.array([1.0, 0.93, 0.82])
        return np.maximum(light, 0.01).astype(np.float32)

    wall = np.array(
        [[0.42, 0.36, 0.29], [0.30, 0.31, 0.32], [0.46, 0.43, 0.38], [0.22, 0.19, 0.17], [0.36, 0.38, 0.34]][
            random.integers(5)
        ]
    )
    light = (
        mixed(wall * 0.55, wall * 1.35, np.clip(up / 120 + 0.5, 0, 1))
        * (1 + 0.18 * np.clip(blots, -2, 2) + 0.06 * tint.T[0].T)[..., None]
    )
    light = light * (1 + 0.10 * tint)
    if way == "window":
        for _ in range(random.integers(1, 3)):
            azimuth, wide = side * random.uniform(35, 125), random.uniform(28, 60)
            elevation, high = random.uniform(18, 42), random.uniform(30, 50)
            pane = rectangle(azimuth, elevation, wide, high)
            bars = np.ones_like(pane)
            if random.random() < 0.6:
                bars = 1 - np.maximum(
                    rectangle(azimuth, elevation, 3, high + 5, 1), rectangle(azimuth, elevation, wide + 5, 3, 1)
                )
            view = random.uniform(7, 16) * (1 + 0.3 * np.clip((up - elevation) / high, -1, 1))
            light = light + (pane * bars * view)[..., None] * (cool if random.random() < 0.6 else warm)
            if random.random() < 0.7:
                break
            side = -side
    elif way == "lamp":
        light = light * 0.5
        light = (
            light
            + disc(side * random.uniform(30, 130), random.uniform(28, 60), random.uniform(5, 10))[..., None]
            * random.uniform(50, 110)
            * warm
        )
        light = (
            light
            + rectangle(-side * random.uniform(60, 150), 25, 40, 40, 12)[..., None] * random.uniform(0.5, 2.5) * cool
        )
    else:
        light = light * 0.9
        light = light + rectangle(side * random.uniform(50, 100), random.uniform(25, 50), 50, 55, 8)[
            ..., None
        ] * random.uniform(6, 11)
        light = (
            light + rectangle(-side * random.uniform(60, 120), 30, 30, 60, 8)[..., None] * random.uniform(1, 4) * warm
        )
    # Small lights far behind the scene, which the lens blurs into discs.
    for _ in range(random.integers(0, 16)):
        spot = disc(random.normal(0, 18), random.uniform(-4, 14), random.uniform(0.9, 1.9))
        light = light + spot[..., None] * random.uniform(0.8, 5) * (warm if random.random() < 0.75 else cool)
    return np.maximum(light, 0.01).astype(np.float32)
