"""The form on the Train page: the data set, and how much of the network to re-train, with its picture and the folded settings.

It can be opened with the choices of an earlier run.
"""

import math
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import streamlit as st

from tl_core.data.split import DEFAULT_SEED, assign
from tl_core.documents.manifest import Manifest
from tl_core.documents.options import OPTIONS
from tl_core.documents.spec import TrainSpec
from tl_core.errors import GraftError
from tl_core.models.graphs.export import backbone_key, parameter_shapes, structure_file
from tl_core.models.registry import Network
from tl_core.runs.process.devices import expected_device
from tl_core.runs.start.training_spec import conditions
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Store
from tl_core.training.strategies.advice import auto_says, default_strategy
from tl_core.training.strategies.strategies import AUTO, learning_parameters, learning_paths, strategies, tuned
from ui import drawing
from ui.listing import scrolled
from ui.places import IDEAS, TRAIN, Here, succeeded, version_key
from ui.train_page import advanced, backbones, cards, startline
from ui.train_page.cards import PREFIX
from ui.train_page.proposal import Case, Proposal
from ui.words import SPLIT_WORDS, count, distinct, plain, plural


def parts(dataset: DatasetFolder) -> Counter[str]:
    """Pictures of each split, with the seed that is set."""
    return _parts(dataset, advanced.set_value("seed") or DEFAULT_SEED)


@st.cache_data(max_entries=32, show_spinner=False, hash_funcs={DatasetFolder: version_key})
def _parts(dataset: DatasetFolder, seed: int) -> Counter[str]:
    return Counter(str(part) for part in assign(dataset.manifest(), seed))


def pictures(here: Here, dataset: DatasetFolder, manifest: Manifest) -> Counter[str]:
    """The first decision: the data set. Returns its pictures by split."""
    split = parts(dataset)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.header("Pictures", anchor=False, width="content")
        names = distinct({other.id: other.name for other in succeeded(here.workspace.datasets())})
        here.choose("dataset", names, dataset.id, label="Data set", label_visibility="collapsed", width=360)
    parts_said = ", ".join(f"{split[part]:,} {words}" for part, words in SPLIT_WORDS.items())
    version = f" Version {dataset.number} of the data set." if dataset.versions.made() else ""
    st.caption(f"{plural(len(manifest.classes), 'class', 'classes')}; pictures: {parts_said}.{version}")
    return split


def strategy(
    here: Here, dataset: DatasetFolder, network: Network, weights: str, manifest: Manifest, train_images: int
) -> Proposal:
    """The third decision: how much of the network to re-train, its picture, and the folded settings."""
    device = expected_device(advanced.set_value("device") or "auto")
    proposed = default_strategy(device, train_images)
    name = cards.chosen_name(proposed.name)
    advice = auto_says(train_images, backbones.ranking(here), network)
    taken = tuned(strategies()[(advice.strategy or proposed.name) if name == AUTO else name], network)
    solver = "logistic" if taken.takes_steps else advanced.set_value("solver") or "logistic"
    met = conditions(taken, network, solver=solver, optimizer=advanced.set_value("optimizer") or taken.recipe.optimizer)
    # Which strategy `auto` comes to is found out later, so only options with an effect on every strategy can be set.
    case = Case(network, weights, taken, frozenset({"always"}) if name == AUTO else met)
    proposal = Proposal.of(dataset, case, name, advanced.asked(case), advice)
    st.header("How much of it to re-train", anchor=False)
    st.caption(f"The strategy. {plain(proposed.reason, longest=500)}")
    cards.show(cards.Offer(network, len(manifest.classes), proposal.setup.spec.stages, proposed.name), name)
    cards.auto(name, startline.auto_says(proposal))
    _picture(proposal)
    _in_python(proposal)
    _structure(proposal)
    here.link(IDEAS, "How do these differ, and when to use which?")
    with st.expander("Advanced", icon=":material/tune:", key="advanced"):
        st.caption("Nothing here needs touching: what you leave alone is the strategy's own.")
        advanced.show(here, proposal, manifest)
    return proposal


def _picture(proposal: Proposal) -> None:
    drawn = proposal.drawn()
    title = f"**{proposal.setup.strategy.title}**, from the first layers (stem) to the new last one (head): {drawing.totals(drawn)}."
    st.markdown(title if proposal.chosen != AUTO else f"If it takes {title}")
    ink = {"light": "#0F1914", "dark": "#E4EAE6"}.get(str(st.context.theme.type), drawing.GREY)
    st.html(drawing.large(drawn, ink=ink))
    st.caption(drawing.legend(drawn))


