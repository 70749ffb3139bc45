"""The job of a training run: its stages in order, none of which calls the next one."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from tl_core.disk import remove
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.runs.store.folders import RunFolder

if TYPE_CHECKING:
    from tl_core.runs.train.plan import Plan
    from tl_core.training.strategies.setup import Setup


def train_job(run: RunFolder) -> Generator[Event, None, None]:
    """Train what the spec asks for, to a bundle and a report in the run folder.

    Raises:
        GraftError: pictures, weights, memory or disk that do not suffice, in words.
    """
    yield StageStarted(stage="preparing", title="Preparing the pictures")
    from tl_core.runs.train.deliver import deliver
    from tl_core.runs.train.learn import learn
    from tl_core.runs.train.plan import Plan
    from tl_core.runs.train.resolve import prepare, resolve

    plan = Plan(run)
    run.discard_half_written()
    resumed = run.status().resumed
    if resumed is not None and resumed.epoch is None:
        run.best.unlink(missing_ok=True)
        run.checkpoint_file.unlink(missing_ok=True)
    pixels = yield from prepare(plan)
    yield from resolve(plan, pixels)
    if resumed is None:
        yield from _say_what_has_no_effect(plan.setup)
    if run.finishing:
        # It takes no steps, so later estimates must not learn from its time.
        plan.note(expected=None)
    else:
        yield from _say_what_it_takes(plan, done=resumed.epoch or 0 if resumed else 0)
    workshop = run.path / "workshop"
    remove(workshop)
    try:
        learned = yield from learn(plan, pixels, workshop)
        yield from deliver(plan, pixels, learned, workshop)
    finally:
        remove(workshop)
    run.finish_file.unlink(missing_ok=True)
    run.best.unlink(missing_ok=True)
    run.checkpoint_file.unlink(missing_ok=True)
    run.start_file.unlink(missing_ok=True)


def _say_what_has_no_effect(setup: Setup) -> Generator[Event, None, None]:
    from tl_core.runs.start.training_spec import without_effect

    idle = without_effect(setup)
    if idle:
        names = ", ".join(name.replace("_", " ") for name in idle)
        yield Notice(message=f"Without effect on {setup.spec.strategy} as it is trained here: {names}.")


def _say_what_it_takes(plan: Plan, *, done: int) -> Generator[Event, None, None]:
    """How long it should take after `done` epochs; where memory will not do for it, that too, and what would fit."""
    from tl_core.hardware import available_mb
    from tl_core.runs.train.resolve import after, estimated
    from tl_core.training.speed.estimate import memory_warning
    from tl_core.training.strategies.setup import Setup

    found = estimated(Setup.of(after(plan.spec, done)), plan.dataset, prepared=True)
    yield Notice(message=f"From here it should take {found} and {found.memory} of memory.")
    too_much = memory_warning(found, available_mb(plan.spec.device))
    if too_much:
        yield Notice(level="warning", message=too_much)
