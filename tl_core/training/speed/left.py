"""How long a run that works will still take, from what it was expected to take and what it took so far. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping

from tl_core.training.speed.learned import PRIOR, STAGES


def seconds_left(
    expected: Mapping[str, float],
    between: tuple[float, float],
    taken: Mapping[str, float],
    stage: str,
    in_stage: float | None = None,
) -> float | None:
    """Seconds that the whole run will still take; None where they are not known: the stage was not expected, or takes longer than that.

    `expected` are seconds by stage before they are scaled, and `between` the range that was said of the run (both of its spec).
    `taken` are the seconds of the stages so far, that of `stage`, which runs now, among them. `in_stage` are the seconds that this stage says it
    still needs. What is not known of later stages is scaled by how much longer than expected the earlier ones took.
    """
    planned = sum(expected.values())
    if stage not in expected or not planned:
        return None
    order = [known for known in STAGES if known in expected]
    done, coming = order[: order.index(stage)], order[order.index(stage) + 1 :]
    usual = sum(between) / 2 / planned
    pace = (sum(taken.get(known, 0.0) for known in done) + PRIOR * usual) / (
        sum(expected[known] for known in done) + PRIOR
    )
    if in_stage is None:
        in_stage = pace * expected[stage] - taken.get(stage, 0.0)
        if in_stage <= 0:
            return None
    return in_stage + pace * sum(expected[known] for known in coming)
