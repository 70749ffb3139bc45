"""Why a run says so of one picture: a dialog on Evaluate and on Predict.

It shows where the evidence for a class lies, what hiding a part of the picture does to the answer, and the most similar pictures that the
run learned from. The session holds which picture it is about, so that the dialog stays open when the page runs again.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tl_core.data.pixel_arrays import read_copy
from tl_core.data.pixels import enlarged
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.manifest import SplitRecord
from tl_core.documents.report import ImageAnswer
from tl_core.documents.tasks import BROUGHT, EvidenceSpec, PictureEvidence
from tl_core.errors import DocumentError, GraftError, NotFound
from tl_core.evaluation.metrics import probabilities
from tl_core.evaluation.similar import nearest
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Workspace, new_id
from tl_core.runs.tasks.subject import task_about
from tl_core.serving import heatmaps
from tl_core.serving.bundle import read_info
from tl_core.serving.bundle_files import INFO
from ui import asking, classifier, grids
from ui.evaluate_page.results import Result
from ui.places import Here, pictures_of
from ui.predict_page.answers import Named
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
class _Look:
    """What was found out about the picture."""

    picture: Image.Image
    """As it is shown."""
    pixels: NDArray[np.uint8]
    """The input of the network."""
    likely: NDArray[np.float64]
    """The probability of each class."""
    embedding: NDArray[np.float32]
    evidence: dict[int, NDArray[np.float32]]
    """By class; where it takes a job, of no class until that was asked."""
    hidden: dict[tuple[str, ...], NDArray[np.float64]] = field(default_factory=dict)
    """The probabilities with parts hidden."""
    near: list[tuple[int, float]] | None = None
    """Rows of the most similar pictures that were learned from, each with its cosine; None as long as the embeddings are not kept."""


@dataclass
class _Asked:
    """The picture that the dialog is about."""

    run: str
    name: str
    truth: int | None
    """Index of the true class; None for a picture that somebody brought."""
    row: int | None = None
    """Of a picture of the data set, its row in the manifest."""
    shown: bytes = b""
    """Of a picture that somebody brought, a small copy, and the input of the network as a PNG."""
    given: bytes = b""
    staged: str = field(default_factory=new_id)
    """Name of the staging folder in which a job finds the picture that somebody brought."""
    look: _Look | None = None

    @property
    def key(self) -> str:
        return f"{self.run}-{self.row}-{self.name}"


def of_answer(result: Result, answer: ImageAnswer) -> None:
    """Open the dialog about a held-out picture, when the page runs next."""
    if result.manifest is not None:
        name = result.manifest.images[answer.row].name
        st.session_state[_KEY] = _Asked(result.run.id, name, answer.truth, row=answer.row)


def of_named(run: RunFolder, named: Named) -> None:
    """Open the dialog about a picture that was answered on Predict, when the page runs next."""
    classes = read_info(run.bundle / INFO).classes
    truth = None if named.truth is None else classes.index(named.truth)
    st.session_state[_KEY] = _Asked(run.id, named.name, truth, shown=named.shown, given=named.pixels)


def show(here: Here, run: RunFolder) -> None:
    """The dialog, where it is open for a picture of `run`."""
    asked: _Asked | None = st.session_state.get(_KEY)
    if asked is not None and asked.run == run.id:
        st.dialog("Why it says so", width="large", on_dismiss=lambda: st.session_state.pop(_KEY, None))(_body)(
            here, run, asked
        )


def _body(here: Here, run: RunFolder, asked: _Asked) -> None:
    dataset = pictures_of(run, here.workspace)
    try:
        info = read_info(run.bundle / INFO)
        look = asked.look = asked.look or _looked(run, dataset, info, asked)
    except (GraftError, OSError) as error:
        reason = error.message if isinstance(error, GraftError) else "This run has no bundle any more."
        st.error(plain(reason, longest=400), icon=":material/error:")
        return
    options = _offered(asked, look)
    label = st.selectbox(
        "Evidence for",
        options,
        format_func=lambda index: _option(info.classes[index], index, asked, look),
        key=f"why-class-{asked.key}",
    )
    left, right = st.columns(2, gap="medium")
    with left:
        evidence = _evidence(here, run, asked, look, label, options, by_gradients=not heatmaps.linear(info))
        _heat(info, asked, look, label, evidence)
    with right:
        _hiding(run, info, asked, look, label, evidence)
    _similar(run, dataset, asked, look)


def _looked(run: RunFolder, dataset: DatasetFolder | None, info: BundleInfo, asked: _Asked) -> _Look:
    """Decode the picture and ask the network about it.

    Raises:
        GraftError: the picture or the classifier is gone or damaged, or others are asking.
        OSError: the bundle is gone.
    """
    if asked.row is None:
        source: Path | io.BytesIO = io.BytesIO(asked.shown)
        with Image.open(io.BytesIO(asked.given)) as image:
            pixels = np.array(image)
    elif dataset is None:
        raise NotFound("The data set was deleted, so its pictures cannot be shown.")
    else:
        entry = dataset.manifest().images[asked.row]
        source = dataset.image(entry)
        pixels = read_copy(dataset.path, entry, info.image_size, info.interpolation)
    with Image.open(source) as image:
        picture = _fitted(image.convert("RGB"))
    with classifier.lent(run) as lent:
        insight = lent.model.insight(pixels)
    return _Look(picture, pixels, insight.probabilities, insight.embedding, dict(enumerate(insight.evidence)))


def _fitted(image: Image.Image) -> Image.Image:
    """`image` with a longest side of `_SIDE` pixels."""
    sharp = enlarged(image, below=_TINY)
    scale = _SIDE / max(sharp.size)
    method = Image.Resampling.NEAREST if sharp is not image else Image.Resampling.BICUBIC
    return sharp.resize((max(1, round(sharp.width * scale)), max(1, round(sharp.height * scale))), method)


def _offered(asked: _Asked, look: _Look) -> list[int]:
    """The class of the answer, the true one, and the next likely ones."""
    best = np.argsort(-look.likely, kind="stable")[:_OFFERED].tolist()
    truth = [] if asked.truth is None else [asked.truth]
    return list(dict.fromkeys([best[0], *(label for label in truth if label not in best), *best]))


def _option(name: str, index: int, asked: _Asked, look: _Look) -> str:
    """A class with its probability, and whether it is the answer or the true one."""
    roles = {"its answer": index == look.likely.argmax(), "true": index == asked.truth}
    named = ", ".join(role for role, holds in roles.items() if holds)
    return f"{short(name, longest=40)}, {percent(float(look.likely[index]))}" + (f" ({named})" if named else "")


def _evidence(
    here: Here, run: RunFolder, asked: _Asked, look: _Look, label: int, options: Sequence[int], *, by_gradients: bool
) -> NDArray[np.float32] | None:
    """The evidence for the class; where it takes a job, the job's button or progress is drawn until it is there."""
    if by_gradients and label not in look.evidence:
        staged = asked.staged if asked.row is None else None
        task = asking.panel(
            here.workspace,
            task_about(run, EvidenceSpec, row=asked.row, brought=staged, classes=tuple(options)),
            "Look for the evidence",
            prepare=lambda: _stage(here.workspace, asked),
            key="why-ask",
            icon=":material/troubleshoot:",
            help="It takes gradients through the network: some seconds",
        )
        answer = task.answer(PictureEvidence) if task else None
        for each in answer.classes if answer else ():
            look.evidence[each.label] = np.array(each.positions, dtype=np.float32)
    return look.evidence.get(label)


