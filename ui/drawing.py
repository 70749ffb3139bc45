"""What pages draw as HTML and SVG of their own: a network, and the answer to a picture.

A network is drawn as its stages from stem to head: how large each is, whether it learns and how fast. There are two shapes: small, for
a card, and large, with names, numbers of parameters and learning rates.
"""

import html
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tl_core.documents.options import Recipe
from tl_core.models.registry import Network
from tl_core.training.strategies.schedules import phases
from tl_core.training.strategies.strategies import Strategy, stage_rates
from ui.charts import FROZEN, TRAINABLE
from ui.words import count, percent, plural, short

Learns = Literal["no", "part", "perhaps", "yes"]
"""What learns in a stage. `no`: nothing; `part`: a small part of every layer; `perhaps`: everything, if this stage is the one that
the strategy finds; `yes`: everything."""
NARROW_LARGE, WIDE_LARGE = 360, 1000
GREY = "#77857E"
"""A grey that can be read on a light and on a dark page."""
MUTED = "rgba(128,140,134,0.14)"
"""What is behind a bar."""
_SMALL = (240, 72)
_MOST_LABELS = 15
"""Largest number of stages that are named side by side; in a deeper network only some have their name."""


@dataclass(frozen=True)
class Block:
    """One stage, or the head."""

    name: str
    parameters: int
    learns: Learns
    rate: float | None = None
    """Learning rate at its peak; None where it is frozen or fitted without steps."""
    joins: int = 1
    """The epoch, from 1, from which on it learns."""
    strength: float = 1.0
    """Opacity of its colour, 0 to 1: the paler, the slower it learns or the later it joins."""


def blocks(
    network: Network,
    strategy: Strategy,
    *,
    stages: int,
    classes: int,
    recipe: Recipe | None = None,
    steps: bool = True,
    epochs: int | None = None,
) -> tuple[Block, ...]:
    """Stages and head of `network` as `strategy` trains them. `steps` False: the head is fitted without a learning rate."""
    chosen, total, passes = recipe or strategy.recipe, len(network.stages), epochs or strategy.epochs
    learns: Learns = "perhaps" if strategy.learns == "one" else "part" if strategy.parameters.few else "yes"
    rates = stage_rates(strategy, total, stages, recipe=chosen) if strategy.takes_steps else (None,) * total
    fastest = max((rate for rate in rates if rate is not None), default=1.0)
    joins = {stage: phase.first for phase in phases(strategy, total, passes) for stage in phase.joining}
    stage_blocks = []
    for index, (name, parameters, rate) in enumerate(zip(network.stages, network.stage_parameters, rates, strict=True)):
        if rate is None:
            stage_blocks.append(Block(name, parameters, "no"))
            continue
        first = joins.get(index, 1)
        strength = (rate / fastest) ** 0.5 * (1 - 0.5 * (first - 1) / max(1, passes - 1))
        stage_blocks.append(Block(name, parameters, learns, rate, first, max(0.25, strength)))
    rate = chosen.learning_rate if strategy.takes_steps or steps else None
    return (*stage_blocks, Block("head", network.head_parameters(classes), "yes", rate))


def small(drawn: Sequence[Block], *, words: bool = True) -> str:
    """SVG for a card: the blocks, and with `words` under them which end stays and which learns."""
    width, height = _SMALL
    step = width / len(drawn)
    shapes = [
        _shape(block, index * step + 1, (height - 18 - tall) / 2, step - 3, tall, "small")
        for index, (block, tall) in enumerate(zip(drawn, _sizes(drawn, 9, height - 20), strict=True))
    ]
    if not words:
        return _svg(width, height - 18, "small", "".join(shapes), "")
    frozen = any(block.learns == "no" for block in drawn)
    first = "frozen" if drawn[0].learns == "no" else "learns" if frozen else ""
    left = f'<text x="2" y="{height - 3}">{first}</text>' if first else ""
    right = (
        f'<text x="{width - 2}" y="{height - 3}" text-anchor="end">{"learns" if frozen else _learning(drawn)}</text>'
    )
    return _svg(width, height, "small", "".join(shapes), f'<g font-size="11" fill="{GREY}">{left}{right}</g>')


def large(drawn: Sequence[Block], *, ink: str = GREY) -> str:
    """HTML of the large picture: side by side where there is room, one under the other on a phone. `ink`: colour of the words."""
    alt = html.escape(spoken(drawn))
    pictures = "".join(
        f'<img class="graft-{kind}" alt="{alt}" width="100%" src="data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}">'
        for kind, svg in (("wide", _wide(drawn, ink)), ("tall", _tall(drawn, ink)))
    )
    return (
        "<style>.graft-tall{display:none}@media(max-width:640px){.graft-tall{display:block}.graft-wide{display:none}}</style>"
        + pictures
    )


