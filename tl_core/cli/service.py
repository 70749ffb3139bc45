"""What make, the container and the operator call: `app`, `demo`, `prepare`, `rehearse`, and `store`, which says who takes how much and clears it."""

import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from tl_core import api, locks, settings
from tl_core.cli import printing
from tl_core.cli import train as training
from tl_core.cli.parameters import Json
from tl_core.disk import in_words, spare
from tl_core.errors import InUse, NotFound, SpecError
from tl_core.runs.store.store import Store
from tl_core.runs.store.sweep import CLEARINGS, accounts, at_work, sweep, workspace_of

ROOT = Path(__file__).parents[2]
_NOT_READY = 2
_ALLOCATOR = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "524288", "MALLOC_TRIM_THRESHOLD_": "16777216"}
"""How glibc keeps the memory of the server. With an arena for each thread of a rerun, and with a threshold that grows, the weights of a
classifier that is opened and closed leave holes among small objects: much more memory is kept than is in use."""


def app(
    *,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="Which port to listen on.", min=1, max=65535)] = 8501,
    json: Json = False,
) -> None:
    """Serve the app."""
    from tl_core.runs.process.devices import unusable_gpu
    from tl_core.runs.process.executor import works_here

    # The server works there: relative paths mean the same here, and the secrets of a login are found.
    os.chdir(ROOT)
    command = serve_command(host, port)
    _check_free(host, port)
    if not (ROOT / "streamlit_app.py").is_file():
        raise NotFound(f"There is no streamlit_app.py in {ROOT}. Start the app from a whole checkout.")
    store = Store.default()
    store.make()
    sweep(store, settings.current().keep_days)
    # Each card is tried now, so that no page waits for it.
    unused = unusable_gpu() if works_here() else None
    if unused:
        printing.aside(unused)
    if json:
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
        printing.as_json({"url": f"http://{shown}:{port}", "store": str(settings.store_folder())})
        # The server's own messages must not follow the JSON.
        os.dup2(2, 1)
    else:
        printing.aside(f"Graft is starting. It keeps its data in {settings.store_folder()}.")
    sys.stdout.flush()
    for name, value in _ALLOCATOR.items():
        os.environ.setdefault(name, value)
    # In place of this process, so that the container's and the terminal's signals reach the server itself.
    os.execv(sys.executable, command)  # noqa: S606 - this interpreter, with arguments of our own


def serve_command(host: str, port: int) -> list[str]:
    """The command that serves the app with the operator's settings.

    Raises:
        SpecError: settings that cannot be used, all of them at once.
    """
    from tl_core.runs.process import executor

    settings.check(executor.chosen, _check_login)
    return [sys.executable, "-m", "ui.server.listen", host, str(port)]


def _check_login() -> None:
    """Raises SpecError where GRAFT_LOGIN=openid cannot work: without its packages, or without the provider's entry."""

    if settings.current().login != "openid":
        return
    if any(find_spec(name) is None for name in ("authlib", "httpx")):
        raise SpecError("GRAFT_LOGIN is openid, which needs two packages more: pip install authlib httpx")
    # In a process of its own, as the server is: this package knows nothing of Streamlit.
    asked = subprocess.run(
        [sys.executable, "-m", "ui.server.openid"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    problem = asked.stdout.strip() or asked.stderr.strip()[-500:] * bool(asked.returncode)
    if problem:
        raise SpecError(f"GRAFT_LOGIN is openid. {problem} docs/deploy.md has an example.")


def _check_free(host: str, port: int) -> None:
    """Raises SpecError where nothing can listen there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise SpecError(
            f"Nothing can listen on {host} port {port} ({error.strerror}). Choose another with --port or --host."
        ) from None


def demo(*, json: Json = False) -> None:
    """Train on the embedded sample, from pictures to bundle."""
    from tl_core.data.samples import SAMPLES, SHOWN

    row = SAMPLES[SHOWN]
    if not json:
        printing.aside(f"Training on the sample {row.title}: {row.images:,} pictures of {row.classes} classes.")
    with printing.Bars() as bars:
        result = api.train(f"sample:{row.name}", on_event=bars)
    printing.answer(result, training.tell, json=json)
    if not json:
        printing.line(f"Try it: {sys.executable} -m tl_core predict {result['run_dir']} PICTURE")


def prepare(
    *,
    photos: Annotated[
        bool,
        typer.Option(
            "--photos", help="Also download the smallest sample of photographs, so that it is here without a network."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Export the embedded backbone once, so that the first run is fast, and time it on this processor."""
    from tl_core.data import samples
    from tl_core.documents.options import DEFAULT_NETWORK
    from tl_core.models.graphs.export import exported_backbone
    from tl_core.models.registry import network
    from tl_core.runs.process.devices import time_processor

    row, store = network(DEFAULT_NETWORK), Store.default()
    with printing.Bars() as bars:
        folder = bars.run(exported_backbone(row, row.default_weights, row.weights_row().input_size, store.cache))
    time_processor(folder)
    done = {"backbone": row.name, "folder": str(folder)}
    if not json:
        printing.line(f"{row.name} is ready.")
    if photos:
        sample = samples.smallest_photos()
        with printing.Bars() as bars:
            done |= {"photos": sample.name, "photos_folder": str(bars.run(samples.keep_sample(sample.name)))}
        if not json:
            printing.line(f"{sample.title}: the pictures are here. Licence: {sample.licence}.")
    if json:
        printing.as_json(done)


def rehearse(*, json: Json = False) -> int:
    """Read the sample of "Show me", train and predict, twice: the first time prepares, the second is what people will see.

    Says how long each step takes on this machine, and what is missing. The exit code is 2 where something stands in the way of showing it.
    """
    from tl_core.runs import rehearsal

    with printing.Bars() as bars:
        report = rehearsal.rehearse(Store.default(), on_event=bars)
    if json:
        printing.as_json(report.model_dump(mode="json"))
    else:
        whole = [] if report.walk_seconds is None else [("Together", "", f"{report.walk_seconds:.1f} s")]
        printing.line(f"{report.title}, on {report.machine}")
        printing.table(["step", "first time", "next time"], [*report.table(), *whole])
        printing.line("What is missing:")
        for sentence in report.missing:
            printing.line(f"- {sentence}")
        if report.ready:
            printing.line(
                "Ready to be shown. Only a browser knows of its camera: Rehearse on the app's Home asks for it."
            )
    for step in report.steps:
        if step.log:
            printing.aside(f"{step.title}, the end of its log:")
            for text in step.log.splitlines():
                printing.aside(f"  {text}")
    for problem in report.problems:
        printing.aside(problem)
    return 0 if report.ready else _NOT_READY


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

    place = Store.default()
    if clear is None:
        if older_than is not None or yes:
            raise SpecError("--older-than and --yes belong to --clear.")
        printing.answer(overview(place), _tell, json=json)
        return
    # A workspace is removed while the locks of all its jobs are held.
    locks.allow_descriptors()
    _clear(place, clear, older_than, yes=yes, json=json)


def overview(place: Store) -> dict[str, Any]:
    """What `store --json` prints. Sizes are bytes, times seconds since the epoch; a limit of 0 is none."""
    from tl_core.data.cache import KINDS
    from tl_core.models.weights.downloaded import downloads

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
                "weights": f"{each.origin.network}:{each.origin.weights}",
                "bytes": each.bytes,
                "last_used": each.used,
                "in_use": each.in_use,
            }
            for each in weights
        ],
        "can_go": {
            name: {"count": len(removable), "bytes": sum(each.bytes for each in removable)}
            for name, removable in can_go.items()
        },
    }


