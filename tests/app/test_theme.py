"""The colours of the pages have the contrast that WCAG 2 asks of text (AA)."""

import tomllib
from pathlib import Path

import pytest

THEME = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text())["theme"]
CAPTION = 0.6
"""The opacity with which Streamlit draws a caption in the colour of the text."""
CHOSEN = 0.2
"""How much of the primary colour is behind a chosen segment or pill under the mouse, whose text has that colour."""
LEAST = 4.5


def _channels(colour: str) -> list[float]:
    return [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]


def _luminance(channels: list[float]) -> float:
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(one: list[float], other: list[float]) -> float:
    dark, bright = sorted((_luminance(one), _luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_captions_and_primary_buttons_can_be_read(mode: str) -> None:
    colours = THEME[mode]
    text = _channels(colours["textColor"])
    for name in ("backgroundColor", "secondaryBackgroundColor"):
        behind = _channels(colours[name])
        caption = [CAPTION * ink + (1 - CAPTION) * paper for ink, paper in zip(text, behind, strict=True)]
        assert _contrast(caption, behind) >= LEAST, name
    assert _contrast(_channels("#FFFFFF"), _channels(colours["primaryColor"])) >= LEAST


def test_the_chosen_one_of_several_can_be_read_on_a_light_page() -> None:
    primary = _channels(THEME["light"]["primaryColor"])
    for name in ("backgroundColor", "secondaryBackgroundColor"):
        paper = _channels(THEME["light"][name])
        behind = [CHOSEN * ink + (1 - CHOSEN) * under for ink, under in zip(primary, paper, strict=True)]
        assert _contrast(primary, behind) >= LEAST, name


def test_streamlit_takes_the_weights_of_the_headings() -> None:
    assert all(100 <= weight <= 900 and weight % 50 == 0 for weight in THEME["headingFontWeights"])
