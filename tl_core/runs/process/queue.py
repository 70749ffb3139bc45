"""Queues without a dispatcher: a job takes a ticket in the queue of what it needs, waits for its turn, and takes a place.

A ticket is a file on which its job holds a lock, so the ticket of a dead job is recognised and removed. Its name says for which round it
was taken, when, and by which workspace (a hash of the token); its content says what the job is expected to take still. A place is a lock: a device has one, the queues of smaller jobs have as many as the settings say.

Turns go round the workspaces: each further job that a workspace has in a queue belongs to a later round.

A job also waits for memory. What a job on a device is expected to take is kept for it from others on devices, not from small jobs:
these start with the memory that is free at the moment, and pass a job on a device that waits for more.
"""

import hashlib
import os
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from pydantic import ValidationError

from tl_core import locks, settings
from tl_core.documents.base import Record
from tl_core.documents.events import Event, Outlook, StageStarted
from tl_core.documents.gpu_card import Card
from tl_core.documents.spec import Queue
from tl_core.errors import Cancelled, LimitReached
from tl_core.hardware import available_mb
from tl_core.runs.process.devices import place_of, resolve_device, take_card, working_cards
from tl_core.settings import Settings
from tl_core.wording import duration

_POLL = 0.1
_LONGEST_POLL = 5.0
"""Seconds between two looks at the line, for the next job and for one far behind: a hundred that wait must not load the machine."""
_LISTENS = 0.5
"""Seconds between two looks whether the job was cancelled."""
_SAID_EVERY = 20.0
"""Seconds for which a sentence about the line stands while the number of jobs before it is the same."""
_YIELDS = 300.0
"""Seconds after which a job on a device that is the next one no longer waits for the memory of small jobs: they may follow for ever."""
_TICKETS = "[0-9]" * 6 + "-*"
"""Names of tickets: round, time, chance and workspace, so that their order is that of the turns."""
_CONTENT = 200
"""Bytes of a ticket; it is always written whole, so that a reader never sees parts of two."""


class Line(NamedTuple):
    """What the jobs of one queue have in common."""

    where: str
    """Where they work, at the end of a sentence."""
    places: Callable[[Settings], int]
    """How many of them work at the same time."""
    hours: Callable[[Settings], float]
    """How long each of them may work; 0 for as long as it likes."""
    spare: float
    """Share of the machine's memory that must stay free beside them."""
    lighter: str
    """What the user can do where a job of this queue takes too long or too much memory."""
    small: bool = False
    """Whether its jobs are small: they do not wait for memory that jobs on devices may still take."""


def _device(where: str) -> Line:
    lighter = "Choose a smaller backbone or image size, fewer stages or fewer epochs, then start again."
    return Line(where, lambda chosen: 1, lambda chosen: chosen.job_hours, 0.03, lighter)


LINES: Mapping[str, Line] = MappingProxyType(
    {
        "cpu": _device(" on this processor"),
        "cuda": _device(" on this GPU"),
        "mps": _device(" on this GPU"),
        "reading": Line(
            "",
            lambda chosen: chosen.reading_at_once,
            lambda chosen: chosen.small_job_minutes / 60,
            0.06,
            "Bring fewer pictures, or smaller ones.",
            small=True,
        ),
        "questions": Line(
            "",
            lambda chosen: chosen.questions_at_once,
            lambda chosen: chosen.small_job_minutes / 60,
            0.06,
            "Choose a smaller network or image size.",
            small=True,
        ),
    }
)
"""The queues by their names, which are folders of `queue/`."""


class Ticket(Record):
    """A place in a queue; `descriptor` holds the lock on the ticket's file."""

    path: Path
    descriptor: int

    @property
    def queue(self) -> str:
        return self.path.parent.name

    @property
    def line(self) -> Line:
        return LINES[self.queue]

    def outlook(self) -> Outlook:
        return _outlook(self.path)

    def tell(self, outlook: Outlook) -> None:
        """Let those who wait know what the job is expected to take still."""
        os.pwrite(self.descriptor, outlook.model_dump_json().encode().ljust(_CONTENT), 0)


