"""Shows on the Evaluate page when a classifier breaks: its accuracy once its test pictures are blurred, dark, turned and so on."""

from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st
from PIL import Image

from tl_core.data.pixel_arrays import read_copy
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.manifest import ImageEntry
from tl_core.documents.tasks import Effect, Robustness, RobustnessSpec
from tl_core.errors import DataError
from tl_core.evaluation.corruptions import CORRUPTIONS, STRENGTHS, seed_of
from tl_core.serving.bundle_files import INFO
from tl_core.statements import corrupted
from tl_core.training.strategies.strategies import LAST_STAGES, strategies
from ui import charts, grids
from ui.evaluate_page import results
from ui.evaluate_page.results import Result
from ui.places import DATA, Here
from ui.train_page import form
from ui.words import in_a_row, percent, plain, plural

COSTLY = "#E08A35"
"""The colour of a corruption whose drop chance does not explain."""
_STRONGEST = "strong"
"""The level of augmentation that is offered."""


def show(here: Here, result: Result) -> None:
    """Asks about changed test pictures, and shows what came of it: a plot for each corruption, an example, and what helps."""
    st.subheader("When it breaks", anchor=False, help="Robustness to corruptions")
    changes = in_a_row([corruption.title for corruption in CORRUPTIONS.values()])
    robustness = results.panel(
        here,
        result,
        RobustnessSpec,
        Robustness,
        "Try changed pictures",
        intro=f"Photos are not always as good as those that it was tested on. Here its test pictures are changed: {changes}, each at three "
        "strengths. Every changed picture is answered once.",
        icon=":material/blur_on:",
        corruptions=STRENGTHS,
    )
    if robustness:
        title, text = corrupted(robustness)
        st.markdown(f"**{title}.** {text}")
        st.caption(
            "Changed at the size at which the network sees them. A change is said to cost something where the exact McNemar test at its strongest, "
            f"corrected for {len(robustness.effects)} changes, finds less than 5 in 100 such losses by chance."
        )
        _remedy(here, result, robustness)
        _plots(result, robustness)
        _example(result, robustness)


def _remedy(here: Here, result: Result, robustness: Robustness) -> None:
    """What trains against the corruptions that cost something: augmentation, or more such pictures."""
    hurt = [CORRUPTIONS[effect.corruption] for effect in robustness.effects if effect.costly]
    trained = [corruption.title for corruption in hurt if corruption.augmentation]
    others = [corruption.title for corruption in hurt if not corruption.augmentation]
    sentences = []
    if trained and result.run.spec().recipe.augmentation == _STRONGEST:
        sentences.append(f"This run had the strongest augmentation against {in_a_row(trained)} already.")
    elif trained:
        _augmentation(here, result, trained)
    if others:
        sentences.append(f"No level of augmentation has {in_a_row(others, 'or')} in it.")
    if sentences:
        st.markdown(" ".join([*sentences, "What helps is to add pictures to the data set that were taken like that."]))
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
        form.choose_as(here, spec, strategy=chosen, augmentation=_STRONGEST)


def _plots(result: Result, robustness: Robustness) -> None:
    clean = robustness.clean
    lowest = min(
        low for effect in robustness.effects for low, _ in (clean.interval, *(at.interval for at in effect.strengths))
    )
    with st.grid(4, min_column_width=230, gap="small"):
        for effect in robustness.effects:
            title = _title(effect)
            figure = _figure(
                effect.corruption,
                [clean.accuracy, *(at.accuracy for at in effect.strengths)],
                [clean.interval, *(at.interval for at in effect.strengths)],
                ["as they are", *(at.strength for at in effect.strengths)],
                title=title,
                lowest=lowest,
                costly=effect.costly,
            )
            shares = ", ".join(percent(at.accuracy) for at in effect.strengths)
            charts.show(
                figure,
                key=f"robustness-{result.run.id}-{effect.corruption}",
                alt=f"{title}. Right at the three strengths: {shares}; as they are {percent(clean.accuracy)}",
            )


def _title(effect: Effect) -> str:
    """What the plot of a corruption says."""
    heading = CORRUPTIONS[effect.corruption].heading
    points = max(round(100 * effect.strengths[-1].drop), 1)
    return f"{heading} costs {plural(points, 'point')}" if effect.costly else f"{heading}: within chance"


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
    figure = charts.titled(title, 210, showlegend=False, title_font_size=14, margin_t=36)
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
    figure.update_xaxes(
        tickvals=places,
        ticktext=["none", *(f"{strength:g}" for strength in corruption.strengths)],
        title={"text": corruption.axis, "standoff": 4, "font": {"size": 12}},
        range=[-0.3, len(places) - 0.7],
    )
    figure.update_yaxes(tickformat=".0%", range=[max(0.0, lowest - 0.03), 1.02], nticks=5)
    return figure


def _example(result: Result, robustness: Robustness) -> None:
    """One picture as it is and at the strengths of a corruption that is chosen, and what it is taken for."""
    dataset, manifest = result.dataset, result.manifest
    if dataset is None or manifest is None:
        return
    names = [effect.corruption for effect in robustness.effects]
    chosen = st.selectbox(
        "One picture, as the network sees it",
        names,
        index=names.index(robustness.hurt_most[0]) if robustness.hurt_most else 0,
        format_func=lambda name: CORRUPTIONS[name].heading,
        key=f"corruption-{result.run.id}",
        persist_state="session",
        width=300,
    )
    effect = robustness.effect(chosen)
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
        for picture, label, how in zip(pictures, effect.said, words, strict=True):
            right = ":green[right]" if label == image.label else ":orange[wrong]"
            st.image(
                picture,
                width="stretch",
                output_format="PNG",
                caption=f"{how}: **{plain(classes[label], longest=24)}**, {right}",
                alt=f"{how}: taken for {classes[label][:40]}",
            )
    turned = effect.said[0] == image.label and any(label != image.label for label in effect.said)
    turns = f"the first that {CORRUPTIONS[chosen].title} turns from right to wrong"
    nothing = f"{CORRUPTIONS[chosen].title} turns no right answer wrong"
    st.caption(f"A picture of {plain(classes[image.label])}: {turns if turned else nothing}.")


@st.cache_data(max_entries=64, show_spinner=False)
def _changed(folder: str, image: ImageEntry, size: int, interpolation: str, name: str) -> list[bytes]:
    """PNG files of a picture at the network's size, as it is and at each strength of the corruption `name`, as the job changes it."""
    picture, seed = read_copy(Path(folder), image, size, interpolation), seed_of(image.sha256)
    changed = (CORRUPTIONS[name].apply(picture, strength, seed) for strength in range(3))
    return [grids.png(Image.fromarray(each)) for each in (picture, *changed)]
