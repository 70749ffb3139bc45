"""Opens the choices of an earlier run on the Train page, with some of them changed."""

from typing import Any

import streamlit as st

from tl_core.data.split import DEFAULT_SEED
from tl_core.documents.options import OPTIONS
from tl_core.documents.spec import TrainSpec
from ui.places import TRAIN, Here
from ui.train_page import backbones, cards
from ui.train_page.cards import PREFIX


def go(here: Here, spec: TrainSpec, *, strategy: str, **changes: Any) -> None:
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
    own = {"seed": DEFAULT_SEED, "image_size": size}
    kept = {name: value for name, usual in own.items() if (value := getattr(spec, name)) != usual}
    for name, value in {**kept, **(spec.changes if strategy == spec.strategy else {}), **changes}.items():
        option = OPTIONS[name]
        st.session_state[PREFIX + name] = f"{value:g}" if option.tiny else value
    here.go(TRAIN, dataset=spec.dataset)
