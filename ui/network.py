"""The small picture of a network: its stages from stem to head, frozen or learning. Knows counts, no torch."""

from __future__ import annotations

from ui.charts import FROZEN, TRAINABLE

_WIDTH, _HEIGHT, _GAP = 240, 72, 4


def picture(stages: int, frozen: int) -> str:
    """SVG of `stages` stages and a head, of which the first `frozen` stay as they are.

    Frozen blocks are hatched and learning ones plain, so that the two differ without colour. Built from numbers alone.
    """
    width = (_WIDTH - stages * _GAP) / (stages + 1)
    blocks = []
    for index in range(stages + 1):
        still = index < frozen
        height = _HEIGHT - 20 - index * (30 / max(stages, 1))
        x, y = index * (width + _GAP), (_HEIGHT - 16 - height) / 2
        fill = "url(#hatch)" if still else TRAINABLE
        blocks.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="4" fill="{fill}"'
            f' stroke="{FROZEN if still else TRAINABLE}" stroke-width="1"/>'
        )
    words = []
    if frozen:
        words.append(f'<text x="0" y="{_HEIGHT - 2}" font-size="11" fill="#77857E">frozen</text>')
    words.append(
        f'<text x="{_WIDTH if frozen else 0}" y="{_HEIGHT - 2}" font-size="11" text-anchor="{"end" if frozen else "start"}"'
        ' fill="#77857E">learns</text>'
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" xmlns="http://www.w3.org/2000/svg" font-family="sans-serif">'
        f'<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse"'
        f' patternTransform="rotate(45)"><rect width="6" height="6" fill="{FROZEN}" opacity="0.45"/>'
        f'<line x1="0" y1="0" x2="0" y2="6" stroke="{FROZEN}" stroke-width="3"/></pattern></defs>'
        f"{''.join(blocks)}{''.join(words)}</svg>"
    )


def spoken(stages: int, frozen: int) -> str:
    """The same in words, for a screen reader."""
    if not frozen:
        return f"all {stages} stages and the head learn"
    return f"{frozen} of {stages} stages stay frozen, {stages - frozen} and the head learn"
