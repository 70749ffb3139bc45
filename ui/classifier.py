"""The classifier of a run, open in the app's process, and who may ask it: one workspace's pictures never hold up those of others for long.

All users share one open classifier, which is never changed; that of another run replaces it. Child processes decode the pictures: a
workspace that asks has a few of them for itself. The network runs in the app process, so its memory and its time are limited: a large
classifier takes fewer pictures at once, and one workspace at a time asks such a one.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from tl_core.data.guarded import Pool, Pools
from tl_core.data.pace import in_order
from tl_core.disk import read_once
from tl_core.errors import LimitReached, NotFound, UnreadableImage
from tl_core.models.graphs.rules import BATCH
from tl_core.runs.store.folders import RunFolder
from tl_core.serving.bundle import Bundle, read_bundle, read_info
from tl_core.serving.bundle_files import INFO, ONNX
from tl_core.serving.onnx_graph import OnnxSession, check_graph, too_long
from tl_core.serving.predictor import Predictor

_PATIENCE = 10.0
"""Seconds that a workspace waits while others ask."""
LONGEST = 60.0
"""Seconds after which a workspace gets no further answer, so that others get their turn."""
_ARRAYS = 100_000_000
"""Bytes of the arrays between two operators up to which pictures go through the network together."""
_LARGE = 300_000_000
"""Bytes of memory above which a classifier is asked by one workspace at a time."""
_ONE_LARGE = threading.Lock()
_OPENING = threading.Lock()
"""Held while a classifier is opened: several at once would take no less time, and glibc would keep twice the memory after them."""
_DECODERS = 2
_POOLS = Pools([Pool(_DECODERS) for _ in range(4)])
"""As many workspaces can ask at the same time, each with decoders of its own; a decoder takes 40 MB."""
_check = read_once(1000)(check_graph)
"""Checks a graph once, as long as it does not change: that takes as long as opening it."""


@dataclass(frozen=True)
class _Opened:
    """A bundle that is open."""

    bundle: Bundle
    session: OnnxSession
    batch: int
    """Pictures that go through the network together."""
    memory: int
    """Bytes that the network takes while it runs."""


@dataclass(frozen=True)
class _UntilThen:
    """The graph of a classifier, for one question that has to end."""

    session: OnnxSession
    end: float
    """On the clock `time.monotonic`, seconds."""

    def run(self, outputs: Sequence[str], batch: NDArray[np.uint8], *, last: bool) -> list[NDArray[np.float32]]:
        """As `OnnxSession.run`. Raises BundleError also where the time is up."""
        if not len(batch):
            # This gives back memory, which takes no time.
            return self.session.run(outputs, batch, last=last)
        left = self.end - time.monotonic()
        if left <= 0:
            raise too_long(LONGEST, len(batch))
        return self.session.run(outputs, batch, last=last, longest=left)


@dataclass(frozen=True)
class Lent:
    """The classifier of a run, for one question of a workspace."""

    model: Predictor
    decoders: Pool
    end: float
    """On the clock `time.monotonic`, seconds."""

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() >= self.end


@contextmanager
def lent(run: RunFolder) -> Iterator[Lent]:
    """The classifier of `run` with decoders, for one question.

    Raises:
        LimitReached: too many others ask.
        NotFound: the run has no bundle.
        BundleError: its bundle cannot be used.
    """
    with ExitStack() as held:
        decoders = held.enter_context(_POOLS.lent(run.spec().workspace, _PATIENCE))
        if decoders is None:
            raise _busy()
        opened = _open(run, held)
        # The threshold may have changed since the classifier was opened.
        bundle, end = replace(opened.bundle, info=read_info(run.bundle / INFO)), time.monotonic() + LONGEST
        yield Lent(Predictor(bundle, _UntilThen(opened.session, end), batch=opened.batch), decoders, end)


def _open(run: RunFolder, held: ExitStack) -> _Opened:
    """The classifier of the run; until `held` ends, and while it is a large one, no other workspace has such a one."""
    try:
        graph = (run.bundle / ONNX).stat()
    except FileNotFoundError:
        raise NotFound("This run has no bundle. Train again, or choose another run.") from None
    if graph.st_size > _LARGE:
        held.enter_context(_alone(_ONE_LARGE))
    with _alone(_OPENING):
        opened = _opened(str(run.bundle), graph.st_mtime)
    if graph.st_size <= _LARGE < opened.memory:
        held.enter_context(_alone(_ONE_LARGE))
    return opened


@st.cache_resource(max_entries=1, show_spinner="Opening the classifier")
def _opened(folder: str, version: float) -> _Opened:
    # `version` is part of the cache's key alone.
    sizes: list[int] = []
    bundle = read_bundle(Path(folder), check=lambda graph, ends: sizes.append(_check(graph, ends)))
    arrays, weights = sizes[0], bundle.onnx.stat().st_size
    batch = min(BATCH, max(1, BATCH * _ARRAYS // arrays))
    # ONNX Runtime takes memory in powers of two.
    return _Opened(bundle, OnnxSession(bundle.onnx), batch, weights + 2 * arrays * batch // BATCH)


@contextmanager
def _alone(lock: threading.Lock) -> Iterator[None]:
    if not lock.acquire(timeout=_PATIENCE):
        raise _busy()
    try:
        yield
    finally:
        lock.release()


def _busy() -> LimitReached:
    return LimitReached("Others are asking at this moment. Nothing here is lost: try again in a moment.")


@cache
def get_ready() -> None:
    """Start the decoders of one workspace in the background, so that the first question need not wait for them."""
    threading.Thread(target=_start_decoders, daemon=True).start()


def _start_decoders() -> None:
    # A decoder starts when it gets something to decode; it refuses this.
    with _POOLS.lent("", 0) as pool, suppress(UnreadableImage):
        if pool:
            list(in_order(lambda _: pool.make_input(b"", 1, "bilinear"), _DECODERS))
