"""The command `store`, for the operator: who takes how much, what can go, and clearing it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tl_core import locks
from tl_core.cli import show
from tl_core.cli.parameters import Json
from tl_core.errors import InUse, SpecError

if TYPE_CHECKING:
    from tl_core.runs.store.accounts import Removable
    from tl_core.runs.store.store import Store


def store(
    *,
    clear: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="Remove idle, uploads, unreadable, cache, weights, or the workspace of these first digits.",
        ),
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS", min=0, help="With --clear: only what was not used for so long (idle: 30, uploads: 1)."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --clear: do not ask.")] = False,
    json: Json = False,
) -> None:
    """Say who takes how much of the store, and what can go; clear it."""
    from tl_core.runs.store.store import Store

    place = Store.default()
    if clear is None:
        if older_than is not None or yes:
            raise SpecError("--older-than and --yes belong to --clear.")
        found = overview(place)
        if json:
            show.as_json(found)
        else:
            _tell(found)
        return
    # A workspace is removed while the locks of all its jobs are held.
    locks.allow_descriptors()
    _clear(place, clear, older_than, yes=yes, json=json)


def overview(place: Store) -> dict[str, Any]:
    """What `store --json` prints. Sizes are bytes, times seconds since the epoch; a limit of 0 is none."""
    from tl_core import settings
    from tl_core.data.cache import KINDS
    from tl_core.disk import spare
    from tl_core.models.weights.downloaded import downloads
    from tl_core.runs.store.accounts import CLEARINGS, accounts, at_work

    chosen = settings.current()
    entries, weights = place.cache.entries(), downloads()
    can_go = {name: clearing.now(place) for name, clearing in CLEARINGS.items()}
    return {
        "store": str(place.root),
        "disk": {
            "free": spare(place.root, 0),
            "stays_free": spare(place.root, 0) - spare(place.root, chosen.free_bytes),
        },
        "jobs": dict(at_work(place)),
        "workspace_limit": chosen.workspace_bytes,
        "workspaces": [
            {
                "workspace": account.name,
                "data_sets": len(account.workspace.datasets()),
                "data_set_bytes": account.use.of("datasets"),
                "runs": len(account.workspace.runs()),
                "run_bytes": account.use.of("runs"),
                "question_bytes": account.use.of("tasks"),
                "upload_bytes": account.use.rest,
                "bytes": account.use.total,
                "last_used": account.workspace.last_used(),
                "at_work": len(account.at_work),
            }
            for account in accounts(place)
        ],
        "cache_limit": chosen.cache_bytes,
        "cache": {
            kind: {"entries": len(sizes), "bytes": sum(sizes)}
            for kind in KINDS
            for sizes in [[entry.bytes for entry in entries if entry.path.parent.name == kind]]
        },
        "weights_limit": chosen.weights_bytes,
        "weights": [
            {
                "weights": f"{one.origin.network}:{one.origin.weights}",
                "bytes": one.bytes,
                "last_used": one.used,
                "in_use": one.in_use,
            }
            for one in weights
        ],
        "can_go": {
            name: {"count": len(found), "bytes": sum(one.bytes for one in found)} for name, found in can_go.items()
        },
    }


def _tell(found: dict[str, Any]) -> None:
    from tl_core.disk import in_words
    from tl_core.runs.store.accounts import CLEARINGS

    disk, jobs = found["disk"], found["jobs"]
    show.line(f"The store {found['store']}")
    show.line(f"Free on its disk: {in_words(disk['free'])}, of which {in_words(disk['stays_free'])} stay free.")
    show.line(f"Jobs: {', '.join(f'{count} {state}' for state, count in sorted(jobs.items())) or 'none at work'}.")
    show.line()
    show.table(
        ["workspace", "data sets", "size", "runs", "size", "questions", "uploads", "in all", "last used", "at work"],
        [
            [
                row["workspace"],
                str(row["data_sets"]),
                in_words(row["data_set_bytes"]),
                str(row["runs"]),
                in_words(row["run_bytes"]),
                in_words(row["question_bytes"]),
                in_words(row["upload_bytes"]),
                in_words(row["bytes"]),
                _moment(row["last_used"]),
                str(row["at_work"] or "-"),
            ]
            for row in found["workspaces"]
        ],
    )
    show.line(_limit("Each workspace", found["workspace_limit"]))
    show.line()
    show.table(
        ["cache", "entries", "size"],
        [[kind, str(row["entries"]), in_words(row["bytes"])] for kind, row in found["cache"].items()],
    )
    show.line(f"The cache may take {in_words(found['cache_limit'])}.")
    show.line()
    show.table(
        ["downloaded weights", "size", "last used", "in use"],
        [
            [row["weights"], in_words(row["bytes"]), _moment(row["last_used"]), "yes" if row["in_use"] else "-"]
            for row in found["weights"]
        ],
    )
    show.line(_limit("Downloaded weights", found["weights_limit"]))
    show.line()
    show.table(
        ["can go", "what", "count", "size"],
        [
            [
                f"--clear {name}",
                CLEARINGS[name].said(),
                str(row["count"]),
                in_words(row["bytes"]),
            ]
            for name, row in found["can_go"].items()
        ],
    )
    show.line("A workspace goes with --clear and its digits.")


def _clear(place: Store, what: str, days: float | None, *, yes: bool, json: bool) -> None:
    """Raises InUse where jobs need all of it; SpecError, NotFound for what cannot be cleared."""
    from tl_core.disk import in_words
    from tl_core.runs.store.accounts import CLEARINGS, workspace_of

    if what in CLEARINGS:
        found = CLEARINGS[what].now(place, days)
    elif days is not None:
        raise SpecError(f"--older-than belongs to --clear {', '.join(CLEARINGS)}.")
    else:
        found = [workspace_of(place, what)]
    size = in_words(sum(one.bytes for one in found))
    named = CLEARINGS[what].said(days) if what in CLEARINGS else f"workspace {found[0].name}"
    if found and not yes:
        if json or not sys.stdin.isatty():
            raise SpecError(f"This removes {len(found)} ({named}), {size}, for good. Add --yes.")
        typer.confirm(f"Remove {len(found)} ({named}), {size}, for good?", abort=True, err=True)
    removed, kept = _remove(found)
    if kept and not removed:
        raise InUse(kept[0]["why"])
    if json:
        show.as_json({"removed": removed, "kept": kept})
        return
    show.line(f"Removed: {len(removed)} ({named}), {in_words(sum(row['bytes'] for row in removed))}.")
    for row in kept:
        show.line(f"{row['what']} stays: {row['why']}")


def _remove(found: list[Removable]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What was removed, and what stays because a job needs it."""
    removed, kept = [], []
    for one in found:
        try:
            one.remove()
        except InUse as error:
            kept.append({"what": one.name, "why": error.message})
        else:
            removed.append({"what": one.name, "bytes": one.bytes})
    return removed, kept


def _limit(what: str, limit: int) -> str:
    from tl_core.disk import in_words

    return f"{what} may take {in_words(limit)}." if limit else f"{what} may take any space."


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
