"""Serves the app on an address: `python -m ui.server.listen HOST PORT`, which `python -m tl_core app` becomes."""

import math
import signal
import socket
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import Any

import uvicorn
from streamlit import config
from streamlit.web.bootstrap import load_config_options

from tl_core import locks, settings
from tl_core.errors import GraftError
from tl_core.runs.process.devices import detect_device
from tl_core.runs.process.executor import works_here
from ui.server.asgi import application
from ui.server_paths import keep_tokens_out_of_logs

GRACE = 5
"""Seconds that an answer which is being sent has left when the server is told to end."""


def options(host: str, port: int) -> dict[str, Any]:
    """Streamlit's options that follow from where the app listens and from the operator's settings."""
    return {
        "server.address": host,
        "server.port": port,
        "server.headless": True,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": max(1, math.ceil(settings.current().max_upload_mb)),
        # Inside the Space's iframe the browser sends no cookies, and without its cookie every upload is refused.
        "server.enableXsrfProtection": not settings.on_space(),
        "browser.gatherUsageStats": False,
        # Else errors of pages are printed past the log, with tokens and whatever strangers sent.
        "logger.enableRich": False,
    }


def uvicorn_options() -> dict[str, Any]:
    """uvicorn's options; Streamlit's must be loaded before."""
    return {
        # Headers about the visitor's address are believed from here only.
        "forwarded_allow_ips": list(settings.current().proxies),
        "ws": "websockets-sansio",
        # Streamlit refuses larger messages from a browser, but only once they are in memory. The state of a chooser with as many files as
        # a data set may have takes about 15 MB.
        "ws_max_size": config.get_option("server.maxWidgetStateSize") * 1_000_000 + 1,
        "ws_ping_interval": 30,
        "ws_ping_timeout": 30,
        "ssl_certfile": config.get_option("server.sslCertFile"),
        "ssl_keyfile": config.get_option("server.sslKeyFile"),
        "timeout_graceful_shutdown": GRACE,
        "access_log": False,
        "server_header": False,
        "log_level": "warning",
    }


def main(host: str, port: int) -> None:
    keep_tokens_out_of_logs()
    locks.allow_descriptors()
    load_config_options(options(host, port))
    if works_here():
        # The answer is known from now on, so that no page waits while a card is tried.
        detect_device()
    # uvicorn ends in good order and then raises the signal once more; that is no failure.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        app = application()
    except GraftError as error:
        sys.exit(error.message)
    server = _Server(uvicorn.Config(app, host=host, port=port, **uvicorn_options()))
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(1)


class _Server(uvicorn.Server):
    """Says what to open once it answers, and then makes ready for the first page."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(f"Graft is ready; Ctrl-C ends it. Open:\n\n    {address()}\n", file=sys.stderr, flush=True)
            # What the first page takes half a second to import, while the browser is still being opened. By its name: this room stands below the pages.
            threading.Thread(target=import_module, args=("ui.home",), daemon=True).start()


def address() -> str:
    """What to open in a browser on this machine; Streamlit's options must be loaded before."""
    host, port = config.get_option("server.address"), config.get_option("server.port")
    scheme = "https" if config.get_option("server.sslCertFile") else "http"
    base = (config.get_option("server.baseUrlPath") or "").strip("/")
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}" + (f"/{base}" if base else "")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
