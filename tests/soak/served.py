"""The app as `python -m tl_core app` serves it, in a process that the campaign can measure and kill."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.soak import ground as look
from tests.soak.ground import PROJECT, Ground


@dataclass
class App:
    """The served app and its process."""

    process: subprocess.Popen[bytes]
    address: str
    log: Path

    def memory(self) -> tuple[float, float]:
        """Resident memory of the app and of all its decoders, megabytes."""
        children = look.descendants(self.process.pid)
        decoders = [child for child in children if look.kind(look.command(child)) == "decoder"]
        return look.resident(self.process.pid), sum(map(look.resident, decoders))

    def processor_seconds(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system


@contextmanager
def serving(ground: Ground) -> Iterator[App]:
    """The app on a free port of this machine, with the settings that are its defaults."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = ground.root / "app.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tl_core", "app", "--port", str(port)],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    app = App(process, f"http://127.0.0.1:{port}", log)
    try:
        deadline = time.monotonic() + look.PATIENCE
        while not _answers(app):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The app did not start: {log.read_text()[-1_500:]}")
            time.sleep(0.1)
        yield app
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(app: App) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{app.address}/_stcore/health").status_code == 200
    return False
