"""Running generators of events to their end."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

from tl_core.documents.events import Event

Result = TypeVar("Result")


def finish(generator: Generator[Event, None, Result]) -> tuple[Result, list[Event]]:
    """The generator's result and all events that it yielded."""
    events: list[Event] = []
    while True:
        try:
            events.append(next(generator))
        except StopIteration as stop:
            return stop.value, events
