"""Where jobs run: what an executor does, which ones there are, and which one is used (the setting GRAFT_EXECUTOR)."""

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast, runtime_checkable

from tl_core import locks, settings
from tl_core.disk import disk_full_said
from tl_core.documents.events import Outlook
from tl_core.documents.options import Device
from tl_core.errors import SpecError, UnknownName
from tl_core.runs.process.devices import DEVICES, devices_here, resolve_device
from tl_core.runs.process.local import LocalProcesses
from tl_core.runs.store.job_folder import JobFolder


@runtime_checkable
class Executor(Protocol):
    """Runs each job as `python -P -m tl_core.runs.worker` in the job's folder, with GRAFT_STORE set, on a machine that sees the store.

    The path of the folder holds the token of a workspace, so it stands in no argument and no variable of any process. `-P` keeps
    Python from importing what lies in it.

    The worker itself takes the locks of its job, waits for its turn on the device, and writes what becomes of the job into
    the folder. While it works, the folder's lock is held; before that, the executor knows about the job.

    An executor whose workers run on the machine of the app has the attribute `here = True`. Then a device that the machine
    lacks is refused before a job is made; otherwise only the worker judges the device, also that of a task. What the
    app expects before that (the time, what `auto` and the default strategy come to) is always computed for its own machine.
    """

    def submit(self, job: JobFolder, *, store: Path) -> None:
        """Accept `job`, whose store is `store`, to be run once. Raises GraftError or OSError where that cannot be done."""

    def cancel(self, job: JobFolder) -> None:
        """Stop `job`, and wait for at most 2 seconds. The file `cancel` in the folder has asked its worker to stop already.

        A run that the worker of a race has at work was never submitted by itself: there is nothing to stop but that file.
        """

    def alive(self, job: JobFolder) -> bool:
        """Whether `job` waits or runs. It is asked every few seconds about a job that no worker has taken yet."""

    def log(self, job: JobFolder, tail_bytes: int = 20_000) -> str:
        """The end of what was logged about `job`."""


EXECUTORS: Mapping[str, Callable[..., Executor]] = MappingProxyType({"local": LocalProcesses})
"""By the name that GRAFT_EXECUTOR gives. A new one is a class in a module beside `local`, and a row here. What follows a colon
in the setting (`NAME:HOST`, say) is its argument."""


ASK_EVERY = 3.0
"""Seconds between two questions to an executor about a job that waits: on a cluster, each is a command."""
_asked: dict[JobFolder, float] = {}
"""When the executor was last asked about a job, on the monotonic clock."""


def chosen() -> Executor:
    """The executor that GRAFT_EXECUTOR names.

    Raises:
        UnknownName: it is neither in the table nor of the form MODULE:CLASS.
        SpecError: there is no such class, or it is no executor.
    """
    return _named(settings.current().executor)


@cache
def _named(name: str) -> Executor:
    first, colon, rest = name.partition(":")
    if not colon and name not in EXECUTORS:
        raise UnknownName.among("executor (setting GRAFT_EXECUTOR)", name, (*EXECUTORS, "MODULE:CLASS"))
    try:
        row = EXECUTORS.get(first)
        made = row(*filter(None, [rest])) if row else getattr(import_module(first), rest)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise SpecError(f"GRAFT_EXECUTOR is {name!r}, which cannot be used: {error}.") from error
    if not isinstance(made, Executor):
        raise SpecError(f"GRAFT_EXECUTOR is {name!r}, which is no executor: it needs submit, cancel, alive and log.")
    return made


def works_here() -> bool:
    """Whether jobs run on this machine."""
    return bool(getattr(chosen(), "here", False))


def known_device(wanted: str) -> Device:
    """`wanted` as far as it is known before the job runs: what it stands for here, or itself if jobs run elsewhere.

    Raises:
        UnknownName: it is no device.
        DeviceError: jobs run on this machine, which does not have it.
    """
    return resolve_device(wanted) if works_here() or wanted not in DEVICES else cast(Device, wanted)


def offered_devices() -> tuple[str, ...]:
    """What a user can choose as the device of a run: every one that works here; if jobs run elsewhere, any."""
    return ("auto", *devices_here()) if works_here() else DEVICES


def hand_over(
    job: JobFolder, claim: int, *, store: Path, expected: Outlook | None = None, undo: Callable[[], None] | None = None
) -> None:
    """Submit `job`, with what is `expected` of it, and release `claim`, the right to submit it (`JobFolder.claim`).

    If that cannot be written, the executor refuses the job or the setting names none, `undo` is called before anybody else can claim
    the job; without `undo`, its folder is removed.

    Raises:
        DiskFull: no space is left for that, or for what the executor writes, such as a place in a queue.
    """
    try:
        with disk_full_said("a new job"):
            if expected is not None:
                expected.write(job.expected_file)
            chosen().submit(job, store=store)
            # A file `submitted` that is not empty marks the job as waiting. A worker that has taken the job removed the file.
            if os.fstat(claim).st_nlink:
                os.write(claim, b"accepted")
    except BaseException:
        # The folder may be one that its owner has mounted, and cannot be removed then.
        with suppress(OSError):
            (undo or job.discard)()
        raise
    finally:
        locks.release([claim])


def cancel(job: JobFolder) -> None:
    """Stop `job`, if it waits or runs; it ends as cancelled. Of a race, all runs that have not ended do.

    A run that waits in a race ends at once, and one that a race has at work at its next event; the race goes on.
    """
    if not job.alive():
        return
    for each in (*job.parts(), job):
        if each.alive():
            each.cancel_file.touch()
    if job.waits_in is None:
        chosen().cancel(job)
    _withdraw(job)


def forget_lost(job: JobFolder) -> None:
    """If `job` waits in an executor that does not know it any more, note that it does not wait: it was interrupted.

    The executor is asked at most once in `ASK_EVERY` seconds. It does not know a run that waits in a race, which waits as long as that
    is alive.
    """
    now = time.monotonic()
    if job.waits() and job.waits_in is None and now - _asked.get(job, -ASK_EVERY) >= ASK_EVERY:
        _asked[job] = now
        _withdraw(job, _lost)


def _lost(job: JobFolder) -> bool:
    try:
        return not chosen().alive(job)
    except Exception:  # noqa: BLE001 - an executor that cannot answer has not lost the job, whatever it raises
        return False


def _withdraw(job: JobFolder, only_if: Callable[[JobFolder], bool] = JobFolder.waits) -> None:
    """Note that `job` does not wait any more, unless somebody submits it just now, a worker has it, or `only_if` is false."""
    try:
        claim = locks.take(job.submitted) if job.waits() else None
    except FileNotFoundError:
        return
    if claim is None:
        return
    try:
        lost = os.fstat(claim).st_size and only_if(job)
        # A worker may have taken the job while the executor was asked; then the file is another one, or gone.
        if lost and not locks.held(job.lock) and os.fstat(claim).st_nlink:
            job.submitted.unlink(missing_ok=True)
    finally:
        locks.release([claim])
