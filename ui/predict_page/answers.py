"""The answers of the Predict page: pictures that somebody brings or takes from the held-out ones, and the cards that show what they are called."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image
from streamlit.runtime.uploaded_file_manager import UploadedFile

from tl_core.data.pixels import read_bytes
from tl_core.documents.manifest import ImageEntry, SplitRecord
from tl_core.errors import BundleError, UnreadableImage
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from ui import actions, classifier, drawing, grids
from ui.places import touring
from ui.taking import take_pictures
from ui.words import percent, plain, plural, short, sureness

MOST = 40
"""The most pictures at a time; the command line takes more."""
_CLASSES_SHOWN = 12
"""The most classes that are shown while there are no answers."""
_SIDE = 320
"""The longest side of the copy that is shown, in pixels."""


@dataclass(frozen=True)
class Named:
    """One picture and the answer to it."""

    name: str
    shown: bytes
    """A small copy as a JPEG; empty if the picture could not be read."""
    pixels: bytes
    """The input of the network as a PNG; empty if the picture could not be read."""
    answer: dict[str, Any]
    """The answer in the form that `predict --json` prints."""
    truth: str | None
    """The true class of a held-out picture; None for a new one."""


@dataclass
class Answers:
    """The pictures that one run classified in this session, the newest first."""

    run: str
    named: list[Named] = field(default_factory=list)
    milliseconds: float = 0.0
    """The time per picture of the last batch, decoding included."""


def answers(run: RunFolder) -> Answers:
    """The answers that `run` gave in this session."""
    answered: Answers | None = st.session_state.get("answers")
    if answered is None or answered.run != run.id:
        answered = st.session_state["answers"] = Answers(run.id)
    return answered


def ask(run: RunFolder, items: Sequence[tuple[str, bytes, str | None]]) -> None:
    """Classify pictures, given as (display name, file content, true class or None); one that gets no answer gets an error.

    Raises:
        LimitReached, NotFound, BundleError: as `classifier.lent`.
    """
    answered = answers(run)
    shown: dict[bytes, tuple[bytes, bytes]] = {}
    with classifier.lent(run) as lent:
        start = time.monotonic()

        def read(source: bytes | Path, size: int, interpolation: str) -> NDArray[np.uint8]:
            if lent.late:
                raise _late()
            content = read_bytes(source)
            made = lent.decoders.make_input(content, size, interpolation, shown=_SIDE)
            shown[content] = (made.shown, grids.png(Image.fromarray(made.pixels)))
            return made.pixels

        results: list[dict[str, Any]] = []
        try:
            for answer in lent.model.answers([content for _, content, _ in items], read=read):
                results.append(answer)
        except BundleError:
            if not lent.late:
                raise
        answered.milliseconds = (time.monotonic() - start) * 1000 / max(1, len(items))
    results += [{"error": {"message": _late().message}}] * (len(items) - len(results))
    fresh = [
        Named(short(name), *shown.get(content, (b"", b"")), answer, truth)
        for (name, content, truth), answer in zip(items, results, strict=True)
    ]
    answered.named = (fresh + answered.named)[: 2 * MOST]


def _late() -> UnreadableImage:
    words = f"The pictures before this one took {classifier.LONGEST:g} s, so it got no answer. Bring fewer at a time."
    return UnreadableImage(words, "too_costly")


def bring(run: RunFolder) -> None:
    """The controls that take pictures: a file chooser and the camera, which a tour switches on."""
    take_pictures("Pictures that you bring", "predict", partial(_take, run), camera=touring() is not None)


def _take(run: RunFolder, files: list[UploadedFile]) -> None:
    asked = files[:MOST]
    ask(run, [(file.name, file.getvalue(), None) for file in asked])
    _tell(answers(run).named[: len(asked)])
    if len(files) > MOST:
        actions.refuse(
            f"{len(files)} pictures were dropped; the first {MOST} were named. For many, use the command line."
        )


def offer_held_out(run: RunFolder, dataset: DatasetFolder) -> list[ImageEntry]:
    """A few held-out pictures of `dataset` with a button below them; those pictures once it was pressed, else none.

    Raises:
        NotFound, DocumentError: the run's report is missing or damaged.
    """
    key, asked = f"held-out-{run.id}", f"held-out-asked-{run.id}"
    if key not in st.session_state:
        st.session_state[key] = held_out(run, dataset)
    offered: list[ImageEntry] = st.session_state[key]

    def take() -> None:
        st.session_state[asked], st.session_state[key] = offered, held_out(run, dataset)

    with st.container(border=True):
        st.markdown("**Or test pictures of yours**, which it never learned from (held out)")
        grids.strip(
            [dataset.thumbnail(image) for image in offered],
            alt=plural(len(offered), "test picture"),
            places=max(1, len(offered)),
        )
        st.button("Try three test pictures", icon=":material/casino:", key="held-out", on_click=take)
    taken: list[ImageEntry] = st.session_state.pop(asked, [])
    return taken


def held_out(run: RunFolder, dataset: DatasetFolder, number: int = 3) -> list[ImageEntry]:
    """A few pictures of the test split of `run`, chosen at random; if there are others, none that shows what was learned from."""
    manifest = dataset.manifest()
    rows = [answer.row for answer in run.report().answers]
    record = SplitRecord.read(run.split_file)
    groups, learned = record.group_of, record.learned_groups()
    rows = [row for row in rows if groups.get(manifest.images[row].sha256) not in learned] or rows
    chosen = np.random.default_rng().choice(rows, size=min(number, len(rows)), replace=False)
    return [manifest.images[int(row)] for row in chosen]


def ask_about(run: RunFolder, dataset: DatasetFolder, images: Sequence[ImageEntry]) -> None:
    """Classify pictures of `dataset`, whose true classes are shown beside the answers. Raises as `ask`."""
    classes = dataset.manifest().classes
    ask(run, [(image.name, dataset.image(image).read_bytes(), classes[image.label]) for image in images])
    _tell(answers(run).named[: len(images)])


def _tell(fresh: Sequence[Named]) -> None:
    """Say in passing what was answered: on a phone the answers stand below what is seen, and a screen reader reads this out."""
    answer = fresh[0].answer
    if len(fresh) > 1:
        sentence = f"{len(fresh)} pictures are answered."
    elif "error" in answer:
        return
    elif not answer.get("sure", True):
        sentence = "Not sure."
    else:
        sentence = f"**{plain(answer['label'])}**: {sureness(answer['probability'])}, {percent(answer['probability'])}"
    st.toast(sentence, icon=":material/center_focus_strong:")


def what_to_do(run: RunFolder, dataset: DatasetFolder | None) -> None:
    """What stands in place of answers as long as there are none: which classes it tells apart, and what will be said of a picture.

    Raises:
        NotFound, DocumentError: neither the data set nor the run's report can be read.
    """
    manifest = dataset.manifest() if dataset else None
    classes = manifest.classes if manifest else run.report().classes
    shown = classes[:_CLASSES_SHOWN]
    more = f" and {len(classes) - len(shown):,} more" if len(classes) > len(shown) else ""
    st.header(f"It tells {plural(len(classes), 'class', 'classes')} apart", anchor=False)
    st.markdown(
        "Bring a picture, or take one with the camera. Here you read what it is taken for and how sure that is, and **Why?** shows "
        "where in the picture the evidence lies. Also a picture of something else gets one of these names."
    )
    if dataset is None or manifest is None:
        st.markdown(f"**{', '.join(plain(name, longest=30) for name in shown)}**{more}")
        return
    first = {image.label: image for image in reversed(manifest.images)}
    with st.grid("auto", min_column_width=104, gap="small") as tiles:
        for label, name in enumerate(shown):
            with tiles.cell(), st.container(gap="xxsmall", horizontal_alignment="center"):
                if label in first:
                    grids.strip([dataset.thumbnail(first[label])], alt=f"a picture of {name}", places=1)
                st.markdown(f"**{plain(name, longest=24)}**")
    if more:
        st.caption(more.strip())


def show(kept: Answers, explain: Callable[[Named], None]) -> None:
    """Every picture with its answer, the bars of the likeliest classes, and how sure the answer is in words.

    A button under each calls `explain`.
    """
    if not kept.named:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header("Answers", anchor=False, width="stretch")
        st.button("Clear", icon=":material/clear_all:", type="tertiary", on_click=kept.named.clear)
    st.caption(f"{kept.milliseconds:.0f} ms a picture")
    place, shown = grids.paged(kept.named, key="answers", page_size=12)
    with place, st.grid("auto", min_column_width=300, gap="small", border=True) as tiles:
        for named in shown:
            with tiles.cell():
                _card(named, explain)


def _card(named: Named, explain: Callable[[Named], None]) -> None:
    answer = named.answer
    if "error" in answer:
        st.error(
            f"{plain(named.name)}: {plain(answer['error']['message'], longest=400)}", icon=":material/broken_image:"
        )
        return
    withheld = not answer.get("sure", True)
    spoken = "not sure" if withheld else f"called {short(answer['label'])}"
    st.image(named.shown, width="stretch", alt=f"{named.name}, {spoken}")
    word = "not sure" if withheld else sureness(answer["probability"])
    colour = {"sure": "green", "fairly sure": "blue", "not sure": "orange"}[word]
    st.markdown(f"### {'Not sure' if withheld else plain(answer['label'])}", anchors=False)
    likely, sure = plain(answer["label"], longest=30), percent(answer["probability"])
    how_sure = (
        f"{sure} for {likely}, less than this classifier is to answer with."
        if withheld
        else f":{colour}-badge[{word}] {sure}"
    )
    if word == "not sure" and len(answer["top"]) > 1:
        how_sure = f"{how_sure.removesuffix('.')}. It could be {plain(answer['top'][1]['label'], longest=30)}, too."
    st.markdown(how_sure)
    if named.truth is not None:
        right = named.truth == answer["label"]
        sign = (
            f":gray[no answer; it is {plain(named.truth, longest=30)}]"
            if withheld
            else ":green[:material/check: right]"
            if right
            else f":orange[:material/close: wrong, it was {plain(named.truth, longest=30)}]"
        )
        st.markdown(f"Never seen in training: {sign}")
    top = answer["top"]
    st.html(drawing.answer_bars([entry["label"] for entry in top], [entry["probability"] for entry in top]))
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.caption(plain(named.name), width="content")
        st.button(
            "Why?",
            key=f"why-{id(named)}",
            icon=":material/troubleshoot:",
            type="tertiary",
            help=f"Where in {plain(named.name)} the evidence lies",
            on_click=explain,
            args=(named,),
        )
