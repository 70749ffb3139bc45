"""`app`, `demo`, `prepare`, `rehearse`: what make and the container call, and what one calls before others see Graft."""

import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from tl_core import api
from tl_core.cli import show
from tl_core.cli import train as training
from tl_core.cli.parameters import Json
from tl_core.errors import NotFound, SpecError

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
    from tl_core import settings
    from tl_core.runs.process.devices import unusable_gpu
    from tl_core.runs.process.executor import works_here
    from tl_core.runs.store.store import Store
    from tl_core.runs.store.sweep import sweep

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
        show.aside(unused)
    if json:
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
        show.as_json({"url": f"http://{shown}:{port}", "store": str(settings.store_folder())})
        # The server's own messages must not follow the JSON.
        os.dup2(2, 1)
    else:
        show.aside(f"Graft is starting. It keeps its data in {settings.store_folder()}.")
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
    from tl_core import settings
    from tl_core.runs.process import executor

    settings.check(executor.chosen, _check_login)
    return [sys.executable, "-m", "ui.server.listen", host, str(port)]


def _check_login() -> None:
    """Raises SpecError where GRAFT_LOGIN=openid cannot work: without its packages, or without the provider's entry."""
    from tl_core import settings

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
        show.aside(f"Training on the sample {row.title}: {row.images:,} pictures of {row.classes} classes.")
    with show.Bars() as bars:
        result = api.train(f"sample:{row.name}", on_event=bars)
    if json:
        show.as_json(result)
        return
    training.tell(result)
    show.line(f"Try it: {sys.executable} -m tl_core predict {result['run_dir']} PICTURE")


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
    from tl_core.runs.store.store import Store

    row, store = network(DEFAULT_NETWORK), Store.default()
    with show.Bars() as bars:
        folder = bars.run(exported_backbone(row, row.default_weights, row.weights_row().input_size, store.cache))
    time_processor(folder)
    done = {"backbone": row.name, "folder": str(folder)}
    if not json:
        show.line(f"{row.name} is ready.")
    if photos:
        sample = samples.smallest_photos()
        with show.Bars() as bars:
            done |= {"photos": sample.name, "photos_folder": str(bars.run(samples.keep_sample(sample.name)))}
        if not json:
            show.line(f"{sample.title}: the pictures are here. Licence: {sample.licence}.")
    if json:
        show.as_json(done)


def rehearse(*, json: Json = False) -> int:
    """Read the sample of "Show me", train and predict, twice: the first time prepares, the second is what people will see.

    Says how long each step takes on this machine, and what is missing. The exit code is 2 where something stands in the way of showing it.
    """
    from tl_core.runs import rehearsal
    from tl_core.runs.store.store import Store

    with show.Bars() as bars:
        report = rehearsal.rehearse(Store.default(), on_event=bars)
    if json:
        show.as_json(report.model_dump(mode="json"))
    else:
        whole = [] if report.walk_seconds is None else [("Together", "", f"{report.walk_seconds:.1f} s")]
        show.line(f"{report.title}, on {report.machine}")
        show.table(["step", "first time", "next time"], [*report.table(), *whole])
        show.line("What is missing:")
        for sentence in report.missing:
            show.line(f"- {sentence}")
        if report.ready:
            show.line("Ready to be shown. Only a browser knows of its camera: Rehearse on the app's Home asks for it.")
    for step in report.steps:
        if step.log:
            show.aside(f"{step.title}, the end of its log:")
            for text in step.log.splitlines():
                show.aside(f"  {text}")
    for problem in report.problems:
        show.aside(problem)
    return 0 if report.ready else _NOT_READY
