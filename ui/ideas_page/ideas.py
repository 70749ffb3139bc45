"""The Ideas page: what layers learn, what a network sees in one of the user's pictures (a job makes its filters and feature maps), how the
strategies differ, which to use when, and how the user's own runs compare.
"""

from contextlib import suppress

import streamlit as st

from tl_core.documents.manifest import Manifest
from tl_core.documents.options import DEFAULT_NETWORK
from tl_core.documents.report import Accuracy
from tl_core.documents.tasks import FeatureMap, FeatureMaps, FeatureMapsSpec
from tl_core.errors import GraftError, UnknownName
from tl_core.models.registry import Network, network
from tl_core.models.weights import obtain
from tl_core.runs.store.folders import DatasetFolder, RunFolder, TaskFolder
from tl_core.training.strategies.advice import LARGE_ABOVE, RULE, SMALL_BELOW, band
from tl_core.training.strategies.strategies import HEAD_ONLY, strategies
from ui import asking, charts, grids
from ui.places import Here, succeeded
from ui.runview import of_version
from ui.train_page import backbones, cards
from ui.words import duration, interval, label, percent, plain, plural, strategy_title

_LAYERS = (
    ("Shallow", "stem and first stages", "Edges, colours, little patterns. Every picture is made of them, so they serve any task: keep them."),
    ("Middle", "stages half-way", "Textures and parts: fur, mesh, a wheel, an eye. Mostly of use for new things, and worth a little adapting."),
    ("Deep", "last stages", "Whole things of the old task, dog faces or cups. The more your pictures differ from it, the more these have to change."),
    ("Head", "the last layer", "Weighs what the deep layers found and names a class. It is always new, because your classes are."),
)  # fmt: skip
_BANDS = {
    "small": f"under {SMALL_BELOW:,} pictures",
    "medium": f"{SMALL_BELOW:,} to {LARGE_ABOVE:,} pictures",
    "large": f"over {LARGE_ABOVE:,} pictures",
}
_MOST_RUNS = 16
_LEVELS = ("Shallow", "Middle", "Deep")
_SAY = {
    "Shallow": "still the picture, its edges and bright spots",
    "Middle": "coarser, and each map responds to one kind of part",
    "Deep": "a few bright places: where it found something that it knows",
}


def network_now() -> Network:
    """The backbone that is chosen on the Train page."""
    try:
        return network(st.session_state.get("backbone", DEFAULT_NETWORK))
    except UnknownName:
        return network(DEFAULT_NETWORK)


def layers() -> None:
    """What shallow, middle and deep layers learn."""
    st.header("What the layers see", anchor=False)
    st.markdown(
        "A network looks at a picture in stages, each built on the one before. It learned them on a million photos, and "
        "much of that can be used again: that is transfer learning."
    )
    for column, (name, where, text) in zip(st.columns(len(_LAYERS)), _LAYERS, strict=True):
        with column, st.container(border=True, height="stretch"):
            st.markdown(f"**{name}** :gray[{where}]")
            st.caption(text)


def ways(network: Network, classes: int) -> None:
    """How the strategies differ, with the picture of each."""
    st.header("Ways to re-train it", anchor=False)
    st.markdown(
        f"Drawn for {plain(network.name)}, from the first layers to the last. Hatched stays frozen, green learns. What is "
        "frozen cannot be spoiled and costs no time; what learns can fit your pictures better, or learn them by heart."
    )
    offer = cards.Offer(network, classes, min(2, len(network.stages)))
    with st.grid(3, min_column_width=270) as tiles:
        for strategy in strategies().values():
            with tiles.cell(), st.container(border=True, height="stretch"):
                st.markdown(f"**{strategy.title}** :gray[{strategy.name}]")
                offer.picture(strategy, width="stretch")
                st.caption(strategy.description)


def rule(train_images: int | None, similar: bool | None) -> None:
    """When to use which: the rule as it is taught, with the user's own case marked.

    `train_images`: pictures to learn from, None without a data set; `similar`: whether they are like what the network learned
    before, None where that was not measured.
    """
    st.header("When to use which", anchor=False)
    st.markdown(
        "It depends on how many pictures there are to learn from, and on whether they are like what the network learned "
        "before. Whether they are is measured, not guessed: “Which backbone suits my data?” on the Train page does it."
    )
    st.markdown(
        "Each box has the rule as courses teach it, which is also what “auto” takes; what the Train page proposes, which has not "
        "looked at the pictures; and what Graft measured itself, on one small backbone, which does not always agree. On a "
        f"processor, without a GPU, the page always proposes “{strategies()[HEAD_ONLY].title}”: anything else takes "
        "many times as long there."
    )
    table = strategies()
    for case in RULE:
        badge = ""
        if train_images is not None and case.band == band(train_images):
            if case.similar is None or case.similar == similar:
                badge = f" :green-badge[your case: {train_images:,}]"
            elif similar is None:
                badge = f" :gray-badge[yours, perhaps: {train_images:,}]"
        likeness = {True: "much like them", False: "unlike them", None: "like them or not"}[case.similar]
        with st.container(border=True):
            st.markdown(f"{_BANDS[case.band].capitalize()}, {likeness}: **{table[case.strategy].title}**{badge}")
            st.caption(f"{case.reason[0].upper()}{case.reason[1:]}")
            st.caption(f"Proposed on a GPU: “{table[case.proposed].title}”.")
            st.caption(f":material/science: Measured: {case.measured}")
            st.caption(f"Also worth a try: {', '.join(table[name].title for name, _ in case.alternatives)}.")


