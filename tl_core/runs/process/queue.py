"""A queue for each device, without a dispatcher: jobs have tickets, the oldest ticket is next, and a lock stands for the device.

Each worker waits for its own turn. A ticket is a file on which its job holds a lock, so the ticket of a dead job is
recognised and removed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Generator
from pathlib import Path

from tl_core.documents.base import Record
from tl_core.documents.events import Event, StageStarted
from tl_core.errors import Cancelled
from tl_core.runs.store import locks

_POLL = 0.1
_DEVICE_WORDS = {"cpu": "processor", "cuda": "GPU", "mps": "GPU"}


class Ticket(Record):
    """A place in the queue of one device; `descriptor` holds the lock on the ticket's file."""

    path: Path
    descriptor: int

    @property
    def device(self) -> str:
        return self.path.parent.name


def measuring_lock(queue: Path) -> Path:
    """The lock that is held while this machine is timed: two measurements at once would find it slower than it is."""
    queue.mkdir(parents=True, exist_ok=True)
    return queue / "measuring"


def take_ticket(queue: Path, device: str) -> Ticket:
    """Join the queue of `device`, behind every job that is in it already."""
    folder = queue / device
    folder.mkdir(parents=True, exist_ok=True)
    unseen = folder / f".new-{secrets.token_hex(8)}"
    descriptor = locks.take(unseen)
    if descriptor is None:
        raise RuntimeError(f"somebody else holds the fresh ticket {unseen}")
    return Ticket(path=unseen.rename(folder / f"{time.time_ns():020}-{secrets.token_hex(4)}"), descriptor=descriptor)


def drop_ticket(ticket: Ticket) -> None:
    """Leave the queue."""
    ticket.path.unlink(missing_ok=True)
    locks.release([ticket.descriptor])


def wait_for_turn(ticket: Ticket, *, cancelled: Callable[[], bool]) -> Generator[Event, None, int]:
    """Wait until no older ticket is left and take the device; the ticket stays in the queue until its owner drops it.

    So a job is counted once, whether it waits or works. Yields a "waiting" stage whenever the number of jobs ahead
    changes, none if the device is free at once; returns the descriptor that holds the device. Raises Cancelled.
    """
    told = 0
    while True:
        if cancelled():
            raise Cancelled("Cancelled while it waited for its turn.")
        ahead = _ahead(ticket)
        if not ahead:
            device = locks.take(ticket.path.parent / "lock", patience=0.0)
            if device is not None:
                return device
            ahead = 1  # A job on its last steps, its ticket dropped already.
        if ahead != told:
            told = ahead
            yield StageStarted(stage="waiting", title=_title(ticket.device, told))
        time.sleep(_POLL)


def _ahead(ticket: Ticket) -> int:
    """Number of older tickets whose jobs are alive; tickets of dead jobs are removed."""
    count = 0
    for path in ticket.path.parent.iterdir():
        if path.name == "lock" or path.name.startswith(".") or path.name >= ticket.path.name:
            continue
        if locks.held(path):
            count += 1
        else:
            path.unlink(missing_ok=True)
    return count


def _title(device: str, ahead: int) -> str:
    jobs = "one job is" if ahead == 1 else f"{ahead} jobs are"
    return f"Waiting for its turn: {jobs} before it on this {_DEVICE_WORDS.get(device, device)}"
