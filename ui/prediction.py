"""Classifies new pictures in the app process with the bundle of a run, and shows the answers.

All users share one open predictor, which is never changed; that of another run replaces it. Child processes decode the pictures: a
workspace that asks has a few of them for itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from streamlit.runtime.uploaded_file_manager import UploadedFile

from tl_core.data.guarded import Pool, Pools
from tl_core.data.pixels import read_bytes
from tl_core.data.split import assign
from tl_core.errors import GraftError, LimitReached, NotFound, UnreadableImage
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.serving.bundle import read_bundle
from tl_core.serving.bundle_files import ONNX
from tl_core.serving.graph_check import Ends, check_graph
from tl_core.serving.predictor import Predictor
from ui import drawing, grids
from ui.taking import take_pictures
from ui.words import percent, plain, short, sureness

MOST = 40
"""The most pictures at a time; the command line takes more."""
_SIDE = 320
"""The longest side of the copy that is shown, in pixels."""
_PATIENCE = 10.0
"""Seconds that a workspace waits while others ask."""
_LONGEST = 60.0
"""Seconds after which no further picture is decoded for a workspace, so that others get their turn."""
_POOLS = Pools([Pool(2) for _ in range(4)])
"""As many workspaces can ask at the same time, each with decoders of its own; a decoder takes 40 MB."""


@dataclass(frozen=True)
class Named:
    """One picture and the answer to it."""

    name: str
    shown: bytes
    """A small copy as a JPEG; empty if the picture could not be read."""
    answer: dict[str, Any]
    """The answer in the form that `predict --json` prints."""
    truth: str | None = None
    """The true class of a held-out picture; None for a new one."""


@dataclass
class Answers:
    """The pictures that one run classified in this session, the newest first."""

    run: str
    named: list[Named] = field(default_factory=list)
    milliseconds: float = 0.0
    """The time per picture of the last batch, decoding included."""


@st.cache_resource(max_entries=1, show_spinner="Opening the classifier")
def _predictor(folder: str, version: float) -> Predictor:
    return Predictor(read_bundle(Path(folder), check=lambda graph, ends: _check(graph, version, ends)))


@lru_cache(maxsize=1000)
def _check(graph: Path, version: float, ends: Ends) -> None:
    """Check the graph of a bundle once, as long as it does not change: that takes as long as opening it."""
    del version  # part of the cache's key
    check_graph(graph, ends)


def predictor(run: RunFolder) -> Predictor:
    """The open predictor of the run's bundle. Raises NotFound if there is no bundle."""
    try:
        moment = (run.bundle / ONNX).stat().st_mtime
    except FileNotFoundError:
        raise NotFound("This run has no bundle. Train again, or choose another run.") from None
    return _predictor(str(run.bundle), moment)


def answers(run: RunFolder) -> Answers:
    """The answers that `run` gave in this session."""
    kept: Answers | None = st.session_state.get("answers")
    if kept is None or kept.run != run.id:
        kept = st.session_state["answers"] = Answers(run.id)
    return kept


def ask(run: RunFolder, items: Sequence[tuple[str, bytes, str | None]]) -> None:
    """Classify pictures, given as (display name, file content, true class or None); one that cannot be read gets an error.

    Raises:
        LimitReached: too many others ask.
        NotFound: the run has no bundle.
    """
    kept = answers(run)
    model = predictor(run)
    shown: dict[bytes, bytes] = {}
    with _POOLS.lent(run.spec().workspace, _PATIENCE) as pool:
        if pool is None:
            raise LimitReached("Others are asking at this moment. Nothing here is lost: try again in a moment.")
        start = time.perf_counter()

        def read(source: bytes | Path, size: int, interpolation: str) -> NDArray[np.uint8]:
            if time.perf_counter() - start > _LONGEST:
                raise UnreadableImage(
                    f"The pictures before this one took {_LONGEST:g} s. Bring it again without them.", "too_costly"
                )
            content = read_bytes(source)
            made = pool.make_input(content, size, interpolation, shown=_SIDE)
            shown[content] = made.shown
            return made.pixels

        said = model.predict([content for _, content, _ in items], read=read)
        kept.milliseconds = (time.perf_counter() - start) * 1000 / max(1, len(items))
    fresh = [
        Named(short(name), shown.get(content, b""), answer, truth)
        for (name, content, truth), answer in zip(items, said, strict=True)
    ]
    kept.named = (fresh + kept.named)[: 2 * MOST]


def bring(run: RunFolder) -> None:
    """The controls that take pictures: a file chooser and the camera."""
    take_pictures("Pictures", "predict", partial(_take, run))


def _take(run: RunFolder, files: list[UploadedFile]) -> None:
    if len(files) > MOST:
        st.session_state["predict-problem"] = (
            f"{len(files)} pictures were dropped; the first {MOST} were named. For many, use the command line."
        )
    try:
        ask(run, [(file.name, file.getvalue(), None) for file in files[:MOST]])
    except GraftError as error:
        st.session_state["predict-problem"] = error.message
        if isinstance(error, LimitReached):
            raise


def held_out(run: RunFolder, dataset: DatasetFolder, number: int = 3) -> list[tuple[str, bytes, str | None]]:
    """A few pictures of the test split of `run`, chosen at random, as `ask` takes them."""
    manifest = dataset.manifest()
    rows = np.flatnonzero(assign(manifest, run.spec().seed) == "test")
    chosen = np.random.default_rng().choice(rows, size=min(number, len(rows)), replace=False)
    images = [manifest.images[int(row)] for row in chosen]
    return [(image.name, dataset.image(image).read_bytes(), manifest.classes[image.label]) for image in images]


def show(kept: Answers) -> None:
    """Every picture with its answer, the bars of the likeliest classes, and how sure the answer is in words."""
    if not kept.named:
        return
    st.caption(f"{kept.milliseconds:.0f} ms a picture")
    place, shown = grids.paged(kept.named, key="answers", page_size=12)
    with place, st.grid("auto", min_column_width=300, gap="small", border=True) as tiles:
        for named in shown:
            with tiles.cell():
                _card(named)


def _card(named: Named) -> None:
    answer = named.answer
    if "error" in answer:
        st.error(
            f"{plain(named.name)}: {plain(answer['error']['message'], longest=400)}", icon=":material/broken_image:"
        )
        return
    st.image(named.shown, width="stretch", alt=f"{named.name}, called {short(answer['label'])}")
    word = sureness(answer["probability"])
    colour = {"sure": "green", "fairly sure": "blue", "not sure": "orange"}[word]
    st.markdown(f"### {plain(answer['label'])}", anchors=False)
    sentence = f":{colour}-badge[{word}] {percent(answer['probability'])}"
    if word == "not sure" and len(answer["top"]) > 1:
        sentence += f", it could be {plain(answer['top'][1]['label'], longest=30)}, too"
    st.markdown(sentence)
    if named.truth is not None:
        right = named.truth == answer["label"]
        sign = (
            ":green[:material/check: right]"
            if right
            else f":orange[:material/close: wrong, it was {plain(named.truth, longest=30)}]"
        )
        st.markdown(f"Never seen in training: {sign}")
    top = answer["top"]
    st.html(drawing.answer_bars([entry["label"] for entry in top], [entry["probability"] for entry in top]))
    st.caption(plain(named.name))