def numbers(here: Here) -> None:
    """The user's own runs on the open data set, compared by strategy."""
    st.header("Your own numbers", anchor=False)
    tested, untold = _finished(here)
    if untold:
        st.markdown(
            f"{plural(untold, 'run')} on these pictures cannot be compared: a class is all of one moment, so no accuracy is to be believed."
        )
    if not tested and not untold:
        st.markdown(
            "None yet. Train once with the proposed strategy and once with another, and they are compared here."
        )
    if not tested:
        return
    names = [strategy_title(run.spec().strategy) for run, _ in tested]
    tests = [test for _, test in tested]
    seconds = [run.status().seconds.get("total") for run, _ in tested]
    figure = charts.compared(
        [f"{name}, {run.spec().backbone}{of_version(run)}" for name, (run, _) in zip(names, tested, strict=True)],
        [test.accuracy for test in tests],
        [test.interval for test in tests],
        [duration(taken) if taken else "" for taken in seconds],
        title=f"Best: {label(names[0])}, {percent(tests[0].accuracy)} right ({interval(*tests[0].interval)})",
    )
    charts.show(figure, key="compared", alt=f"Accuracy of {len(tested)} runs with intervals; best: {names[0]}")
    st.caption(
        f"{plural(len(tested), 'run')} on these pictures{', each' if len(tested) > 1 else ''} judged on its test pictures (held out). The bar is the range that the "
        "true share lies in, in 95 of 100 cases: where two bars overlap widely, the difference may be luck."
        + (
            " Runs on different versions of the data set were judged on different pictures."
            if len({run.spec().version for run, _ in tested}) > 1
            else ""
        )
    )


def _finished(here: Here) -> tuple[list[tuple[RunFolder, Accuracy]], int]:
    """Runs on the open data set with what the test gave, the best first, at most `_MOST_RUNS`, and how many more have no headline."""
    tested, untold = [], 0
    for run in succeeded(here.workspace.runs()):
        if here.dataset is not None and run.spec().dataset == here.dataset.id:
            with suppress(GraftError):
                headline = run.headline()
                if headline.shown is None:
                    untold += 1
                else:
                    tested.append((run, headline.test))
    return sorted(tested, key=lambda entry: -entry[1].accuracy)[:_MOST_RUNS], untold


def feature_maps(here: Here, dataset: DatasetFolder, manifest: Manifest, network: Network) -> None:
    """A field to choose a picture of the data set, and what the stages make of that picture."""
    row = st.number_input(
        "Picture of your data set, by number", 1, len(manifest.images), key=f"look-{dataset.id}", width=260
    )
    chosen = backbones.chosen_weights(network)
    wait = "" if obtain.available(network, chosen) else f"; it {obtain.availability(network, chosen)} first"
    task = asking.panel(
        here.workspace,
        FeatureMapsSpec(
            workspace=here.workspace.token,
            dataset=dataset.id,
            version=dataset.number,
            row=row - 1,
            backbone=network.name,
            weights=chosen,
            image_size=network.weights_row(chosen).input_size,
        ),
        "See what it sees",
        key="look",
        icon=":material/visibility:",
        type="primary",
        help=f"Runs this picture through {network.name}{wait}",
    )
    answer = task.answer(FeatureMaps) if task else None
    if task and answer:
        _filters(task, answer)
        _maps(task, answer)


def _filters(task: TaskFolder, answer: FeatureMaps) -> None:
    left, right = st.columns([1, 2], gap="medium")
    with left:
        st.image(str(task.path / answer.picture), width="stretch", alt="the picture as the network sees it")
        st.caption("The picture as the network sees it, squashed to a square.")
    with right:
        if answer.filters is None:
            st.caption(
                "The first layer of this network cuts the picture into patches, so it has no filters to look at."
            )
            return
        st.image(
            str(task.path / answer.filters),
            width="stretch",
            alt=f"{answer.filter_count} filters of the first layer",
        )
        st.caption(
            f"{answer.filter_count} filters of the first layer, {answer.filter_size} by {answer.filter_size} pixels each: "
            "each looks everywhere for its own little edge, blob or colour. Grey counts nothing."
        )


def _maps(task: TaskFolder, answer: FeatureMaps) -> None:
    stages: dict[str, list[FeatureMap]] = {}
    for each in answer.maps:
        stages.setdefault(each.stage, []).append(each)
    levels = _LEVELS if len(stages) == len(_LEVELS) else [f"Part {number}" for number in range(1, len(stages) + 1)]
    for level, (stage, maps) in zip(levels, stages.items(), strict=True):
        say = f": {_SAY[level]}" if level in _SAY else ""
        st.markdown(f"**{level}** :gray[{plain(stage)}, {maps[0].width} by {maps[0].height} places{say}]")
        grids.strip([task.path / each.file for each in maps], alt=f"where channels of {stage} answer", places=8)