def spoken(drawn: Sequence[Block]) -> str:
    """What the picture shows, in words, for a screen reader."""
    stages = drawn[:-1]
    frozen = sum(block.learns == "no" for block in stages)
    if frozen == len(stages):
        return f"All {len(stages)} stages stay frozen, the head learns"
    if frozen:
        return f"{frozen} of {plural(len(stages), 'stage')} stay frozen, {len(stages) - frozen} and the head learn"
    kinds = {
        "part": f"a small part of each of {len(stages)} stages learns, and the head",
        "perhaps": f"one of {len(stages)} stages learns, the one that is found, and the head",
    }
    if stages[0].learns in kinds:
        return kinds[stages[0].learns].capitalize()
    slower = stages[0].rate and stages[-1].rate and stages[0].rate < stages[-1].rate
    return (
        f"All {len(stages)} stages and the head learn"
        + (", joining one by one from the last" if _thaws(drawn) else "")
        + (", the first ones slowest" if slower else "")
    )


def _thaws(drawn: Sequence[Block]) -> bool:
    return any(block.joins > 1 for block in drawn)


def legend(drawn: Sequence[Block]) -> str:
    """What colours and numbers of the large picture mean, as far as they are in it."""
    kinds = {block.learns for block in drawn}
    parts = {
        "no": "Hatched: frozen, as it was.",
        "part": "Green bars: only a small part of each layer learns.",
        "perhaps": "Dashed: one of these is found and learns, the others stay frozen.",
        "yes": "Green: learns.",
    }
    words = [text for kind, text in parts.items() if kind in kinds]
    words.append("Larger: more parameters.")
    if drawn[-1].rate is not None:
        words.append(
            "The last number of each is its learning rate at its peak"
            + (", and the epoch in which it joins." if _thaws(drawn) else ".")
        )
    if drawn[0].strength < 1:
        words.append("The paler, the slower it learns" + (" and the later it joins." if _thaws(drawn) else "."))
    return " ".join(words)


def _learning(drawn: Sequence[Block]) -> str:
    if _thaws(drawn):
        return "join one by one"
    if drawn[0].strength < 1:
        return "all learn, early ones slower"
    return {"part": "a part of each learns", "perhaps": "one learns", "yes": "all learn"}[drawn[0].learns]


