"""The choice of the backbone and of its set of weights: a short list, and all others behind a search.

A name that is in no list is looked up by a worker. Which backbone suits the pictures, a job compares: those that are here, the best first.
"""

import re
from collections.abc import Mapping

import streamlit as st

from tl_core.documents.options import DEFAULT_NETWORK
from tl_core.documents.tasks import DescribeSpec, RankedBackbone, Ranking, RankSpec
from tl_core.models.registry import Network, WeightsRow, check_name, networks
from tl_core.models.weights import obtain
from tl_core.runs.store.folders import DatasetFolder, TaskFolder
from tl_core.runs.tasks.ask import folder_of
from ui import asking
from ui.actions import attempt, say_refusal
from ui.places import Here
from ui.words import count, duration, interval, percent, plain, plural

RECOMMENDED = (
    DEFAULT_NETWORK,
    "mobilenetv4_conv_medium",
    "vit_small_patch14_dinov2",
    "vit_base_patch16_clip_224",
    "convnext_tiny",
    "efficientnet_b0",
    "resnet18",
    "resnet50",
    "swin_t",
    "vit_b_16",
)
"""Small networks that transfer well, and those that courses name. A name that the table lacks is left out."""
_NOT_FOR_TRADE = re.compile(r"\bnc\b|non-?commercial", re.IGNORECASE)
_MOST_HERE = 8
_MOST_RANKED = 12
"""Largest number of backbones in one comparison; those that the page recommends come first."""
_TYPED = "typed-backbone"
_LOOKED_UP = "looked-up-backbone"
_works_now = st.cache_data(ttl=10, max_entries=4, show_spinner=False)(obtain.here_now_sentence)


@st.cache_data(ttl=10, max_entries=4, show_spinner=False)
def here_now() -> tuple[str, ...]:
    """Names of the networks whose default weights are on this machine."""
    return tuple(obtain.available_names())


def choice(here: Here) -> tuple[Network, str]:
    """The select box, what is chosen in words, and all networks folded away. Returns the network and the name of its set of weights."""
    table = here.workspace.backbones()
    st.header("What it already knows", anchor=False)
    st.caption("A network that has seen a million photos is the start (backbone).")
    chosen = st.session_state.get("backbone", DEFAULT_NETWORK)
    chosen = chosen if chosen in table else DEFAULT_NETWORK
    listed = [name for name in dict.fromkeys((*here_now()[:_MOST_HERE], *RECOMMENDED, chosen)) if name in table]
    labels = {name: _label(table[name]) for name in listed}
    st.session_state["backbone"] = chosen
    st.selectbox(
        "Backbone",
        listed,
        format_func=labels.__getitem__,
        key="backbone",
        persist_state="session",
        label_visibility="collapsed",
    )
    network = table[chosen]
    weights = network.weights_row(chosen_weights(network))
    _about(network, weights)
    with st.expander(f"All networks ({len(table)})", icon=":material/travel_explore:", key="all-networks"):
        _everything(here, table)
    return network, weights.name


def _about(network: Network, weights: WeightsRow) -> None:
    described = obtain.availability(network, weights.name)
    right = (
        f", {percent(weights.imagenet_accuracy)} right on ImageNet's 1,000 classes" if weights.imagenet_accuracy else ""
    )
    warning = " :orange-badge[not for commercial use]" if _NOT_FOR_TRADE.search(weights.licence) else ""
    st.caption(
        f"{described[0].upper()}{described[1:]}. Learned from {plain(weights.trained_on, longest=160)}{right}. "
        f"{count(network.parameters)} parameters, {network.gflops:.1f} billion multiplications a picture. "
        f"Licence of the weights: {plain(weights.licence, longest=120)}{warning}"
    )


def chosen_weights(network: Network) -> str:
    """The set of weights that is chosen for `network`, else its default."""
    name = st.session_state.get(f"weights-{network.name}")
    return next((row.name for row in network.weights if row.name == name), network.default_weights)


def weights_choice(network: Network) -> None:
    """The set of weights, where there are several, with its licence."""
    if len(network.weights) < 2:
        return
    labels = {row.name: _weights_label(network, row) for row in network.weights}
    names = list(labels)
    st.selectbox(
        "Set of weights",
        names,
        index=names.index(network.default_weights),
        format_func=labels.__getitem__,
        key=f"weights-{network.name}",
        persist_state="session",
        help="What the network learned before, and how well. The library's own choice comes first where nothing is chosen.",
    )


def _everything(here: Here, table: Mapping[str, Network]) -> None:
    """A search box with every network, and a field for the name of any other, which is looked up."""
    labels = _labels(tuple(table.values()))
    st.selectbox(
        "Search all networks",
        list(table),
        index=None,
        format_func=labels.__getitem__,
        key="any-backbone",
        placeholder="Type a name, such as resnet or vit",
        on_change=_take_found,
        filter_mode="contains",
    )
    st.caption(plain(_works_now(), longest=1200))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            "Any other of timm's thousand networks, by its name",
            key=_TYPED,
            max_chars=140,
            placeholder="convnextv2_nano.fcmae_ft_in1k",
            width=420,
        )
        args = (_TYPED, _look_up, here)
        st.button("Look it up", key="describe", icon=":material/search:", on_click=attempt, args=args)
    say_refusal(_TYPED)
    name = st.session_state.get(_LOOKED_UP)
    if name and name not in table:
        asking.watched(folder_of(here.workspace, DescribeSpec(network=name)))
    elif name and st.session_state.get("backbone") != name:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/check: **{plain(name, longest=140)}** can be used now.", width="content")
            st.button("Use it", key="use-typed", on_click=take, args=(name,))