def name_of(queue: Queue) -> str:
    """The queue that `queue` stands for here. Raises DeviceError where it is that of a device that is not on this machine."""
    return queue if queue in ("reading", "questions") else resolve_device(queue)


def take_ticket(queue: Path, name: str, workspace: str, outlook: Outlook) -> Ticket:
    """Join the queue called `name`, in the next round in which `workspace` (its token) has no job yet."""
    folder = queue / name
    # Enough to tell two workspaces apart, nothing to open one with.
    tag = hashlib.sha256(workspace.encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    unseen = folder / f".new-{secrets.token_hex(8)}"
    descriptor = locks.take(unseen)
    assert descriptor is not None, "nobody else knows the name of a fresh ticket"
    ticket = Ticket(path=unseen, descriptor=descriptor)
    try:
        live = [path.name.split("-") for path in _live(folder)]
        now = min((int(number) for number, *_ in live), default=0)
        turn = max([now, *(int(number) + 1 for number, *_, owner in live if owner == tag)])
        ticket.tell(outlook)
        name = f"{turn:06}-{time.time_ns():020}-{secrets.token_hex(4)}-{tag}"
        return ticket.model_copy(update={"path": unseen.rename(folder / name)})
    except BaseException:
        drop_ticket(ticket)
        raise


def drop_ticket(ticket: Ticket) -> None:
    """Leave the queue."""
    ticket.path.unlink(missing_ok=True)
    locks.release([ticket.descriptor])


def crowd(queue: Path) -> int:
    """How many jobs wait or work on this machine."""
    return sum(len(_live(queue / name)) for name in LINES)


def require_room(queue: Path) -> None:
    """Raises LimitReached where as many jobs wait or work on this machine as may; each is a process."""
    most = settings.current().most_jobs
    if crowd(queue) >= most:
        raise LimitReached(
            f"As many jobs wait or work on this server as it takes ({most}). Try again in a few minutes."
        )


def wait_for_turn(ticket: Ticket, *, cancelled: Callable[[], bool]) -> Generator[Event, None, int]:
    """Wait until it is the job's turn and there is memory for it, and take a place; the ticket stays until its owner drops it.

    So a job is counted once, whether it waits or works. Yields a "waiting" stage whenever the number of jobs before it has
    changed, and now and then between; none if there is a place at once. Returns the descriptor that holds the place.

    Raises:
        Cancelled: before the turn came.
    """
    places = _places(ticket)
    door = ticket.path.parents[1] / ("admission-small" if ticket.line.small else "admission")
    at_door: int | None = None
    next_since: float | None = None
    told, told_at, told_ahead = "", 0.0, -1
    try:
        while not cancelled():
            now, ahead, short = time.monotonic(), _ahead(ticket), None
            if len(ahead) < len(places):
                # Jobs are let in one by one. Who waits for memory keeps the door: else jobs that need less would pass for ever.
                at_door = locks.take(door) if at_door is None else at_door
                next_since = now if next_since is None else next_since
                short = "another job has waited for it longer."
                if at_door is not None:
                    short = _short_of_memory(ticket, now - next_since)
                place = _place(places) if short is None else None
                if place is not None:
                    ticket.tell(ticket.outlook().model_copy(update={"running": True}))
                    return place
            if short is None and at_door is not None:
                locks.release([at_door])
                at_door = None
            title = f"Waiting for memory: {short}" if short else _title(ticket.line, ahead, len(places))
            before = 0 if short else max(1, len(ahead))
            # An expected time may change at every look.
            if before != told_ahead or (title != told and now - told_at >= _SAID_EVERY):
                told, told_at, told_ahead = title, now, before
                yield StageStarted(stage="waiting", title=title)
            _rest(min(_LONGEST_POLL, _POLL * max(1, len(ahead) - len(places))), cancelled)
        raise Cancelled("Cancelled while it waited for its turn.")
    finally:
        if at_door is not None:
            locks.release([at_door])


def _rest(seconds: float, cancelled: Callable[[], bool]) -> None:
    """Wait so long before the next look at the line, less where the job is `cancelled`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not cancelled():
        time.sleep(max(0.0, min(_LISTENS, until - time.monotonic())))


def _live(folder: Path) -> list[Path]:
    """The tickets of jobs that are alive, in the order of turns; those of dead jobs are removed."""
    live = []
    for path in sorted(folder.glob(_TICKETS)):
        if locks.held(path):
            live.append(path)
        else:
            path.unlink(missing_ok=True)
    return live


def _ahead(ticket: Ticket) -> list[Outlook]:
    """What the jobs that work, and those whose turn comes before that of `ticket`, are expected to take still."""
    others = {path: _outlook(path) for path in _live(ticket.path.parent) if path != ticket.path}
    return [outlook for path, outlook in others.items() if path < ticket.path or outlook.running]


def _outlook(path: Path) -> Outlook:
    try:
        return Outlook.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return Outlook()


def _place(places: Mapping[Path, Card | None]) -> int | None:
    """The descriptor of the first of `places` that is free; from then on this process uses no other GPU than the one of that place."""
    for file, card in places.items():
        place = locks.take(file, patience=0.0)
        if place is not None:
            if card is not None:
                take_card(card)
            return place
    return None


def _places(ticket: Ticket) -> dict[Path, Card | None]:
    """The locks of the places in the queue of `ticket`: on GPUs, one for each card that works, with that card."""
    cards = working_cards() if ticket.queue == "cuda" else ()
    if cards:
        return {ticket.path.with_name(place_of(card).name): card for card in cards}
    numbers = range(1, ticket.line.places(settings.current()) + 1)
    return {ticket.path.with_name("lock" if number == 1 else f"lock-{number}"): None for number in numbers}


def _short_of_memory(ticket: Ticket, waited: float) -> str | None:
    """Why the job, which has been the next one for `waited` seconds, does not start yet.

    None where there is memory for it, or nothing to wait for: no other job works, or no other on a device for long enough.
    """
    queue, small = ticket.path.parents[1], ticket.line.small
    outlooks = [
        (line, _outlook(path)) for name, line in LINES.items() for path in _live(queue / name) if path != ticket.path
    ]
    others = [(line, outlook) for line, outlook in outlooks if outlook.running]
    if not small and waited >= _YIELDS and all(line.small for line, _ in others):
        return None
    free = available_mb("cpu") if others else None
    if free is None:
        return None
    usual = settings.current().job_needs_mb
    reserved = [outlook.memory_mb for line, outlook in others if line.small or not small]
    left = free - sum(usual if memory is None else memory for memory in reserved)
    needed = ticket.outlook().memory_mb or usual
    if left >= needed:
        return None
    return f"about {needed / 1000:.1f} GB are needed, and {max(0.0, left) / 1000:.1f} GB are left beside the jobs that work."


def _title(line: Line, ahead: list[Outlook], places: int) -> str:
    count = max(1, len(ahead))
    jobs = "one job is" if count == 1 else f"{count} jobs are"
    seconds = [outlook.seconds for outlook in ahead if outlook.seconds is not None]
    time = ""
    if seconds:
        more = "about" if len(seconds) == len(ahead) else "more than"
        time = f", for {more} {_roughly(sum(seconds) / places)}"
    return f"Waiting for its turn: {jobs} before it{line.where}{time}"


def _roughly(seconds: float) -> str:
    """A time in words that do not change every moment."""
    if seconds < 90:
        return "a minute"
    step = 60 if seconds < 600 else 300 if seconds < 5400 else 3600
    return duration(step * round(seconds / step))
