"""Why a run says so of one picture: a dialog on Evaluate and on Predict.

It shows where the evidence for a class lies, what hiding a part of the picture does to the answer, and the most similar pictures that the
run learned from. The session holds which picture it is about, so that the dialog stays open when the page runs again.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tl_core.data.pixel_arrays import read_copy
from tl_core.data.reading import enlarged
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.manifest import SplitRecord
from tl_core.documents.report import ImageAnswer
from tl_core.documents.tasks import BROUGHT, EvidenceSpec, PictureEvidence
from tl_core.errors import DocumentError, GraftError, NotFound
from tl_core.evaluation.metrics import probabilities
from tl_core.evaluation.nearest import Near, nearest
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.tasks.subject import task_about
from tl_core.serving import heatmaps
from tl_core.serving.bundle_files import INFO
from tl_core.serving.inspection import read_info
from ui import asking, grids, prediction
from ui.evaluate_page.results import Result
from ui.places import Here, pictures_of
from ui.words import file_stem, percent, plain, short

_SIDE = 720
"""Longest side of the picture, pixels, as it is drawn and saved."""
_SHOWN = 440
"""The same on the page, so that the picture and what is said of it are seen at once."""
_TINY = 64
"""Pixels; a picture whose longest side is shorter is enlarged with sharp edges."""
_GRID = 4
"""Cells in a row and in a column of the parts that can be hidden."""
_CELLS = tuple(f"{column}{row}" for row in range(1, _GRID + 1) for column in "ABCD")
_HOTTEST = "The hottest part"
_NEAREST = 5
_OFFERED = 5
"""Likeliest classes to choose from, besides the true one."""
_MEANS = (
    "Bright and inside the contours (25, 50 and 75 % of the peak): where the evidence for this class lies, compared with the other classes, "
    "as the last features of the network hold it. It is not a proof of what decided."
)
_KEY = "why"


@dataclass
class _Asked:
    """A picture, and what was found out about it."""

    run: str
    name: str
    truth: int | None
    """Index of the true class; None for a picture that somebody brought."""
    row: int | None = None
    """Of a picture of the data set, its row in the manifest."""
    shown: bytes = b""
    """Of a picture that somebody brought, a small copy, and the input of the network as a PNG."""
    given: bytes = b""
    picture: Image.Image | None = None
    """As it is shown."""
    pixels: NDArray[np.uint8] | None = None
    """The input of the network."""
    likely: NDArray[np.float64] | None = None
    """The probability of each class."""
    embedding: NDArray[np.float32] | None = None
    evidence: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    """By class, as far as it is known."""
    hidden: dict[tuple[str, ...], NDArray[np.float64]] = field(default_factory=dict)
    """The probabilities with parts hidden."""
    near: list[tuple[int, Near]] | None = None
    """Rows of the most similar pictures that were learned from."""
    question: EvidenceSpec | None = None


def of_answer(result: Result, answer: ImageAnswer) -> None:
    """Open the dialog about a held-out picture, when the page runs next."""
    if result.manifest is not None:
        name = result.manifest.images[answer.row].name
        st.session_state[_KEY] = _Asked(result.run.id, name, answer.truth, row=answer.row)


def of_named(run: RunFolder, named: prediction.Named) -> None:
    """Open the dialog about a picture that was answered on Predict, when the page runs next."""
    classes = read_info(run.bundle / INFO).classes
    truth = None if named.truth is None else classes.index(named.truth)
    st.session_state[_KEY] = _Asked(run.id, named.name, truth, shown=named.shown, given=named.pixels)


def show(here: Here, run: RunFolder) -> None:
    """The dialog, where it is open for a picture of `run`."""
    asked: _Asked | None = st.session_state.get(_KEY)
    if asked is not None and asked.run == run.id:
        st.dialog("Why it says so", width="large", on_dismiss=_close)(_body)(here, run, asked)


def _close() -> None:
    st.session_state.pop(_KEY, None)


def _body(here: Here, run: RunFolder, asked: _Asked) -> None:
    dataset = pictures_of(run, here.workspace)
    try:
        info = read_info(run.bundle / INFO)
        _look(run, dataset, info, asked)
    except (GraftError, OSError) as error:
        said = error.message if isinstance(error, GraftError) else "This run has no bundle any more."
        st.error(plain(said, longest=400), icon=":material/error:")
        return
    assert asked.likely is not None
    options = _offered(asked)
    label = st.selectbox(
        "Evidence for",
        options,
        format_func=lambda index: _option(info.classes[index], index, asked),
        key=f"why-class-{asked.run}-{asked.row}-{asked.name}",
    )
    left, right = st.columns(2, gap="medium")
    with left:
        found = _evidence(here, run, info, asked, label, options)
        _heat(info, asked, label, found)
    with right:
        _hiding(run, info, asked, label, found)
    _similar(run, dataset, info, asked)


def _look(run: RunFolder, dataset: DatasetFolder | None, info: BundleInfo, asked: _Asked) -> None:
    """Decode the picture and ask the network about it, once."""
    if asked.likely is not None:
        return
    if asked.row is not None:
        if dataset is None:
            raise NotFound("The data set was deleted, so its pictures cannot be shown.")
        entry = dataset.manifest().images[asked.row]
        asked.pixels = read_copy(dataset.path, entry, info.image_size, info.interpolation)
        source: Path | io.BytesIO = dataset.image(entry)
    else:
        with Image.open(io.BytesIO(asked.given)) as image:
            asked.pixels = np.array(image)
        source = io.BytesIO(asked.shown)
    with Image.open(source) as image:
        asked.picture = _fitted(image.convert("RGB"))
    with prediction.asked_alone(run) as model:
        asked.embedding = model.embeddings(asked.pixels[None])[0]
        if heatmaps.linear(info):
            asked.evidence = dict(enumerate(model.evidence(asked.pixels)))
        asked.likely = probabilities(model.logits(asked.pixels[None]))[0]


def _fitted(image: Image.Image) -> Image.Image:
    """`image` with a longest side of `_SIDE` pixels."""
    sharp = enlarged(image, below=_TINY)
    scale = _SIDE / max(sharp.size)
    method = Image.Resampling.NEAREST if sharp is not image else Image.Resampling.BICUBIC
    return sharp.resize((max(1, round(sharp.width * scale)), max(1, round(sharp.height * scale))), method)


def _offered(asked: _Asked) -> list[int]:
    """The class of the answer, the true one, and the next likely ones."""
    assert asked.likely is not None
    best = [int(index) for index in np.argsort(-asked.likely, kind="stable")[:_OFFERED]]
    truth = [] if asked.truth is None or asked.truth in best else [asked.truth]
    return [best[0], *truth, *best[1:]]


def _option(name: str, index: int, asked: _Asked) -> str:
    assert asked.likely is not None
    roles = [
        word
        for word, holds in (("its answer", index == int(asked.likely.argmax())), ("true", index == asked.truth))
        if holds
    ]
    return f"{short(name, longest=40)}, {percent(float(asked.likely[index]))}" + (
        f" ({', '.join(roles)})" if roles else ""
    )


def _evidence(
    here: Here, run: RunFolder, info: BundleInfo, asked: _Asked, label: int, options: Sequence[int]
) -> NDArray[np.float32] | None:
    """The evidence for the class; where it takes a job, the job's button or progress is drawn until it is there."""
    if label in asked.evidence:
        return asked.evidence[label]
    if heatmaps.linear(info):
        return None
    if asked.row is not None and asked.question is None:
        asked.question = task_about(run, EvidenceSpec, row=asked.row, classes=tuple(options))
    question = asking.latest(here.workspace, EvidenceSpec, lambda spec: spec == asked.question)
    answer = asking.answered(question, PictureEvidence)
    if answer is not None:
        asked.evidence = {one.label: np.array(one.positions, dtype=np.float32) for one in answer.classes}
        return asked.evidence.get(label)
    st.button(
        "Look for the evidence",
        key="why-ask",
        icon=":material/troubleshoot:",
        on_click=_ask,
        args=(here, run, asked, tuple(options)),
        disabled=question is not None and not question.status().final,
        help="It takes gradients through the network: some seconds",
    )
    return None