def _tell(account: dict[str, Any]) -> None:

    disk, jobs = account["disk"], account["jobs"]
    printing.line(f"The store {account['store']}")
    printing.line(f"Free on its disk: {in_words(disk['free'])}, of which {in_words(disk['stays_free'])} stay free.")
    printing.line(f"Jobs: {', '.join(f'{count} {state}' for state, count in sorted(jobs.items())) or 'none at work'}.")
    printing.line()
    printing.table(
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
            for row in account["workspaces"]
        ],
    )
    printing.line(_limit("Each workspace", account["workspace_limit"]))
    printing.line()
    printing.table(
        ["cache", "entries", "size"],
        [[kind, str(row["entries"]), in_words(row["bytes"])] for kind, row in account["cache"].items()],
    )
    printing.line(f"The cache may take {in_words(account['cache_limit'])}.")
    printing.line()
    printing.table(
        ["downloaded weights", "size", "last used", "in use"],
        [
            [row["weights"], in_words(row["bytes"]), _moment(row["last_used"]), "yes" if row["in_use"] else "-"]
            for row in account["weights"]
        ],
    )
    printing.line(_limit("Downloaded weights", account["weights_limit"]))
    printing.line()
    printing.table(
        ["can go", "what", "count", "size"],
        [
            [
                f"--clear {name}",
                CLEARINGS[name].said(),
                str(row["count"]),
                in_words(row["bytes"]),
            ]
            for name, row in account["can_go"].items()
        ],
    )
    printing.line("A workspace goes with --clear and its digits.")


def _clear(place: Store, what: str, days: float | None, *, yes: bool, json: bool) -> None:
    """Raises InUse where jobs need all of it; SpecError, NotFound for what cannot be cleared."""

    if what in CLEARINGS:
        removable = CLEARINGS[what].now(place, days)
    elif days is not None:
        raise SpecError(f"--older-than belongs to --clear {', '.join(CLEARINGS)}.")
    else:
        removable = [workspace_of(place, what)]
    size = in_words(sum(each.bytes for each in removable))
    named = CLEARINGS[what].said(days) if what in CLEARINGS else f"workspace {removable[0].name}"
    if removable and not yes:
        if json or not sys.stdin.isatty():
            raise SpecError(f"This removes {len(removable)} ({named}), {size}, for good. Add --yes.")
        typer.confirm(f"Remove {len(removable)} ({named}), {size}, for good?", abort=True, err=True)
    removed: list[dict[str, Any]] = []
    staying = []
    for each in removable:
        try:
            each.remove()
        except InUse as error:
            staying.append({"what": each.name, "why": error.message})
        else:
            removed.append({"what": each.name, "bytes": each.bytes})
    if staying and not removed:
        raise InUse(staying[0]["why"])
    if json:
        printing.as_json({"removed": removed, "kept": staying})
        return
    printing.line(f"Removed: {len(removed)} ({named}), {in_words(sum(row['bytes'] for row in removed))}.")
    for row in staying:
        printing.line(f"{row['what']} stays: {row['why']}")


def _limit(what: str, limit: int) -> str:

    return f"{what} may take {in_words(limit)}." if limit else f"{what} may take any space."


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
