"""Prints for all commands: JSON or text on stdout, progress bars and messages on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tl_core.documents.base import Record
from tl_core.documents.events import EpochEnded, Event, Notice, Progress, StageStarted, drive
from tl_core.wording import NARROW
from tl_core.wording import percent as percent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

Result = TypeVar("Result")

_WIDTH_IN_A_PIPE = 200
_PLAIN = str.maketrans({NARROW: " ", "\u2068": None, "\u2069": None})
"""What sentences for pages have and a terminal needs not: thin spaces, and marks of a name's direction, which terminals do not obey."""


def printable(text: str) -> str:
    """`text` on one line, with control characters escaped, because a class name may hold a terminal's control sequences."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text.translate(_PLAIN)
    )


def as_json(value: Any) -> None:
    """Print `value` as JSON on stdout; documents in it without the version of their schema."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False, default=_fields) + "\n")
    sys.stdout.flush()


def _fields(part: Record) -> dict[str, Any]:
    return part.model_dump(mode="json", exclude={"schema_version"})


def answer(value: Result, tell: Callable[[Result], None], *, json: bool) -> None:
    """Print what a command found: as JSON, or as `tell` says it to people."""
    if json:
        as_json(value)
    else:
        tell(value)


def line(text: str = "") -> None:
    """Print one line of text on stdout."""
    sys.stdout.write(printable(text) + "\n")


def aside(text: str) -> None:
    """Print one line of text on stderr."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout; columns of numbers are aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    console = _console(stderr=False)
    shown = [[printable(cell) for cell in row] for row in rows]
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for index, heading in enumerate(headings):
        numbers = bool(shown) and all(row[index][:1].isdigit() or row[index] in ("", "-") for row in shown)
        grid.add_column(heading, justify="right" if numbers else "left", overflow="fold")
    for row in shown:
        grid.add_row(*(Text(cell) for cell in row))
    console.print(grid)


class Bars:
    """Shows the events of jobs on stderr: progress bars in a terminal, one line for each stage elsewhere.

    It is a context manager that is called with each event, and shows the notes of an error that ends it.
    """

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = _console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}", justify="right"),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._stage: StageStarted | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        self._progress.stop()
        for note in getattr(error, "__notes__", ()):
            aside(note)

    def __call__(self, event: Event) -> None:
        match event:
            case StageStarted() if self._stage is None or event.title != self._stage.title:
                if self._task is not None and self._stage and self._stage.stage == event.stage == "waiting":
                    # The line of those who wait has become shorter; it stays one line in the terminal.
                    self._progress.update(self._task, description=printable(event.title))
                else:
                    self._finish()
                    self._task = self._progress.add_task(printable(event.title), total=None, count="", note="")
                self._stage = event
                if not self._console.is_terminal:
                    aside(f"{event.title} ...")
            case Progress() if self._task is not None:
                count = f"{event.done:,} of {event.total:,}"
                self._progress.update(
                    self._task, completed=event.done, total=event.total, count=count, note=_pace(event)
                )
            case EpochEnded() if self._task is not None:
                note = f"{percent(event.val_accuracy)} right on the validation pictures"
                self._progress.update(self._task, note=note)
                if not self._console.is_terminal:
                    aside(f"  epoch {event.epoch} of {event.epochs}: {note}")
            case Notice() if self._console.is_terminal:
                self._console.print(printable(event.message), markup=False, highlight=False)
            case Notice():
                aside(event.message)

    def _finish(self) -> None:
        """The stage is done: its bar is full, also where nobody said how much there was."""
        if self._task is not None:
            total = self._progress.tasks[-1].total
            count = f"{total:,.0f}" if total else ""
            self._progress.update(self._task, completed=total or 1, total=total or 1, count=count, note="")

    def run(self, steps: Generator[Event, None, Result]) -> Result:
        """Show the events of a generator and return its result."""
        return drive(steps, self)


def _pace(event: Progress) -> str:
    parts = []
    if event.images_per_second:
        parts.append(f"{event.images_per_second:.0f} pictures/s")
    if event.seconds_left is not None:
        parts.append(f"{event.seconds_left:.0f} s left")
    return ", ".join(parts)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else _WIDTH_IN_A_PIPE, soft_wrap=False)
