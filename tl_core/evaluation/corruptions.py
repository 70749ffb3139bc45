"""The table of corruptions: changes of a picture that leave its class as it is, each at three strengths.

The idea is that of Hendrycks and Dietterich 2019 (arXiv 1903.12261); kinds and strengths are chosen for photos of a phone. A picture is
changed at the size at which the network sees it, so a strength means the same whatever size the original has. Where a change would show
what lies beyond the edge, the picture is mirrored there, so that no black corner decides. Needs only Pillow and NumPy.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tl_core.table import Table

Change = Callable[[Image.Image, float, np.random.Generator], Image.Image]


@dataclass(frozen=True, kw_only=True)
class Corruption:
    name: str
    title: str
    """What it is, inside a sentence: "blur"."""
    strengths: tuple[float, float, float]
    """The weakest first."""
    words: str
    """A strength in words; `{:g}` stands for its number, the unit follows."""
    change: Change
    """Makes the changed picture from an RGB picture, a strength, and the generator of this picture."""
    augmentation: str | None = None
    """The range of `training.loop.augment.Ranges` that trains against it; None where no level of augmentation does."""

    @property
    def heading(self) -> str:
        """The title with a capital letter."""
        return self.title[:1].upper() + self.title[1:]

    @property
    def axis(self) -> str:
        """The words of any strength, for an axis: "turned by ...°"."""
        return self.words.replace("{:g}", "…")

    def said(self, strength: int) -> str:
        """Strength 0, 1 or 2 in words, with its unit."""
        return self.words.format(self.strengths[strength])

    def apply(self, picture: NDArray[np.uint8], strength: int, seed: int) -> NDArray[np.uint8]:
        """`picture` uint8 (S, S, 3) changed at strength 0, 1 or 2, in the same shape.

        What is left to chance depends on `seed` (0 or more) alone: at each strength the picture is turned to the same side, cut at the
        same place, and has the same noise, so that two strengths differ in nothing else.
        """
        changed = self.change(Image.fromarray(picture), self.strengths[strength], np.random.default_rng(seed))
        return np.asarray(changed, dtype=np.uint8)


def _blur(picture: Image.Image, share: float, _: np.random.Generator) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(share / 100 * picture.width))


def _noise(picture: Image.Image, deviation: float, generator: np.random.Generator) -> Image.Image:
    noise = generator.standard_normal((picture.height, picture.width, 3), dtype=np.float32)
    noisy = np.asarray(picture, dtype=np.float32) + np.float32(deviation) * noise
    return Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))


def _jpeg(picture: Image.Image, quality: float, _: np.random.Generator) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(quality))
    return Image.open(file, formats=("JPEG",)).convert("RGB")


def _exposed(picture: Image.Image, stops: float) -> Image.Image:
    """As if the exposure were 2 to the power of `stops` (EV) as long: values are scaled in linear light (sRGB, IEC 61966-2-1) and clipped."""
    value = np.arange(256) / 255
    light = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    light = np.minimum(light * 2**stops, 1.0)
    value = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return picture.point(np.round(255 * value).astype(int).tolist() * 3)


def _rotated(picture: Image.Image, degrees: float, generator: np.random.Generator) -> Image.Image:
    side = picture.width
    turned = np.radians(degrees)
    margin = int(np.ceil(side / 2 * (np.cos(turned) + np.sin(turned) - 1))) + 2
    mirrored = np.pad(np.asarray(picture), ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    rotated = Image.fromarray(mirrored).rotate(degrees * generator.choice((-1, 1)), resample=Image.Resampling.BICUBIC)
    return rotated.crop((margin, margin, margin + side, margin + side))


def _cropped(picture: Image.Image, percent: float, generator: np.random.Generator) -> Image.Image:
    side = picture.width
    length = side * percent / 100
    left, top = generator.random(2) * (side - length)
    return picture.resize(
        (side, side), Image.Resampling.BICUBIC, box=(float(left), float(top), float(left + length), float(top + length))
    )


def _greyed(picture: Image.Image, percent: float, _: np.random.Generator) -> Image.Image:
    return Image.blend(picture, picture.convert("L").convert("RGB"), percent / 100)


def seed_of(content: str) -> int:
    """The seed of a picture, by the SHA-256 of its file, so that it is changed in the same way wherever it lies."""
    return int(content[:16], 16)


CORRUPTIONS: Table[Corruption] = Table(
    "corruption",
    [
        Corruption(
            name="blur",
            title="blur",
            strengths=(0.5, 1, 2),
            words="blurred over {:g} % of the side",
            change=_blur,
        ),
        Corruption(
            name="noise",
            title="noise",
            strengths=(5, 15, 30),
            words="noise of {:g} of 255 grey levels",
            change=_noise,
        ),
        Corruption(
            name="jpeg",
            title="JPEG compression",
            strengths=(40, 20, 8),
            words="JPEG quality {:g}",
            change=_jpeg,
        ),
        Corruption(
            name="darker",
            title="underexposure",
            strengths=(1, 2.5, 4),
            words="underexposed by {:g} EV",
            change=lambda picture, stops, _: _exposed(picture, -stops),
            augmentation="brightness",
        ),
        Corruption(
            name="brighter",
            title="overexposure",
            strengths=(0.5, 1, 2),
            words="overexposed by {:g} EV",
            change=lambda picture, stops, _: _exposed(picture, stops),
            augmentation="brightness",
        ),
        Corruption(
            name="rotation",
            title="rotation",
            strengths=(10, 20, 30),
            words="turned by {:g}°",
            change=_rotated,
            augmentation="rotation",
        ),
        Corruption(
            name="crop",
            title="cropping",
            strengths=(90, 65, 50),
            words="{:g} % of the side kept",
            change=_cropped,
            augmentation="zoom",
        ),
        Corruption(
            name="grey",
            title="loss of colour",
            strengths=(25, 95, 100),
            words="{:g} % of the colour gone",
            change=_greyed,
            augmentation="saturation",
        ),
    ],
)
"""Every corruption by its name, in the order in which they are shown."""
STRENGTHS = {name: row.strengths for name, row in CORRUPTIONS.items()}
"""The strengths of every corruption, for a task about all of them."""