def _stage(workspace: Workspace, asked: _Asked) -> None:
    """Lay a picture that somebody brought where the job finds it."""
    if asked.row is None:
        (workspace.staging(asked.staged) / BROUGHT).write_bytes(asked.given)


def _heat(info: BundleInfo, asked: _Asked, look: _Look, label: int, evidence: NDArray[np.float32] | None) -> None:
    """The picture with the heat of the class over it."""
    name = info.classes[label]
    hot = (
        None if evidence is None else heatmaps.heat(evidence, *look.picture.size, heatmaps.margins(info, len(evidence)))
    )
    peak = None if hot is None else heatmaps.peak_of(hot)
    if hot is None or peak is None:
        _image(look.picture, asked.name)
        if hot is not None:
            st.caption(f"No part speaks for {plain(name)} more than for the other classes.")
        return
    drawn = heatmaps.overlay(look.picture, hot)
    place = f"{percent(peak.x)} from the left and {percent(peak.y)} from the top"
    over = st.toggle("Heat over the picture", value=True, key="why-over")
    _image(drawn if over else look.picture, f"{asked.name}: most of the evidence for {short(name)} lies {place}")
    st.caption(_MEANS)
    st.download_button(
        "Save as PNG",
        grids.png(drawn),
        file_name=f"why-{file_stem(Path(asked.name).stem)}-{file_stem(name)}.png",
        mime="image/png",
        icon=":material/download:",
        key="why-save",
        on_click="ignore",
    )


