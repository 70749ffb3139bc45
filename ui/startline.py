"""Start, and what is known before it: how long, how much memory, what learns, what is wrong. Knows estimates, no torch."""

from __future__ import annotations

import streamlit as st

from tl_core.documents.manifest import Manifest
from tl_core.models import weights as files
from tl_core.runs import jobs
from tl_core.training.advice import Advice
from tl_core.training.estimate import Estimate, estimate
from tl_core.training.strategies import AUTO, Strategy, default_strategy, strategies
from ui import network as drawing
from ui.plan import Plan
from ui.words import plain

DEVICE_WORDS = {"cpu": "this processor (CPU)", "cuda": "this GPU", "mps": "this Mac's GPU"}


def show(plan: Plan, manifest: Manifest, train_images: int) -> bool:
    """Start, and beside it how long, where, how much will learn; under it what a longer run may buy. True when pressed."""
    device = jobs.detect_device()
    drawn = plan.drawn(len(manifest.classes))
    sentence = (
        f":material/timer: {_about(plan, plan.row, len(manifest.images))} on {DEVICE_WORDS[device]}; "
        f"{drawing.totals(drawn).replace(' learn', ' will learn')}."
    )
    if plan.row.pretrained and not files.available(plan.network, plan.options.weights):
        sentence += f" Before that it {files.describe(plan.network, plan.options.weights)}."
    problems = plan.problems()
    with st.container(horizontal=True, vertical_alignment="center", key="start-line"):
        pressed = st.button(
            "Start", type="primary", icon=":material/play_arrow:", key="start", width=160, disabled=bool(problems)
        )
        st.markdown(sentence)
    if problems:
        st.error(plain(" ".join(problems), longest=2000), icon=":material/error:")
    _longer(plan, len(manifest.images), train_images)
    return pressed and not problems


def _longer(plan: Plan, images: int, train_images: int) -> None:
    proposed = default_strategy(jobs.detect_device(), train_images)
    if proposed.longer and proposed.longer_reason and plan.strategy == proposed.name:
        row = strategies()[proposed.longer]
        st.caption(
            f"{plain(proposed.longer_reason, longest=300)} “{row.title}” would take {_about(plan, row, images)}."
        )


def auto_says(plan: Plan, advice: Advice, images: int) -> str:
    """What `auto` would take and what that costs; both ways where it is still to be measured."""
    rows = strategies()
    if advice.strategy:
        row = rows[advice.strategy]
        return f"Would take “{row.title}”, {_about(plan, row, images)}. {advice.reason}"
    similar, different = (rows[other.strategy] for other in advice.alternatives[:2])
    return (
        f"Looks at your pictures first. Where they are much like what the network learned before, it takes “{similar.title}”, "
        f"{_about(plan, similar, images)}; else “{different.title}”, {_about(plan, different, images)}."
    )


def _about(plan: Plan, row: Strategy, images: int) -> Estimate:
    own = row.name == plan.row.name and plan.strategy != AUTO
    return estimate(
        plan.network,
        row,
        images=images,
        device=jobs.detect_device(),
        stages=plan.stages,
        epochs=plan.options.epochs if own else None,
        image_size=plan.options.image_size,
    )
