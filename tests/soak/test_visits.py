"""What a session of the campaign notices in what it is sent."""

import random

import pytest

from tests.soak.visits import Seen, Visit, marks
from ui.workspace import BUG

OWN, OTHER = "50a4000000000001" * 2, "50a4000000000002" * 2
KNOWN = frozenset(mark.encode() for token in (OWN, OTHER) for mark in marks(token))


@pytest.mark.parametrize(
    ("sent", "problems"),
    [
        (f"workspace={OWN}", 0),
        (f"run={marks(OWN)[1]}", 0),
        ("media/50a4316b8dbe698f.jpg", 0),
        (f"workspace={OTHER}", 1),
        (f"run={marks(OTHER)[1]}", 1),
        (f"Of {marks(OTHER)[0]}", 1),
        (BUG, 1),
    ],
)
def test_what_is_of_others_is_found(sent: str, problems: int) -> None:
    visit = Visit("http://127.0.0.1", OWN, KNOWN, b"", Seen(), random.Random(0))
    visit._search(b"\x0a\x20" + sent.encode() + b"\x12")
    assert len(visit.seen.violations) == problems
