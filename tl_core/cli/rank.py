"""`rank`: which backbone suits a data set."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tl_core import api
from tl_core.cli import parameters, show
from tl_core.errors import GraftError, SpecError

if TYPE_CHECKING:
    from tl_core.runs.store.folders import DatasetFolder
    from tl_core.runs.store.store import Workspace

Names = Annotated[
    str | None, typer.Option("--backbones", metavar="A,B", help="Those to compare; all that are here now unless said.")
]


@parameters.with_options("seed", "device")
def rank(
    data: parameters.Data,
    *,
    backbones: Names = None,
    classes: parameters.Classes = "first",
    json: parameters.Json = False,
    **asked: Any,
) -> None:
    """Say which backbone suits DATA: each is tried, frozen, on the training pictures."""
    from tl_core.documents.tasks import Ranking, RankSpec
    from tl_core.runs.store.store import Store
    from tl_core.runs.tasks.ask import ask_about

    place = Store.default().command_line_workspace()

    def question(dataset: DatasetFolder) -> RankSpec:
        return RankSpec(
            workspace=place.token,
            dataset=dataset.id,
            backbones=names,
            seed=request.options.seed,
            device=request.options.device,
        )

    with show.Bars() as bars:
        names = _names(backbones, place, bars)
        request = api.checked(data, {"backbone": names[0], **asked}, classes, place, bars, weights=False)
        _, ranking = ask_about(request.source, question, Ranking, place, bars)
    if json:
        show.as_json(ranking.model_dump(mode="json", include={"images", "classes", "rows", "failed"}))
        return
    show.table(
        ["backbone", "right", "95 %", "LogME", "seconds", "these pictures"],
        [
            [
                row.backbone,
                show.percent(row.accuracy),
                f"{show.percent(row.interval[0])} to {show.percent(row.interval[1])}",
                f"{row.logme:.3f}",
                f"{row.seconds:.1f}",
                "similar" if row.similar else "different",
            ]
            for row in ranking.rows
        ],
    )
    show.line(
        f"Right: a fitted last layer (head) on the frozen backbone, cross-validated on {ranking.images:,} training pictures of "
        f"{ranking.classes} classes. Seconds: for the features of all pictures."
    )
    for name, reason in ranking.failed.items():
        show.line(f"{name} could not be scored. {reason}")


def _names(wanted: str | None, place: Workspace, bars: show.Bars) -> tuple[str, ...]:
    """The backbones to compare. Raises SpecError with every name that is none."""
    from tl_core.models.weights.obtain import available_names
    from tl_core.runs.start.training_spec import attempt
    from tl_core.runs.tasks.ask import described

    if wanted is None:
        return tuple(available_names(place.backbones()))
    names = tuple(dict.fromkeys(name.strip() for name in wanted.split(",") if name.strip()))
    if not names:
        raise SpecError("Name at least one backbone, or leave --backbones out.")
    problems: list[GraftError] = []
    for name in names:
        attempt(partial(described, name, place, bars), problems)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        # The list of all names there are is long, and once is enough.
        first, *rest = (problem.message for problem in problems)
        raise SpecError.of([*(message.partition(". ")[0] + "." for message in rest), first])
    return names
