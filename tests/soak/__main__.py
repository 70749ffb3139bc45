"""`python -m tests.soak [PART...]`: a campaign of attacks and accidents on a store of its own, which takes about an hour and a half.

Each part prints what it did. A violation of what must hold makes the exit code 1. The same seed gives the same campaign.
"""

import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import typer

from tests.soak import files, full_disk, kills, memory, sessions
from tests.soak.ground import Ground, Outcome, Part, carried_out
from tl_core.cli.printing import line


class Row(NamedTuple):
    """A part of the campaign."""

    run: Callable[[Ground, int], Part]
    count: int
    """How many things the whole campaign does."""


PARTS: Mapping[str, Row] = MappingProxyType(
    {
        "files": Row(files.run, files.FILES),
        "kills": Row(kills.run, kills.MOMENTS),
        "full_disk": Row(full_disk.run, full_disk.MOMENTS),
        "memory": Row(memory.run, memory.LEVELS),
        "sessions": Row(sessions.run, sessions.SESSIONS),
    }
)


def soak(
    parts: Annotated[
        list[str] | None, typer.Argument(help=f"One or more of {', '.join(PARTS)}; all by default.")
    ] = None,
    *,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same campaign; by default a new one.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(help="How many files, moments, levels or sessions, in place of the whole number.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help=f"How long the sessions act, in place of {sessions.MINUTES:g} minutes.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A file for the figures, as JSON.")] = None,
) -> None:
    """Attack Graft with hostile files, kill its processes, and take away its disk and its memory; then be many at once."""
    unknown = set(parts or ()) - PARTS.keys()
    if unknown:
        raise typer.BadParameter(f"There is no part {', '.join(sorted(unknown))}. There are {', '.join(PARTS)}.")
    seed = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    figures: dict[str, Any] = {}
    violations = []
    for name in parts or PARTS:
        row = PARTS[name]
        line(f"{name}, seed {seed}: {count or row.count} of {row.count}")
        started = time.monotonic()
        outcome = _outcome(row, Ground(Path(tempfile.mkdtemp(prefix="graft-soak-")), seed, minutes), count or row.count)
        figures[name] = {
            "seed": seed,
            "count": count or row.count,
            "seconds": round(time.monotonic() - started),
            "figures": outcome.figures,
            "violations": outcome.violations,
        }
        violations += [f"{name}: {violation}" for violation in outcome.violations]
        line(f"{name}: {json.dumps(outcome.figures)}, {len(outcome.violations)} violations")
        if out:
            out.write_text(json.dumps(figures, indent=1))
    for violation in violations:
        typer.echo(f"VIOLATION {violation}")
    raise typer.Exit(1 if violations else 0)


def _outcome(row: Row, ground: Ground, count: int) -> Outcome:
    try:
        ground.prepare()
        return carried_out(row.run(ground, count), lambda said: line(f"  {said}"))
    finally:
        shutil.rmtree(ground.root, ignore_errors=True)


if __name__ == "__main__":
    typer.run(soak)