def _ask(here: Here, run: RunFolder, asked: _Asked, options: tuple[int, ...]) -> None:
    if asked.row is None:
        folder = here.workspace.staging()
        (folder / BROUGHT).write_bytes(asked.given)
        asked.question = task_about(run, EvidenceSpec, brought=folder.name, classes=options)
    assert asked.question is not None
    asking.put(here.workspace, asked.question)


def _heat(info: BundleInfo, asked: _Asked, label: int, found: NDArray[np.float32] | None) -> None:
    """The picture with the heat of the class over it."""
    assert asked.picture is not None
    name = info.classes[label]
    if found is None:
        _image(asked.picture, asked.name)
        return
    hot = heatmaps.heat(found, *asked.picture.size, heatmaps.margins(info, len(found)))
    peak = heatmaps.peak_of(hot)
    if peak is None:
        _image(asked.picture, asked.name)
        st.caption(f"No part speaks for {plain(name)} more than for the other classes.")
        return
    drawn = heatmaps.overlay(asked.picture, hot)
    place = f"{percent(peak.x)} from the left and {percent(peak.y)} from the top"
    over = st.toggle("Heat over the picture", value=True, key="why-over")
    spoken = f"{asked.name}: most of the evidence for {short(name)} lies {place}"
    _image(drawn if over else asked.picture, spoken)
    st.caption(_MEANS)
    st.download_button(
        "Save as PNG",
        _png(drawn),
        file_name=f"why-{file_stem(Path(asked.name).stem)}-{file_stem(name)}.png",
        mime="image/png",
        icon=":material/download:",
        key="why-save",
        on_click="ignore",
    )


