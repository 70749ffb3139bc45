"""The job of a training run: its stages in order, none of which calls the next one."""

from collections.abc import Generator

from tl_core.disk import remove
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.runs.store.folders import RunFolder


def train_job(run: RunFolder) -> Generator[Event, None, None]:
    """Train what the spec asks for, to a bundle and a report in the run folder.

    Raises:
        GraftError: pictures, weights, memory or disk that do not suffice, in words.
    """
    yield StageStarted(stage="preparing", title="Preparing the pictures")
    from tl_core.runs.start.training_spec import without_effect
    from tl_core.runs.train.deliver import deliver
    from tl_core.runs.train.plan import Plan, prepare, resolve, said_before

    plan = Plan(run)
    run.discard_half_written()
    resumed = run.status().resumed
    if resumed is not None and resumed.epoch is None:
        run.best.unlink(missing_ok=True)
        run.checkpoint_file.unlink(missing_ok=True)
    pixels = yield from prepare(plan)
    yield from resolve(plan, pixels)
    idle = ", ".join(name.replace("_", " ") for name in without_effect(plan.setup))
    if idle and resumed is None:
        yield Notice(message=f"Without effect on {plan.spec.strategy} as it is trained here: {idle}.")
    if run.finishing:
        # It takes no steps, so later estimates must not learn from its time.
        plan.note(expected=None)
    else:
        yield from said_before(plan, done=resumed.epoch or 0 if resumed else 0)
    workshop = run.path / "workshop"
    remove(workshop)
    try:
        if plan.strategy.takes_steps:
            # Needs torch, which a head alone does not.
            from tl_core.runs.train.fine_tune import learn_stages as learn
        else:
            from tl_core.runs.train.find_head import learn_head as learn
        learned = yield from learn(plan, pixels, workshop)
        yield from deliver(plan, pixels, learned, workshop)
    finally:
        remove(workshop)
    run.finish_file.unlink(missing_ok=True)
    run.best.unlink(missing_ok=True)
    run.checkpoint_file.unlink(missing_ok=True)
    run.start_file.unlink(missing_ok=True)
