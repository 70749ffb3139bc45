"""The documents of a race: what it is asked to do, and its leaderboard.

A race trains several classifiers on one data set and one split, one after the other, within a time budget. Each contestant is an
ordinary run with a folder, a spec and a report of its own.
"""

from typing import Literal

from pydantic import Field

from tl_core.documents.base import Document, Record
from tl_core.documents.options import Device

ContestantState = Literal[
    "waiting", "running", "done", "stopped", "not_begun", "cancelled", "failed", "interrupted", "deleted"
]
"""`stopped`: the race ended it, because it could not win any more or because the time was up before it had learned anything.
`not_begun`: the time was up before its turn came."""


class Contestant(Record):
    """One run of a race, as it was asked for."""

    run: str
    """Id of its run."""
    backbone: str
    weights: str
    strategy: str
    """A row of the table of strategies, `default` or `auto`."""


class RaceSpec(Document):
    """Train several classifiers on one split of one data set, one after the other, within a time budget."""

    job: Literal["race"] = "race"
    name: str
    """Display text."""
    workspace: str
    """Token of the workspace that holds the data set and the runs."""
    dataset: str
    """Id of the data set."""
    version: int = Field(default=1, ge=1)
    """Number of its version."""
    seed: int
    """The seed of every run, which gives all of them the same split."""
    device: Device
    budget: float = Field(gt=0)
    """Seconds from the turn of the race on, after which no run is begun and the one at work ends with its best state."""
    contestants: tuple[Contestant, ...] = Field(min_length=1)
    val_images: int
    """Validation pictures of the split, which choose: they order the runs, and who cannot win on them is stopped."""
    val_draws: int
    """How many of them show different things."""
    test_images: int
    """Test pictures, which judge, and choose nothing."""


class Standing(Record):
    """One row of the leaderboard."""

    run: str
    """Id of the run."""
    backbone: str
    strategy: str
    """The row of the table of strategies; until the run has found it, `default` or `auto`."""
    state: ContestantState = "waiting"
    reason: str | None = None
    """Why it is in that state, a sentence, where that is not the usual end."""
    epochs: int | None = None
    """Epochs that were trained; None where it takes no gradient steps, or none so far."""
    planned_epochs: int | None = None
    val_accuracy: float | None = None
    """Accuracy on the validation pictures, a fraction: of the best epoch so far; once it is done, of the state that it delivers. Where
    cross-validation chose a head's settings, the validation pictures were answered by heads that had not seen them."""
    val_interval: tuple[float, float] | None = None
    """95 % interval of `val_accuracy`, Wilson's. Pictures that show the same thing count as one."""
    test_accuracy: float | None = None
    """Accuracy on the test pictures; None until it is done, or where the class of one moment leaves no accuracy to believe."""
    test_interval: tuple[float, float] | None = None
    """95 % interval of `test_accuracy`, as in the run's report."""
    seconds: float | None = None
    """Seconds at work."""
    expected_seconds: float | None = None
    """Seconds that it was expected to take when it was last estimated; None where it is not known."""


class Leaderboard(Record):
    """How a race stands. Rows with a validation accuracy come first, the best one at the top."""

    budget: float
    """Seconds."""
    spent: float
    """Seconds since the turn of the race came."""
    val_images: int
    """Validation pictures, as in `RaceSpec`."""
    test_images: int
    """Test pictures, as in `RaceSpec`."""
    rows: tuple[Standing, ...]
