"""Which strategy to take: the rule as it is taught, as a table, by how many images there are and whether they are similar
to what the backbone learned before.

"Similar" is measured (`tl_core.training.transferability`), never guessed. Knows no pictures, no device, no time and no torch:
what a strategy costs is for `estimate`, and what a run takes without being told is `strategies.default_strategy`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tl_core.documents.questions import Ranking
from tl_core.models.registry import Network
from tl_core.training.strategies.strategies import HEAD_ONLY, misfit, strategies

Band = Literal["small", "medium", "large"]

SMALL_BELOW = 1_000
"""Training images."""
LARGE_ABOVE = 10_000
"""Training images."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One row: for data of one size, similar or not, the strategy and why."""

    band: Band
    similar: bool | None
    """None: the same for both."""
    strategy: str
    reason: str
    """Goes on from "With 640 training images, ": a sentence's end."""
    alternatives: tuple[tuple[str, str], ...]
    """Strategies that may do as well or better, and why; the first that fits is taken where the row's own does not."""


def _table(rows: Iterable[Rule]) -> tuple[Rule, ...]:
    table = tuple(rows)
    for row in table:
        for name in (row.strategy, *(name for name, _ in row.alternatives)):
            if name not in strategies():
                raise ValueError(f"A rule names the strategy {name!r}, which is not in the table.")
    return table


RULE = _table(
    [
        Rule(
            band="small",
            similar=True,
            strategy="feature_extraction",
            reason=(
                "few to learn from and much like what the backbone knows, a new head on the frozen backbone is enough, "
                "and anything more would learn these pictures by heart."
            ),
            alternatives=(
                ("lp_ft", "It starts from that same head, so it seldom ends worse, and may gain a little."),
                ("bias_and_norm", "It changes so few parameters that little can be learnt by heart."),
            ),
        ),
        Rule(
            band="small",
            similar=False,
            strategy="partial_fine_tuning",
            reason=(
                "few to learn from but unlike what the backbone knows, the last stages have to adapt, at a small learning "
                "rate; the early ones, whose edges and textures serve any picture, stay frozen."
            ),
            alternatives=(
                ("surgical", "Where the pictures differ in looks more than in content, one early stage may be what has to adapt."),
                ("lp_ft", "It lets the whole network adapt, from the fitted head on."),
                ("feature_extraction", "It takes a fraction of the time and shows what the frozen backbone gives."),
            ),
        ),
        Rule(
            band="medium",
            similar=None,
            strategy="partial_fine_tuning",
            reason=(
                "neither few nor very many, the last stages can adapt without forgetting what the early ones know, similar "
                "or not."
            ),
            alternatives=(
                ("discriminative_lr", "It trains everything, the early stages slowest: the better choice the less similar the pictures are."),
                ("lp_ft", "It trains everything at one small rate, from the fitted head on."),
            ),
        ),
        Rule(
            band="large",
            similar=None,
            strategy="full_fine_tuning",
            reason="many, the whole network can be trained without learning them by heart.",
            alternatives=(
                ("discriminative_lr", "It trains everything, too, and keeps more of what the early stages know."),
                ("from_scratch", "Worth considering where the pictures are like nothing that the backbone has seen, and time does not matter."),
            ),
        ),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Alternative:
    strategy: str
    reason: str


@dataclass(frozen=True)
class Advice:
    """What the rule says of one data set and backbone."""

    strategy: str | None
    """None where it depends on whether the pictures are similar, and that was not measured yet."""
    reason: str
    """For the user; with both ways in words where `strategy` is None."""
    alternatives: tuple[Alternative, ...]
    """Others that fit this backbone; where `strategy` is None, the two that it can become."""


def band(images: int) -> Band:
    """Of a number of training images."""
    if images < SMALL_BELOW:
        return "small"
    return "medium" if images <= LARGE_ABOVE else "large"


def needs_similarity(images: int) -> bool:
    """Whether the rule asks if the pictures are similar, with so many training images."""
    return len(_rows(images)) > 1


def advise(images: int, similar: bool | None, network: Network, *, stages: int = 2) -> Advice:
    """What the rule takes for `images` training images and `network`.

    `similar` None: not measured. `stages`: the last ones that `partial_fine_tuning` would train. A strategy that does not fit
    the network gives way to the first of its row that does, and the reason says so.
    """
    rows = [row for row in _rows(images) if similar is None or row.similar in (None, similar)]
    answers = [_answer(row, images, network, stages) for row in rows]
    if len(answers) == 1:
        return answers[0]
    titles = [strategies()[str(answer.strategy)].title for answer in answers]
    branches = [
        f"where they are {'similar to' if row.similar else 'unlike'} what {network.name} learned before, {title!r} ({answer.strategy})"
        for row, answer, title in zip(rows, answers, titles, strict=True)
    ]
    return Advice(
        None,
        f"With {images:,} training images it depends on the pictures: {'; '.join(branches)}. "
        "Which it is gets measured on their frozen features before training.",
        tuple(Alternative(str(answer.strategy), answer.reason) for answer in answers),
    )


def auto_says(images: int, ranking: Ranking | None, network: Network, *, stages: int = 2) -> Advice:
    """What `auto` would take for `images` training images, as far as it is known before training.

    `ranking` of the same data set, where there is one: it knows whether the pictures are similar, if `network` was in it.
    """
    measured = [row for row in (ranking.rows if ranking else ()) if row.backbone == network.name]
    return advise(images, measured[0].similar if measured else None, network, stages=stages)


def _rows(images: int) -> list[Rule]:
    return [row for row in RULE if row.band == band(images)]


def _answer(row: Rule, images: int, network: Network, stages: int) -> Advice:
    reason = f"With {images:,} training images, {row.reason}"
    unfit = misfit(strategies()[row.strategy], network, stages)
    others = [
        Alternative(name, why) for name, why in row.alternatives if misfit(strategies()[name], network, stages) is None
    ]
    if unfit is None:
        return Advice(row.strategy, reason, tuple(others))
    instead = others.pop(0).strategy if others else HEAD_ONLY
    title = strategies()[instead].title
    return Advice(instead, f"{reason} That does not fit here ({unfit.rstrip('.')}), so it is {title!r}.", tuple(others))
