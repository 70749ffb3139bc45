"""What a rehearsal found: how long each step of a demonstration takes on this machine, and what stands in its way."""

from pydantic import computed_field

from tl_core.documents.base import Record


class RehearsedStep(Record):
    """One step of the walk. Without `problem` and `again`, it was not tried, because a step before it failed."""

    title: str
    """For the user: "Train"."""
    first: float | None = None
    """Seconds that it took the first time, which prepares what can be prepared; None where it was not done to its end."""
    again: float | None = None
    """Seconds that it took the second time, as it will before people; None where it was not done to its end."""
    problem: str | None = None
    """Why it failed, a sentence for the user."""
    log: str = ""
    """The end of the log of a worker that ended without a word."""


class Rehearsal(Record):
    """The walk of "Show me", gone through twice."""

    sample: str
    """Name of the sample."""
    title: str
    """The sample, for the user: "Handwritten digits"."""
    machine: str
    """Processor or GPU on which it trained."""
    steps: tuple[RehearsedStep, ...]
    """In the order of the walk."""
    problems: tuple[str, ...]
    """What stands in the way of showing it, each a sentence that says what was found and what to do."""
    missing: tuple[str, ...]
    """What is not here, though it is not needed for the walk, each a sentence as in `problems`."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def walk_seconds(self) -> float | None:
        """Seconds that all steps took the second time; None where one was not done to its end."""
        times = [step.again for step in self.steps if step.again is not None]
        return sum(times) if len(times) == len(self.steps) else None

    def table(self) -> list[tuple[str, str, str]]:
        """Each step as a row of text: what it is, how long it took the first time, and the next time or why it did not get so far."""
        return [
            (step.title, _seconds(step.first), _seconds(step.again) or ("failed" if step.problem else "not tried"))
            for step in self.steps
        ]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ready(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.problems


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"
