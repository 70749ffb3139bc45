"""What the network sees in one of the user's pictures: a job makes pictures of its first filters and its feature maps."""

import streamlit as st

from tl_core.documents.manifest import Manifest
from tl_core.documents.tasks import FeatureMap, FeatureMaps, FeatureMapsSpec
from tl_core.models.registry import Network
from tl_core.models.weights import obtain
from tl_core.runs.store.folders import DatasetFolder, TaskFolder
from ui import asking, grids
from ui.places import Here
from ui.train_page import backbones
from ui.words import plain

_LEVELS = ("Shallow", "Middle", "Deep")
_SAY = {
    "Shallow": "still the picture, its edges and bright spots",
    "Middle": "coarser, and each map responds to one kind of part",
    "Deep": "a few bright places: where it found something that it knows",
}


def show(here: Here, dataset: DatasetFolder, manifest: Manifest, network: Network) -> None:
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