def _in_python(proposal: Proposal) -> None:
    """The head by its name, and folded: how the library loads the backbone, and what the optimizer gets."""
    network, weights, outputs = proposal.setup.network, proposal.case.weights, len(proposal.dataset.manifest().classes)
    st.caption(f"The new last layer (head): `{network.head}`, {network.embedding_size} -> {outputs}.")
    parameters = _learning(proposal)
    with st.expander("In Python, and what learns by name", icon=":material/code:", key="in-python"):
        lines = load_lines(network, weights) if proposal.setup.strategy.pretrained else None
        package = network.weights_row(weights).package
        if lines:
            st.code(lines, language="python", wrap_lines=True)
        elif package and proposal.setup.strategy.pretrained:
            st.caption(f"The weights come with the Python package `{package}`.")
        names = learning_paths(network, proposal.setup.strategy, proposal.setup.spec.stages)
        if parameters:
            names = with_parameters(names, parameters)
        whose = "The optimizer gets" if "gradient steps" in proposal.case.conditions else "The solver fits"
        one = " Of the stages, the run chooses one." if proposal.setup.strategy.learns == "one" else ""
        later = (
            "" if parameters else " Each parameter is listed here once the backbone was exported for this image size."
        )
        st.caption(
            f"{whose} only {proposal.setup.strategy.parameters.words}: {', '.join(f'`{name}`' for name in names)}.{one}{later}"
        )
    if not parameters:
        return
    title = f"The {plural(len(parameters), 'tensor')} that may learn, by name"
    with st.expander(title, icon=":material/list:", on_change="rerun", key="parameters") as box:
        if box.open:
            numbers = sum(math.prod(shape) for shape in parameters.values())
            st.caption(f"Names and shapes in the library's network, {count(numbers)} parameters in all.{one}")
            scrolled(parameter_list(parameters), height=420 if len(parameters) > 16 else "content")


def _learning(proposal: Proposal) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters that may learn; empty where this backbone was not exported for this image size yet."""
    setup = proposal.setup
    key = backbone_key(setup.network, proposal.case.weights, setup.spec.image_size)
    folder = Store.default().cache.get("backbones", key)
    if folder is None:
        return {}
    # The cache may drop it at any time.
    with suppress(OSError, GraftError):
        return learning_parameters(
            setup.network,
            setup.strategy,
            setup.spec.stages,
            parameter_shapes(folder),
            classes=len(proposal.dataset.manifest().classes),
            rank=setup.spec.recipe.lora_rank,
        )
    return {}


def _structure(proposal: Proposal) -> None:
    """Every layer as text, where this backbone was prepared or trained before; read only while it is open."""
    file = structure_file(
        proposal.setup.network, proposal.case.weights, proposal.setup.spec.image_size, Store.default().cache
    )
    if file is None:
        return
    with st.expander(
        "Every layer of it, as text", icon=":material/account_tree:", on_change="rerun", key="layers"
    ) as box:
        if box.open:
            st.caption("What PyTorch prints of the network, with the shape that each module gives for one picture.")
            scrolled(file.read_text(encoding="utf-8"), height=420)


def choose_as(here: Here, spec: TrainSpec, *, strategy: str, **changes: Any) -> None:
    """Open the Train page with the choices that `spec` has, but this `strategy` and these `changes` of options; does not return.

    The seed is the same, so that the same pictures are held out. What the user had set for another strategy is left out.
    """
    for key in [key for key in st.session_state if str(key).startswith(PREFIX)]:
        del st.session_state[key]
    cards.choose(strategy)
    backbones.take(spec.backbone)
    st.session_state[f"weights-{spec.backbone}"] = spec.weights
    network = here.workspace.backbones().get(spec.backbone)
    size = network.weights_row(backbones.chosen_weights(network)).input_size if network else None
    usually = {"seed": DEFAULT_SEED, "image_size": size}
    changed = {name: value for name, usual in usually.items() if (value := getattr(spec, name)) != usual}
    for name, value in {**changed, **(spec.changes if strategy == spec.strategy else {}), **changes}.items():
        option = OPTIONS[name]
        st.session_state[PREFIX + name] = f"{value:g}" if option.tiny else value
    here.go(TRAIN, dataset=spec.dataset)


def load_lines(network: Network, weights: str) -> str | None:
    """The lines by which the library loads the set called `weights`; None where the library itself does not offer it.

    Raises:
        UnknownName: the network has no such set.
    """
    row = network.weights_row(weights)
    if row.url is None:
        return None
    if network.weights_class:
        made = f"{network.builder}(weights={network.weights_class}.{row.name})"
        return f"from torchvision.models import {network.weights_class}, {network.builder}\n\nnetwork = {made}"
    made = f'timm.create_model("{network.builder.partition(".")[0]}.{row.name}", pretrained=True)'
    return f"import timm\n\nnetwork = {made}"


def with_parameters(paths: list[str], parameters: Mapping[str, object]) -> list[str]:
    """Those of `paths` that are one of `parameters` or a module that has some."""
    return [path for path in paths if any(name == path or name.startswith(f"{path}.") for name in parameters)]


def parameter_list(parameters: Mapping[str, tuple[int, ...]]) -> str:
    """Names and shapes as text, one parameter a line, in two columns."""
    width = max(map(len, parameters), default=0)
    return "\n".join(f"{name:<{width}}  {' x '.join(map(str, shape))}" for name, shape in parameters.items())
