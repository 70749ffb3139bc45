"""Which strategy to take, by a rule that courses teach: how many images there are, and how similar they are to the pretraining data.

One table, `RULE`, says what is taught, which strategy `auto` takes once `training.transferability` has measured the similarity, and
which one is proposed without looking (`default_strategy`). The only exception is a processor: there the head alone is proposed,
because anything else takes many times as long. What Graft measured itself stands beside the rule. Imports no torch.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tl_core.documents.options import STAGES
from tl_core.documents.tasks import Ranking
from tl_core.models.registry import Network
from tl_core.training.strategies.strategies import HEAD_ONLY, LAST_STAGES, WHOLE_NETWORK, misfit, strategies

Band = Literal["small", "medium", "large"]

SMALL_BELOW = 1_000
"""Data sets with fewer training images are small."""
LARGE_ABOVE = 10_000
"""Data sets with more training images are large."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """The strategy for data sets of one size that are similar to the pretraining data or not, and why."""

    band: Band
    similar: bool | None
    """Whether the images are similar; None: the rule is the same for both."""
    strategy: str
    reason: str
    """The end of a sentence that begins "With 640 training images, "."""
    alternatives: tuple[tuple[str, str], ...]
    """Strategies that may do as well or better, and why; the first that fits the backbone is taken where `strategy` does not fit."""
    proposed: str
    """The strategy that is proposed on a GPU where nobody has looked at the images."""
    longer: str
    """A strategy that may do better than `proposed` and takes as long or longer."""
    longer_reason: str
    """What `longer` may gain, a sentence for the user."""
    measured: str
    """What Graft's own measurements (docs/strategies.md) say of data sets of this size, sentences for the user."""


def _table(rows: Iterable[Rule]) -> tuple[Rule, ...]:
    table = tuple(rows)
    for rule in table:
        for name in (rule.strategy, rule.proposed, rule.longer, *(name for name, _ in rule.alternatives)):
            if name not in strategies():
                raise ValueError(f"A rule names the strategy {name!r}, which is not in the table.")
    return table


_GAIN = "Letting the last stages adapt often gains a few points where the pictures look unlike everyday photos."
_ON_A_PROCESSOR = (
    "On a processor, without a GPU, a fitted head on frozen features is done first by far; training stages takes many times as long, so "
    "it is not proposed whatever the number of pictures."
)
_SMALL_MEASURED = (
    "420 training pictures of rubbish, 90 test pictures: the head alone 0.82, the fitted head and then the whole network 0.83, the "
    "whole network under a new head 0.77. With so few test pictures the first two do not differ."
)

RULE = _table(
    [
        Rule(
            band="small",
            similar=True,
            strategy="feature_extraction",
            reason=(
                "few to learn from and much like what the backbone knows, a new head on the frozen backbone is enough, "
                "and anything more would memorise these pictures (overfitting)."
            ),
            alternatives=(
                ("lp_ft", "It starts from that same head, so it seldom ends worse, and may gain a little."),
                ("bias_and_norm", "It changes so few parameters that it can memorise little."),
            ),
            proposed=HEAD_ONLY,
            longer=LAST_STAGES,
            longer_reason=_GAIN,
            measured=_SMALL_MEASURED,
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
            proposed=HEAD_ONLY,
            longer=LAST_STAGES,
            longer_reason=_GAIN,
            measured=_SMALL_MEASURED,
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
            proposed=LAST_STAGES,
            longer="lp_ft",
            longer_reason="In Graft's own measurements it was right about one point more often, which may be luck.",
            measured=(
                "1,905 training pictures of coffee leaves, 409 test pictures: the last stages 0.958, the whole network under a new head "
                "0.963, the fitted head and then the whole network 0.971. That speaks for more than is taught, but the intervals "
                "overlap."
            ),
        ),
        Rule(
            band="large",
            similar=None,
            strategy="full_fine_tuning",
            reason="many, the whole network can be trained without memorising them.",
            alternatives=(
                ("lp_ft", "It trains everything from the fitted head on, and was never below in Graft's own measurements."),
                ("discriminative_lr", "It trains everything, too, and keeps more of what the early stages know."),
                ("from_scratch", "Worth considering where the pictures are like nothing that the backbone has seen, and time does not matter."),
            ),
            proposed=WHOLE_NETWORK,
            longer="lp_ft",
            longer_reason="In Graft's own measurements, on smaller data sets, a fitted head to start from was never worse than a new one.",
            measured=(
                "No data set of this size was measured. On three smaller ones, the fitted head and then the whole network was never "
                "below the whole network under a new head: 0.97 against 0.97, 1.00 against 1.00, 0.83 against 0.77. That speaks "
                "against what is taught, so try both."
            ),
        ),
    ]
)  # fmt: skip


