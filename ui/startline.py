"""Start, and what is known before it: how long, how much memory, what learns, what is wrong. Knows estimates, no torch."""

from __future__ import annotations

import streamlit as st

from tl_core.documents.manifest import Manifest
from tl_core.documents.questions import Measurement
from tl_core.hardware import available_mb
from tl_core.models.weights import obtain as files
from tl_core.runs.process.devices import computes
from tl_core.runs.start import jobs
from tl_core.runs.start.estimating import kept
from tl_core.runs.store.store import Store
from tl_core.training.speed.estimate import Estimate, estimate, fits
from tl_core.training.strategies.strategies import AUTO, Strategy, default_strategy, strategies
from ui import measuring
from ui import network as drawing
from ui.places import Here
from ui.proposal import Plan
from ui.words import count, plain

DEVICE_WORDS = {"cpu": "this processor (CPU)", "cuda": "this GPU", "mps": "this Mac's GPU"}


def show(here: Here, plan: Plan, manifest: Manifest, train_images: int) -> bool:
    """Start, and beside it how long, where, how much will learn; under it what a longer run may buy. True when pressed.

    Where `auto` looks at the pictures before it chooses, both prices stand there.
    """
    device = jobs.detect_device()
    problems = plan.problems()
    measured = None if problems else measuring.known(plan, len(manifest.classes))
    found = _estimate(plan, plan.row, manifest)
    with st.container(horizontal=True, vertical_alignment="center", key="start-line"):
        pressed = st.button(
            "Start", type="primary", icon=":material/play_arrow:", key="start", width=160, disabled=bool(problems)
        )
        if plan.strategy == AUTO and plan.advice.strategy is None:
            st.markdown(f":material/timer: {auto_says(plan, manifest)}")
        else:
            st.markdown(_sentence(plan, found, device, measured, len(manifest.classes)))
    if problems:
        st.error(plain(" ".join(problems), longest=2000), icon=":material/error:")
        return False
    too_much = fits(found, available_mb(device))
    if too_much:
        st.warning(plain(too_much, longest=600), icon=":material/memory:")
    elif measured is None:
        measuring.keep_trying(here, plan, len(manifest.classes))
    _longer(plan, manifest, train_images)
    if pressed:
        measuring.stop(here)
    return pressed


def _sentence(plan: Plan, found: Estimate, device: str, measured: Measurement | None, classes: int) -> str:
    drawn = plan.drawn(classes)
    if measured and any(block.learns == "part" for block in drawn):
        learns = (
            f"{count(measured.peak_parameters)} of {count(sum(block.parameters for block in drawn))} parameters learn"
        )
    else:
        learns = drawing.totals(drawn)
    known = ", as measured here" if found.measured else ""
    memory = f", {found.memory.removeprefix('about ')} of memory" if found.memory else ""
    sentence = (
        f":material/timer: {found} on {DEVICE_WORDS[device]}{known}{memory}; {learns.replace(' learn', ' will learn')}."
    )
    if plan.row.pretrained and not files.available(plan.network, plan.options.weights):
        sentence += f" Before that it {files.describe(plan.network, plan.options.weights)}."
    return sentence


def _longer(plan: Plan, manifest: Manifest, train_images: int) -> None:
    proposed = default_strategy(jobs.detect_device(), train_images)
    if proposed.longer and proposed.longer_reason and plan.strategy == proposed.name:
        row = strategies()[proposed.longer]
        st.caption(
            f"{plain(proposed.longer_reason, longest=300)} “{row.title}” would take {_estimate(plan, row, manifest)}."
        )


def auto_says(plan: Plan, manifest: Manifest) -> str:
    """What `auto` would take and what that costs; both ways where it is still to be measured."""
    rows, advice = strategies(), plan.advice
    if advice.strategy:
        row = rows[advice.strategy]
        return f"Would take “{row.title}”, {_estimate(plan, row, manifest)}. {advice.reason}"
    similar, different = (rows[other.strategy] for other in advice.alternatives[:2])
    return (
        f"Looks at your pictures first. Where they are much like what the network learned before, it takes “{similar.title}”, "
        f"{_estimate(plan, similar, manifest)}; else “{different.title}”, {_estimate(plan, different, manifest)}."
    )


def _estimate(plan: Plan, row: Strategy, manifest: Manifest) -> Estimate:
    """For the plan's own row with everything that was changed, for another row with that row's own."""
    own = row.name == plan.row.name and plan.strategy != AUTO
    device = jobs.detect_device()
    return estimate(
        plan.network,
        row,
        images=len(manifest.images),
        classes=len(manifest.classes),
        device=device,
        stages=plan.stages,
        epochs=plan.options.epochs if own else None,
        recipe=plan.recipe() if own else None,
        solver=plan.options.solver if own else "logistic",
        image_size=plan.image_size,
        measured=measuring.known(plan, len(manifest.classes), row),
        kept=kept(manifest, plan.network, plan.options.weights, plan.image_size, Store.default().cache),
        precision=computes(device).precision,
        micro_batch=max(1, min(computes(device).micro_batch, plan.options.batch_size)),
    )