def _wide(drawn: Sequence[Block], ink: str) -> str:
    width, room = WIDE_LARGE, 116
    step = width / len(drawn)
    letters, every = int(step / 7.2), -(-len(drawn) // _MOST_LABELS)
    letters *= every
    shapes, words = [], []
    for index, (block, tall) in enumerate(zip(drawn, _sizes(drawn, 14, room), strict=True)):
        x, last = index * step, len(drawn) - 1
        shapes.append(_shape(block, x + min(3.0, step / 8), (room - tall) / 2, step - min(6.0, step / 4), tall, "wide"))
        if (index % every and index != last) or 0 < last - index < every:
            continue
        place, anchor = x + step / 2, "middle"
        if every > 1 and index in (0, last):
            place, anchor = (2, "start") if index == 0 else (width - 2, "end")
        middle = f'x="{place:.1f}" text-anchor="{anchor}"'
        words.append(
            f'<text {middle} y="{room + 20}" font-weight="600">{_cut(block.name, letters)}</text>'
            f'<text {middle} y="{room + 37}" opacity=".75">{_short(block.parameters)}</text>'
            f'<text {middle} y="{room + 54}" opacity=".75">{_how(block)}</text>'
        )
    return _svg(width, room + 60, "wide", "".join(shapes), f'<g font-size="13" fill="{ink}">{"".join(words)}</g>')


def _tall(drawn: Sequence[Block], ink: str) -> str:
    width, line = NARROW_LARGE, 25
    shapes, words = [], []
    for index, (block, long) in enumerate(zip(drawn, _sizes(drawn, 8, 120), strict=True)):
        y = index * line
        shapes.append(_shape(block, 84, y + 3, long, line - 6, "tall"))
        words.append(
            f'<text x="0" y="{y + 17}" font-weight="600">{_cut(block.name, 11)}</text>'
            f'<text x="262" y="{y + 17}" text-anchor="end" opacity=".75">{_short(block.parameters)}</text>'
            f'<text x="{width}" y="{y + 17}" text-anchor="end" opacity=".75">{_how(block)}</text>'
        )
    return _svg(
        width, line * len(drawn), "tall", "".join(shapes), f'<g font-size="13" fill="{ink}">{"".join(words)}</g>'
    )


def _how(block: Block) -> str:
    if block.learns == "no":
        return "frozen"
    if block.rate is None:
        return "fitted"
    return rate_text(block.rate) + (f", ep. {block.joins}" if block.joins > 1 else "")


def rate_text(rate: float) -> str:
    """0.0003 as "3e-4"."""
    mantissa, exponent = f"{rate:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def _short(parameters: int) -> str:
    if parameters >= 1_000_000:
        return f"{parameters / 1e6:.1f} M"
    return f"{parameters / 1e3:.0f} k" if parameters >= 10_000 else f"{parameters:,}"


def _cut(name: str, letters: int) -> str:
    return html.escape(name if len(name) <= letters else name[: max(1, letters - 1)] + "…")


def _sizes(drawn: Sequence[Block], least: float, most: float) -> list[float]:
    """A length for each block, `least` to `most` pixels. It grows with the root of the number of parameters, so that a stem with a
    thousand can still be seen beside stages with millions."""
    largest = max(block.parameters for block in drawn) or 1
    return [least + (most - least) * (block.parameters / largest) ** 0.5 for block in drawn]


def _shape(block: Block, x: float, y: float, width: float, height: float, kind: str) -> str:
    """One block as SVG: hatched if it stays frozen, green if it learns, with green bars if a part of it learns, with a dashed edge if it may."""
    box = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{min(4, width / 3):.1f}"'
    if block.learns == "yes":
        # What joins later or learns slower is paler, never as pale as nothing.
        return f'<rect {box} fill="{TRAINABLE}" fill-opacity="{block.strength:.2f}" stroke="{TRAINABLE}"/>'
    edge = FROZEN if block.learns == "no" else TRAINABLE
    dashes = ' stroke-dasharray="4 3" stroke-width="2"' if block.learns == "perhaps" else ""
    drawn = f'<rect {box} fill="url(#frozen-{kind})" stroke="{edge}"{dashes}/>'
    if block.learns == "part":
        bar = max(2.0, min(6.0, width * 0.16))
        drawn += "".join(
            f'<rect x="{x + width * place - bar / 2:.1f}" y="{y:.1f}" width="{bar:.1f}" height="{height:.1f}" fill="{TRAINABLE}"/>'
            for place in (0.25, 0.75)
        )
    return drawn


def _svg(width: float, height: float, kind: str, shapes: str, words: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" width="100%" font-family="sans-serif">'
        f'<defs><pattern id="frozen-{kind}" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="6" height="6" fill="{FROZEN}" opacity="0.4"/>'
        f'<line x1="0" y1="0" x2="0" y2="6" stroke="{FROZEN}" stroke-width="3"/></pattern></defs>'
        f"{shapes}{words}</svg>"
    )


def answer_bars(names: Sequence[str], probabilities: Sequence[float]) -> str:
    """HTML of the likeliest classes of one picture, a bar with words for each, the first on top.

    A page shows a dozen of these, and a Plotly figure for each would take more time than the rest of the page.
    """
    rows = "".join(
        f'<div style="position:relative;height:1.6rem;border-radius:5px;overflow:hidden;background:{MUTED}">'
        f'<div style="height:100%;width:{100 * value:.1f}%;background:{colour};opacity:.6"></div>'
        '<div style="position:absolute;inset:0;padding:0 .5rem;line-height:1.6rem;white-space:nowrap;font-size:.875rem">'
        f"{html.escape(short(name, longest=26))}: {percent(value)}</div></div>"
        for name, value, colour in zip(names, probabilities, [TRAINABLE] + [FROZEN] * (len(names) - 1), strict=True)
    )
    return f'<div class="graft-bars" style="display:grid;gap:.35rem">{rows}</div>'


def totals(drawn: Sequence[Block]) -> str:
    """How many parameters there are and how many learn, in words."""
    everything = sum(block.parameters for block in drawn)
    if all(block.learns == "yes" for block in drawn):
        return f"all {count(everything)} parameters learn"
    return f"{learning(drawn)} of {count(everything)} parameters learn"


def learning(drawn: Sequence[Block]) -> str:
    """How many parameters learn: a number, or words where only the built network could tell the number."""
    whole = sum(block.parameters for block in drawn if block.learns == "yes")
    if any(block.learns == "part" for block in drawn):
        return f"the head's {count(whole)} and a small part of the stages'"
    if any(block.learns == "perhaps" for block in drawn):
        sizes = [block.parameters for block in drawn[:-1]]
        return f"{count(min(sizes) + whole)} to {count(max(sizes) + whole)}"
    return count(whole)
