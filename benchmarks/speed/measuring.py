"""Runs commands one after another and keeps what came of them: wall seconds, memory of all their processes, what they printed."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS_BETWEEN = 0.2
"""Seconds between two measurements of the memory."""


@dataclass(frozen=True)
class Measured:
    """One command, from its start to its end."""

    seconds: float
    peak_mb: float
    """Largest memory of all its processes together at one time: anonymous pages, shared ones divided among their users (PSS)."""
    said: dict[str, Any]
    """The JSON that the command printed: the whole output, or its last line."""


def measure(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Measured:
    """Run `command` in the checkout; whatever it prints on stderr is shown if it fails.

    Raises:
        RuntimeError: it ended with an error.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **(env or {})}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    peak = _Peak(process.pid)
    out, err = process.communicate()
    seconds = time.perf_counter() - started
    peak.stop()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{out[-2000:]}\n{err[-4000:]}")
    return Measured(round(seconds, 3), round(peak.megabytes), _last_json(out))


class Kept:
    """Results by name in one JSON file, so that a long benchmark goes on where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.is_file() else {}

    def of(self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Measured:
        """What `command` gave when it was run under that name, or gives now."""
        if name not in self._found:
            print(f"{name} ...", flush=True)
            self.put(name, measure(command, env=env))
        return self.read(name)

    def has(self, *names: str) -> bool:
        return all(name in self._found for name in names)

    def read(self, name: str) -> Measured:
        return Measured(**self._found[name])

    def put(self, name: str, measured: Measured) -> None:
        found = self._found[name] = asdict(measured)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._found, indent=1))
        print(f"  {name}: {json.dumps(found)[:200]}", flush=True)


class _Peak:
    """Measures the memory of a process and its descendants until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SECONDS_BETWEEN):
            self.megabytes = max(self.megabytes, sum(_anonymous_mb(pid) for pid in _family(self._pid)))


def _family(pid: int) -> Iterator[int]:
    """`pid` and all its descendants, also those that are in a session of their own, as workers are."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    waiting = [pid]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += children.get(one, [])


def _anonymous_mb(pid: int) -> float:
    with suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _last_json(out: str) -> dict[str, Any]:
    text = out.strip()
    for start in (0, text.rfind("\n") + 1):
        with suppress(ValueError):
            found = json.loads(text[start:])
            if isinstance(found, dict):
                return found
    return {}


PYTHON = sys.executable