@dataclass(frozen=True)
class Alternative:
    """Another strategy that may do as well, and why."""

    strategy: str
    reason: str


@dataclass(frozen=True)
class Advice:
    """What the rule says about one data set and backbone."""

    strategy: str | None
    """Name of the strategy; None where it depends on the similarity of the images, which was not measured yet."""
    reason: str
    """Why, for the user; where `strategy` is None, both possibilities in words."""
    alternatives: tuple[Alternative, ...]
    """Other strategies that fit the backbone; where `strategy` is None, the two possible ones."""


@dataclass(frozen=True)
class Choice:
    """The strategy that is proposed where none was chosen."""

    name: str
    reason: str
    """Why, for the user."""
    longer: str
    """Name of a strategy that takes as long or longer and may do better."""
    longer_reason: str
    """What that one may gain, a sentence for the user."""


def default_strategy(device: Literal["cpu", "cuda", "mps"], images: int) -> Choice:
    """What is proposed for `images` training images on `device` before anybody has looked at them.

    On a GPU it is what the rule takes, and the head alone where the rule would have to know the similarity; on a processor always
    the head alone.
    """
    if device == "cpu":
        return Choice(HEAD_ONLY, _ON_A_PROCESSOR, LAST_STAGES, _GAIN)
    rule = _rules(images)[0]
    reason = f"With {images:,} training pictures, {rule.reason}"
    if needs_similarity(images):
        reason = (
            f"With {images:,} training pictures it depends on how similar they are to what the backbone knows, which was not looked "
            "at; a fitted head on frozen features is the safest choice. “auto” looks first."
        )
    return Choice(rule.proposed, reason, rule.longer, rule.longer_reason)


def band(images: int) -> Band:
    """The size of a data set with `images` training images."""
    if images < SMALL_BELOW:
        return "small"
    return "medium" if images <= LARGE_ABOVE else "large"


def needs_similarity(images: int) -> bool:
    """Whether the rule depends on the similarity of the images, with so many training images."""
    return len(_rules(images)) > 1


def advise(images: int, similar: bool | None, network: Network, *, stages: int = STAGES) -> Advice:
    """The strategy that the rule takes for `images` training images and `network`.

    `similar`: whether the images are similar to the pretraining data; None: not measured. `stages`: how many last stages a
    strategy that trains the last ones would train. In place of a strategy that does not fit the network, the first alternative
    that fits is taken, and the reason says so.
    """
    rules = [rule for rule in _rules(images) if similar is None or rule.similar in (None, similar)]
    answers = [_answer(rule, images, network, stages) for rule in rules]
    if len(answers) == 1:
        return answers[0]
    titles = [strategies()[str(answer.strategy)].title for answer in answers]
    branches = [
        f"where they are {'similar to' if rule.similar else 'unlike'} what {network.name} learned before, {title!r} ({answer.strategy})"
        for rule, answer, title in zip(rules, answers, titles, strict=True)
    ]
    return Advice(
        None,
        f"With {images:,} training pictures it depends on the pictures: {'; '.join(branches)}. "
        "Which it is gets measured on their frozen features before training.",
        tuple(Alternative(str(answer.strategy), answer.reason) for answer in answers),
    )


def auto_says(images: int, ranking: Ranking | None, network: Network, *, stages: int = STAGES) -> Advice:
    """The strategy that `auto` would take for `images` training images, as far as that is known before training.

    `ranking` of the same data set, where there is one, says whether the images are similar, if `network` was ranked.
    """
    measured = [ranked for ranked in (ranking.rows if ranking else ()) if ranked.backbone == network.name]
    return advise(images, measured[0].similar if measured else None, network, stages=stages)


def _rules(images: int) -> list[Rule]:
    return [rule for rule in RULE if rule.band == band(images)]


def _answer(rule: Rule, images: int, network: Network, stages: int) -> Advice:
    reason = f"With {images:,} training pictures, {rule.reason}"
    unfit = misfit(strategies()[rule.strategy], network, stages)
    others = [
        Alternative(name, why) for name, why in rule.alternatives if misfit(strategies()[name], network, stages) is None
    ]
    if unfit is None:
        return Advice(rule.strategy, reason, tuple(others))
    instead = others.pop(0).strategy if others else HEAD_ONLY
    title = strategies()[instead].title
    return Advice(instead, f"{reason} That does not fit here ({unfit.rstrip('.')}), so it is {title!r}.", tuple(others))
