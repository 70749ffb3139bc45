"""Running generators of events to their end, and what their events say."""

from collections.abc import Generator
from typing import TypeVar

from tl_core.documents.events import EpochEnded, Event, Notice

Result = TypeVar("Result")


def finish(generator: Generator[Event, None, Result]) -> tuple[Result, list[Event]]:
    """The generator's result and all events that it yielded."""
    events: list[Event] = []
    while True:
        try:
            events.append(next(generator))
        except StopIteration as stop:
            return stop.value, events


def best_of(events: list[Event]) -> EpochEnded:
    """The epoch whose state the run keeps."""
    return [event for event in events if isinstance(event, EpochEnded) and event.best][-1]


def smaller_batches(events: list[Event]) -> list[int]:
    """The micro-batches to which training went down, in order, when memory ran out."""
    notices = [event.message for event in events if isinstance(event, Notice) and "memory ran out" in event.message]
    return [int(message.split("with ")[1].split(" ")[0]) for message in notices]