def _hiding(run: RunFolder, info: BundleInfo, asked: _Asked, label: int, found: NDArray[np.float32] | None) -> None:
    """The picture with parts hidden, and what the network says then."""
    assert asked.picture is not None
    assert asked.pixels is not None
    assert asked.likely is not None
    hottest = found is not None and bool((found > 0).any())
    chosen = st.pills(
        "Hide parts and ask again",
        [*([_HOTTEST] if hottest else []), *_CELLS],
        selection_mode="multi",
        default=[_HOTTEST] if hottest else [],
        wrap=True,
        key=f"why-hide-{asked.run}-{asked.row}-{asked.name}-{hottest}",
    )
    shown = heatmaps.hidden(np.asarray(asked.picture), _where(chosen, info, found, *asked.picture.size))
    _image(_with_grid(Image.fromarray(shown)), f"{asked.name}; hidden: {', '.join(chosen).lower() or 'nothing'}")
    before = float(asked.likely[label])
    if not chosen:
        st.caption(
            "Choose the hottest part, or cells of the grid: they get the mean colour of the picture, and it is asked again."
        )
        return
    key = (*(chosen if _HOTTEST not in chosen else [*chosen, str(label)]),)
    if key not in asked.hidden:
        covered = heatmaps.hidden(asked.pixels, _where(chosen, info, found, info.image_size, info.image_size))
        try:
            with prediction.asked_alone(run) as model:
                asked.hidden[key] = probabilities(model.logits(covered[None]))[0]
        except GraftError as error:
            st.warning(plain(error.message, longest=400), icon=":material/hourglass_empty:")
            return
    after = asked.hidden[key]
    st.markdown(f"**{percent(before)} {plain(info.classes[label])}; with this hidden {percent(float(after[label]))}.**")
    best = int(after.argmax())
    if best != int(asked.likely.argmax()):
        st.markdown(f"Then it says **{plain(info.classes[best])}**, {percent(float(after[best]))}.")
    st.caption("A picture with a part in one colour is like none that it learned from, so a small change means little.")


