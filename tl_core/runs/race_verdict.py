"""What the test pictures say of a race that has ended: whether the one that validation put first is better than the others."""

from __future__ import annotations

from tl_core.documents.base import Record
from tl_core.documents.judgements import Comparison
from tl_core.runs.comparing import together
from tl_core.runs.standings import leaderboard
from tl_core.runs.store.folders import RaceFolder


class Against(Record):
    """The first one of the leaderboard beside another one, on the same test pictures."""

    run: str
    """Id of the other run."""
    comparison: Comparison
    """Of the first one, B, against the other, A. Validation chose which one is first, and no test picture did."""


def first_against_others(race: RaceFolder) -> tuple[Against, ...]:
    """The run that leads `race` compared with each other one that ended well, in the order of the leaderboard; empty where there is no other.

    The p-values are those of `compare` with all of them, corrected for every pair.

    Raises:
        NotFound, DocumentError: as `standings.leaderboard`.
    """
    done = [row for row in leaderboard(race).rows if row.state == "done"]
    runs = {run.id: run for run in race.parts()}
    if len(done) < 2:
        return ()
    leader = runs[done[0].run]
    # The leader comes last, so that each comparison is of it against another one.
    found = together([*(runs[row.run] for row in done[1:]), leader])
    if leader not in found.runs:
        return ()
    pairs = iter(found.comparisons)
    against = []
    for number, one in enumerate(found.runs):
        for other in found.runs[number + 1 :]:
            comparison = next(pairs)
            if other == leader:
                against.append(Against(run=one.id, comparison=comparison))
    return tuple(against)
