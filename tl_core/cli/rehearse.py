"""`rehearse`: goes through what is to be shown before anybody sees it, and says what is missing."""

from __future__ import annotations

from tl_core.cli import show
from tl_core.cli.parameters import Json
from tl_core.documents.rehearsed import RehearsedStep

_NOT_READY = 2


def rehearse(*, json: Json = False) -> int:
    """Read the sample of "Show me", train and predict, twice: the first time prepares, the second is what people will see.

    Says how long each step takes on this machine, and what is missing. The exit code is 2 where something stands in the way of showing it.
    """
    from tl_core.runs import rehearsal
    from tl_core.runs.store.store import Store

    with show.Bars() as bars:
        found = rehearsal.rehearse(Store.default(), on_event=bars)
    if json:
        show.as_json(found.model_dump(mode="json"))
    else:
        rows = [[step.title, _time(step.first), _time(step.again) or _not_done(step)] for step in found.steps]
        whole = [] if found.walk_seconds is None else [["Together", "", _time(found.walk_seconds)]]
        show.line(f"{found.title}, on {found.machine}")
        show.table(["step", "first time", "next time"], [*rows, *whole])
        show.line("What is missing:")
        for sentence in found.missing:
            show.line(f"- {sentence}")
        if found.ready:
            show.line("Ready to be shown. Only a browser knows of its camera: Rehearse on the app's Home asks for it.")
    for step in found.steps:
        if step.log:
            show.aside(f"{step.title}, the end of its log:")
            for text in step.log.splitlines():
                show.aside(f"  {text}")
    for problem in found.problems:
        show.aside(problem)
    return 0 if found.ready else _NOT_READY


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def _not_done(step: RehearsedStep) -> str:
    return "failed" if step.problem else "not tried"