def _where(
    chosen: Sequence[str], info: BundleInfo, found: NDArray[np.float32] | None, width: int, height: int
) -> NDArray[np.bool_]:
    """The places (height, width) of the parts that are `chosen`."""
    where = np.zeros((height, width), dtype=bool)
    if _HOTTEST in chosen and found is not None:
        where |= heatmaps.heat(found, width, height, heatmaps.margins(info, len(found))) >= heatmaps.HOT
    rows, columns = (np.linspace(0, side, _GRID + 1).round().astype(int) for side in (height, width))
    for number, cell in enumerate(_CELLS):
        if cell in chosen:
            row, column = divmod(number, _GRID)
            where[rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = True
    return where


def _with_grid(picture: Image.Image) -> Image.Image:
    """`picture` with the lines and names of its cells."""
    draw = ImageDraw.Draw(picture)
    for number in range(1, _GRID):
        across, down = picture.width * number / _GRID, picture.height * number / _GRID
        for line in ((across, 0, across, picture.height), (0, down, picture.width, down)):
            draw.line(line, fill=(0, 0, 0), width=3)
            draw.line(line, fill=(255, 255, 255), width=1)
    for number, cell in enumerate(_CELLS):
        row, column = divmod(number, _GRID)
        place = (picture.width * column / _GRID + 6, picture.height * row / _GRID + 4)
        draw.text(place, cell, fill=(255, 255, 255), font_size=28, stroke_width=2, stroke_fill=(0, 0, 0))
    return picture


def _similar(run: RunFolder, dataset: DatasetFolder | None, info: BundleInfo, asked: _Asked) -> None:
    """The most similar pictures that the run learned from, while the data set is there."""
    st.markdown("**The most similar pictures that it learned from**")
    if dataset is None:
        st.caption("The data set was deleted, so its pictures cannot be shown.")
        return
    if asked.near is None:
        asked.near = _nearest(run, asked)
    if asked.near is None:
        st.caption("What its network makes of them is not kept yet. “Look where it fails” on Evaluate computes it.")
        return
    manifest = dataset.manifest()
    groups: dict[str, int] = {}
    with suppress(GraftError):  # a run of an earlier version has kept no groups
        groups = SplitRecord.read(run.split_file).group_of
    own = None if asked.row is None else groups.get(manifest.images[asked.row].sha256)
    paths, captions = [], []
    for row, near in asked.near:
        image = manifest.images[row]
        same = own is not None and groups.get(image.sha256) == own
        paths.append(dataset.thumbnail(image))
        captions.append(
            f"**{plain(manifest.classes[image.label], longest=24)}** {near.similarity:.2f}"
            + (", of the same group" if same else "")
        )
    grids.grid(paths, captions, key="why-near", page_size=_NEAREST, tile=96)
    st.caption("By the cosine of their embeddings, the features before the last layer: 1 is the same direction.")


def _nearest(run: RunFolder, asked: _Asked) -> list[tuple[int, Near]] | None:
    """Rows of the manifest with their similarity; None where the embeddings are not kept."""
    assert asked.embedding is not None
    try:
        kept = run.embeddings()
    except (NotFound, DocumentError):
        return None
    judged = np.array([answer.row for answer in run.report().answers], dtype=np.int64)
    learned = np.flatnonzero(~np.isin(kept.rows, judged))
    found = nearest(asked.embedding, kept.vectors[learned], _NEAREST)
    return [(int(kept.rows[learned[near.row]]), near) for near in found]


def _image(image: Image.Image, alt: str) -> None:
    width = round(image.width * _SHOWN / max(image.size))
    st.image(_png(image), width=max(1, width), output_format="PNG", alt=short(alt, longest=200))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