def _hiding(
    run: RunFolder, info: BundleInfo, asked: _Asked, look: _Look, label: int, evidence: NDArray[np.float32] | None
) -> None:
    """The picture with parts hidden, and what the network says then."""
    hottest = [_HOTTEST] if evidence is not None and (evidence > 0).any() else []
    chosen = st.pills(
        "Hide parts and ask again",
        [*hottest, *_CELLS],
        selection_mode="multi",
        default=hottest,
        wrap=True,
        key=f"why-hide-{asked.key}-{len(hottest)}",
    )
    shown = heatmaps.hidden(np.asarray(look.picture), _where(chosen, info, evidence, *look.picture.size))
    _image(_with_grid(Image.fromarray(shown)), f"{asked.name}; hidden: {', '.join(chosen).lower() or 'nothing'}")
    if not chosen:
        st.caption(
            "Choose the hottest part, or cells of the grid: they get the mean colour of the picture, and it is asked again."
        )
        return
    key = (*chosen, str(label) if _HOTTEST in chosen else "")
    if key not in look.hidden:
        covered = heatmaps.hidden(look.pixels, _where(chosen, info, evidence, info.image_size, info.image_size))
        try:
            with classifier.lent(run) as lent:
                look.hidden[key] = probabilities(lent.model.logits(covered[None]))[0]
        except GraftError as error:
            st.warning(plain(error.message, longest=400), icon=":material/hourglass_empty:")
            return
    before, after = look.likely, look.hidden[key]
    st.markdown(
        f"**{percent(float(before[label]))} {plain(info.classes[label])}; with this hidden {percent(float(after[label]))}.**"
    )
    best = int(after.argmax())
    if best != before.argmax():
        st.markdown(f"Then it says **{plain(info.classes[best])}**, {percent(float(after[best]))}.")
    st.caption("A picture with a part in one colour is like none that it learned from, so a small change means little.")


def _boxes(width: int, height: int) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """Each cell with its left, upper, right and lower edge, in a picture of that size."""
    columns, rows = (np.linspace(0, side, _GRID + 1).round().astype(int).tolist() for side in (width, height))
    for number, cell in enumerate(_CELLS):
        row, column = divmod(number, _GRID)
        yield cell, (columns[column], rows[row], columns[column + 1], rows[row + 1])


def _where(
    chosen: Sequence[str], info: BundleInfo, evidence: NDArray[np.float32] | None, width: int, height: int
) -> NDArray[np.bool_]:
    """The places (height, width) of the parts that are `chosen`."""
    where = np.zeros((height, width), dtype=bool)
    if _HOTTEST in chosen and evidence is not None:
        where |= heatmaps.heat(evidence, width, height, heatmaps.margins(info, len(evidence))) >= heatmaps.HOT
    for cell, (left, upper, right, lower) in _boxes(width, height):
        where[upper:lower, left:right] |= cell in chosen
    return where


def _with_grid(picture: Image.Image) -> Image.Image:
    """`picture` with the edges and names of its cells."""
    draw = ImageDraw.Draw(picture)
    # The black edges first: each box shares its edges with others.
    for colour, width in (("black", 3), ("white", 1)):
        for _, box in _boxes(*picture.size):
            draw.rectangle(box, outline=colour, width=width)
    for cell, (left, upper, _, _) in _boxes(*picture.size):
        draw.text((left + 6, upper + 4), cell, fill="white", font_size=28, stroke_width=2, stroke_fill="black")
    return picture


def _similar(run: RunFolder, dataset: DatasetFolder | None, asked: _Asked, look: _Look) -> None:
    """The most similar pictures that the run learned from, while the data set is there."""
    st.markdown("**The most similar pictures that it learned from**")
    if dataset is None:
        st.caption("The data set was deleted, so its pictures cannot be shown.")
        return
    look.near = look.near or _nearest(run, look)
    if look.near is None:
        st.caption("What its network makes of them is not kept yet. “Look where it fails” on Evaluate computes it.")
        return
    manifest, groups = dataset.manifest(), SplitRecord.read(run.split_file).group_of
    group = None if asked.row is None else groups.get(manifest.images[asked.row].sha256)
    images = [manifest.images[row] for row, _ in look.near]
    captions = [
        f"**{plain(manifest.classes[image.label], longest=24)}** {similarity:.2f}"
        + (", of the same group" if group is not None and groups.get(image.sha256) == group else "")
        for image, (_, similarity) in zip(images, look.near, strict=True)
    ]
    grids.grid(list(map(dataset.thumbnail, images)), captions, key="why-near", page_size=_NEAREST, tile=96)
    st.caption("By the cosine of their embeddings, the features before the last layer: 1 is the same direction.")


def _nearest(run: RunFolder, look: _Look) -> list[tuple[int, float]] | None:
    """Rows of the manifest with their similarity; None where the embeddings are not kept."""
    try:
        embeddings = run.embeddings()
    except (NotFound, DocumentError):
        return None
    learned = np.flatnonzero(~np.isin(embeddings.rows, [answer.row for answer in run.report().answers]))
    near = nearest(look.embedding, embeddings.vectors[learned], _NEAREST)
    return [(int(embeddings.rows[learned[row]]), similarity) for row, similarity in near]


def _image(image: Image.Image, alt: str) -> None:
    width = round(image.width * _SHOWN / max(image.size))
    st.image(grids.png(image), width=max(1, width), output_format="PNG", alt=short(alt, longest=200))
