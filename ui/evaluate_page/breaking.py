"""Shows on the Evaluate page when a classifier breaks: its accuracy once its test pictures are blurred, dark, turned and so on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st
from PIL import Image

from tl_core.data.pixel_arrays import read_copy
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.manifest import ImageEntry
from tl_core.documents.tasks import Effect, Robustness, RobustnessSpec
from tl_core.errors import DataError, GraftError
from tl_core.evaluation.comparison import LEVEL
from tl_core.evaluation.corruptions import CORRUPTIONS, STRENGTHS, Corruption, seed_of
from tl_core.runs.tasks.subject import task_about
from tl_core.serving.bundle_files import INFO
from tl_core.training.strategies.strategies import LAST_STAGES, strategies
from ui import asking, charts
from ui.evaluate_page.results import Result
from ui.places import DATA, Here
from ui.train_page import again
from ui.words import in_a_row, interval, percent, plain, plural

COSTLY = "#E08A35"
"""The colour of a corruption whose drop chance does not explain."""
_STRONGEST = "strong"
"""The level of augmentation that is offered."""


def show(here: Here, result: Result) -> None:
    """Asks about changed test pictures, and shows what came of it: a plot for each corruption, an example, and what helps."""
    st.subheader("When it breaks", anchor=False, help="Robustness to corruptions")
    if result.dataset is None:
        st.caption("The data set was deleted, so its pictures cannot be changed and asked about again.")
        return
    try:
        spec = task_about(result.run, RobustnessSpec, corruptions=STRENGTHS)
    except GraftError as error:
        st.caption(plain(error.message, longest=400))
        return
    question = asking.latest(here.workspace, RobustnessSpec, lambda asked: asked == spec)
    found = asking.answered(question, Robustness)
    if found:
        _sentence(found)
        _remedy(here, result, found)
        _plots(result, found)
        _example(result, found)
    elif question is None or question.status().final:
        titles = [corruption.title for corruption in CORRUPTIONS.values()]
        st.markdown(
            f"Photos are not always as good as those that it was tested on. Here its test pictures are changed: {in_a_row(titles)}, "
            f"each at three strengths. Every changed picture is answered once."
        )
        asking.button(
            here.workspace,
            spec,
            question,
            "Try changed pictures",
            key=f"robustness-{result.run.id}",
            icon=":material/blur_on:",
        )


def _sentence(found: Robustness) -> None:
    """Which corruption hurts most, where chance does not explain it, and how many pictures that rests on."""
    some = f" of {found.of_images:,}, of every class its share" if found.images < found.of_images else ""
    on = f"{plural(found.images, 'test picture')}{some}"
    clean = f"{percent(found.clean.accuracy)} ({interval(*found.clean.interval)})"
    if not found.hurt_most:
        st.markdown(f"None of these changes costs more than chance explains, on {on}; as they are, {clean} are right.")
        return
    names = [CORRUPTIONS[name].title for name in found.hurt_most]
    worst = _effect(found, found.hurt_most[0]).strengths[-1]
    named = in_a_row([f"**{name}**" for name in (CORRUPTIONS[found.hurt_most[0]].heading, *names[1:])])
    told = (
        f"{named} hurts most."
        if len(names) == 1
        else f"{named} hurt most; these pictures cannot tell which of them is worse."
    )
    st.markdown(
        f"{told} {worst.strength[:1].upper()}{worst.strength[1:]}, {percent(worst.accuracy)} ({interval(*worst.interval)}) of the pictures "
        f"are named rightly; as they are, {clean}."
    )
    st.caption(
        f"On {on}, changed at the size at which the network sees them. A change is said to cost something where the exact McNemar test at "
        f"its strongest, corrected for {len(found.effects)} changes, finds less than 5 in 100 such losses by chance."
    )


def _remedy(here: Here, result: Result, found: Robustness) -> None:
    """What trains against the corruptions that cost something: augmentation, or more such pictures."""
    hurt = [CORRUPTIONS[effect.corruption] for effect in found.effects if _costs(effect)]
    trained = [corruption.title for corruption in hurt if corruption.augmentation]
    others = [corruption.title for corruption in hurt if not corruption.augmentation]
    strongest = result.run.spec().recipe.augmentation == _STRONGEST
    if trained and not strongest:
        _augmentation(here, result, trained)
    said = (
        f"This run had the strongest augmentation against {in_a_row(trained)} already. "
        if trained and strongest
        else ""
    )
    said += f"No level of augmentation has {in_a_row(others, 'or')} in it. " if others else ""
    if said:
        st.markdown(f"{said}What helps is to add pictures to the data set that were taken like that.")
        here.link(DATA, "Add such pictures")


def _augmentation(here: Here, result: Result, titles: Sequence[str]) -> None:
    """Offers to train with strong augmentation: the same strategy, or one that has augmentation."""
    spec = result.run.spec()
    strategy = strategies().get(spec.strategy)
    against = (
        f"Augmentation trains against {in_a_row(titles)}: it changes each picture at random while the network learns."
    )
    if strategy is None or not strategy.takes_steps:
        other = strategies()[LAST_STAGES]
        st.markdown(
            f"{against} This run has only fitted the last layer on pictures as they are, so it has none. “{other.title}” has it, and takes longer."
        )
        chosen, label = other.name, f"Train “{other.title}” with strong augmentation"
    else:
        st.markdown(against)
        chosen, label = strategy.name, "Train again with strong augmentation"
    if st.button(label, key=f"train-again-{result.run.id}", icon=":material/model_training:"):
        again.go(here, spec, strategy=chosen, augmentation=_STRONGEST)


def _plots(result: Result, found: Robustness) -> None:
    lowest = min(at.interval[0] for effect in found.effects for at in effect.strengths)
    with st.grid(4, min_column_width=230, gap="small"):
        for effect in found.effects:
            corruption = CORRUPTIONS[effect.corruption]
            title = _title(corruption, effect)
            figure = _figure(
                corruption.name,
                [found.clean.accuracy, *(at.accuracy for at in effect.strengths)],
                [found.clean.interval, *(at.interval for at in effect.strengths)],
                ["as they are", *(at.strength for at in effect.strengths)],
                title=title,
                lowest=min(lowest, found.clean.interval[0]),
                costly=_costs(effect),
            )
            shares = ", ".join(percent(at.accuracy) for at in effect.strengths)
            charts.show(
                figure,
                key=f"robustness-{result.run.id}-{effect.corruption}",
                alt=f"{title}. Right at the three strengths: {shares}; as they are {percent(found.clean.accuracy)}",
            )


def _costs(effect: Effect) -> bool:
    """Whether chance does not explain what it costs at its strongest."""
    return effect.p_value < LEVEL and effect.strengths[-1].drop > 0


def _title(corruption: Corruption, effect: Effect) -> str:
    """What the plot of a corruption says."""
    if not _costs(effect):
        return f"{corruption.heading}: within chance"
    points = round(100 * effect.strengths[-1].drop)
    return f"{corruption.heading} costs {plural(max(points, 1), 'point')}"


@st.cache_resource(max_entries=64, show_spinner=False)
def _figure(
    name: str,
    accuracies: Sequence[float],
    ranges: Sequence[tuple[float, float]],
    said: Sequence[str],
    *,
    title: str,
    lowest: float,
    costly: bool,
) -> go.Figure:
    """Accuracy as the pictures are and at each strength of the corruption `name`, with intervals; `said` are these in words."""
    corruption = CORRUPTIONS[name]
    colour = COSTLY if costly else charts.TRAINABLE
    figure = charts.titled(title, 210)
    places = list(range(len(accuracies)))
    figure.add_scatter(
        x=places,
        y=list(accuracies),
        mode="lines+markers",
        line={"color": colour, "width": 2},
        marker={"size": 8, "symbol": ["circle-open", *["circle"] * (len(places) - 1)]},
        error_y={**charts.error_bars(accuracies, ranges), "color": colour, "thickness": 1.5, "width": 4},
        customdata=list(zip(said, *zip(*ranges, strict=True), strict=True)),
        hovertemplate="%{customdata[0]}: %{y:.0%} right (%{customdata[1]:.0%} to %{customdata[2]:.0%})<extra></extra>",
        cliponaxis=False,
    )
    figure.update_layout(showlegend=False, title={"font": {"size": 14}}, margin={"t": 36})
    figure.update_xaxes(
        tickvals=places,
        ticktext=["none", *(f"{strength:g}" for strength in corruption.strengths)],
        title={"text": corruption.axis, "standoff": 4, "font": {"size": 12}},
        range=[-0.3, len(places) - 0.7],
    )
    figure.update_yaxes(tickformat=".0%", range=[max(0.0, lowest - 0.03), 1.02], nticks=5)
    return figure


def _example(result: Result, found: Robustness) -> None:
    """One picture as it is and at the strengths of a corruption that is chosen, and what it is taken for."""
    dataset, manifest = result.dataset, result.manifest
    if dataset is None or manifest is None:
        return
    names = [effect.corruption for effect in found.effects]
    chosen = st.selectbox(
        "One picture, as the network sees it",
        names,
        index=names.index(found.hurt_most[0]) if found.hurt_most else 0,
        format_func=lambda name: CORRUPTIONS[name].heading,
        key=f"corruption-{result.run.id}",
        persist_state="session",
        width=300,
    )
    effect, corruption = _effect(found, chosen), CORRUPTIONS[chosen]
    image = manifest.images[effect.example]
    try:
        info = BundleInfo.read(result.run.bundle / INFO)
        pictures = _changed(str(dataset.path), image, info.image_size, info.interpolation, chosen)
    except DataError as error:
        st.caption(plain(error.message, longest=400))
        return
    classes = result.report.classes
    words = ["As it is", *(at.strength for at in effect.strengths)]
    with st.grid(4, min_column_width=140, gap="small"):
        for picture, said, told in zip(pictures, effect.said, words, strict=True):
            right = ":green[right]" if said == image.label else ":orange[wrong]"
            answer = plain(classes[said], longest=24)
            st.image(
                picture,
                width="stretch",
                output_format="PNG",
                caption=f"{told}: **{answer}**, {right}",
                alt=f"{told}: taken for {classes[said][:40]}",
            )
    st.caption(
        f"A picture of {plain(classes[image.label])}"
        + (
            f": the first that {corruption.title} turns from right to wrong."
            if effect.said[0] == image.label and any(said != image.label for said in effect.said)
            else f": {corruption.title} turns no right answer wrong."
        )
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _changed(folder: str, image: ImageEntry, size: int, interpolation: str, name: str) -> list[bytes]:
    """PNG files of a picture at the network's size, as it is and at each strength of the corruption `name`, as the job changes it."""
    picture = read_copy(Path(folder), image, size, interpolation)
    corruption = CORRUPTIONS[name]
    files = []
    for one in (picture, *(corruption.apply(picture, at, seed_of(image.sha256)) for at in range(3))):
        file = io.BytesIO()
        Image.fromarray(one).save(file, "PNG")
        files.append(file.getvalue())
    return files


def _effect(found: Robustness, name: str) -> Effect:
    return next(effect for effect in found.effects if effect.corruption == name)