def take(name: str) -> None:
    """Choose the backbone called `name`."""
    st.session_state["backbone"] = name


def _take_found() -> None:
    name = st.session_state.get("any-backbone")
    if name:
        take(name)
        st.session_state["any-backbone"] = None


def _look_up(here: Here) -> None:
    """Look up the network whose name was typed; one that is in the table is taken at once."""
    name = str(st.session_state.get(_TYPED) or "").strip()
    if not name:
        return
    if name in here.workspace.backbones():
        take(name)
        return
    check_name(name)
    st.session_state[_LOOKED_UP] = name
    asking.put(here.workspace, DescribeSpec(network=name))


@st.cache_data(ttl=10, max_entries=4, show_spinner=False, hash_funcs={Network: lambda network: network.name})
def _labels(listed: tuple[Network, ...]) -> dict[str, str]:
    return {network.name: _label(network) for network in listed}


def _label(network: Network) -> str:
    return f"{network.name}: {obtain.availability(network)}, {_learned(network.weights_row())}"


def _learned(row: WeightsRow) -> str:
    return f"{percent(row.imagenet_accuracy)} on ImageNet" if row.imagenet_accuracy else f"from {row.trained_on}"


def _weights_label(network: Network, row: WeightsRow) -> str:
    return f"{row.name}: {obtain.availability(network, row.name)}, {_learned(row)}, licence {row.licence}"


def newest_ranking(here: Here) -> TaskFolder | None:
    """The last comparison on the open data set, also of other backbones than those that are here now."""
    dataset = here.dataset
    if dataset is None:
        return None
    wanted = (dataset.id, dataset.number)
    return asking.latest(here.workspace, RankSpec, lambda spec: (spec.dataset, spec.version) == wanted)


def ranking(here: Here) -> Ranking | None:
    """The result of the last comparison on the open data set; None until it has succeeded."""
    task = newest_ranking(here)
    return task.answer(Ranking) if task else None


def similar(here: Here, backbone: str) -> bool | None:
    """Whether the open data set is like what `backbone` learned before; None where that was not measured."""
    last = ranking(here)
    return next((row.similar for row in (last.rows if last else ()) if row.backbone == backbone), None)


def show_ranking(here: Here, dataset: DatasetFolder) -> None:
    """The button, the progress of the comparison, and its result in a folded box."""
    names = to_rank()
    if not names:
        return
    task = asking.panel(
        here.workspace,
        RankSpec(
            workspace=here.workspace.token, dataset=dataset.id, version=dataset.number, backbones=names, device="auto"
        ),
        "Which backbone suits my data?",
        task=newest_ranking(here),
        again=True,
        key="rank",
        icon=":material/leaderboard:",
        help=f"Tries {plural(len(names), 'network that is', 'networks that are')} here now on your pictures, frozen",
    )
    last = task.answer(Ranking) if task else None
    if last and last.rows:
        best = last.rows[0]
        title = f"Best on these pictures: {best.backbone}, {percent(best.accuracy)} right"
        with st.expander(title, icon=":material/leaderboard:", key="ranking"):
            _ranked(last)


def to_rank() -> tuple[str, ...]:
    """The networks to compare: those whose weights are here now, recommended ones first."""
    here = here_now()
    first = [name for name in RECOMMENDED if name in here]
    return tuple(dict.fromkeys((*first, *here)))[:_MOST_RANKED]


def _ranked(ranked: Ranking) -> None:
    st.caption(
        f"Frozen, with a fitted last layer, cross-validated on {plural(ranked.images, 'picture')} to learn from; in brackets "
        "the range that the true share lies in, in 95 of 100 cases. LogME scores the same features another way; higher is better."
    )
    for row in ranked.rows:
        _ranked_row(row)
    for name, reason in ranked.failed.items():
        st.caption(f":material/block: {plain(name)}: {plain(reason, longest=400)}")


def _ranked_row(row: RankedBackbone) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key=f"ranked-{row.backbone}"):
        likeness = "much like what it learned before" if row.similar else "unlike what it learned before"
        st.markdown(
            f"**{plain(row.backbone)}** {percent(row.accuracy)} ({interval(*row.interval)}) "
            f":gray[LogME {row.logme:.2f}, {duration(row.seconds)} for all pictures; these are {likeness}]",
            width="stretch",
        )
        chosen = st.session_state.get("backbone") == row.backbone
        if row.backbone in networks():
            st.button(
                "In use" if chosen else "Use it",
                key=f"use-{row.backbone}",
                disabled=chosen,
                on_click=take,
                args=(row.backbone,),
                width=90,
            )
