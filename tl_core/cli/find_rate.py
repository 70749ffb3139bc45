"""`find-rate`: which learning rate suits a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tl_core import api
from tl_core.cli import parameters, show

if TYPE_CHECKING:
    from tl_core.documents.spec import TrainSpec
    from tl_core.documents.tasks import RateCurve

_ROWS = 24
_WIDEST = 40


@parameters.with_options(
    "backbone", "weights", "strategy", "stages", "image_size", "batch_size", "seed", "device", "optimizer",
    "weight_decay", "augmentation",
)  # fmt: skip
def find_rate(
    data: parameters.Data, *, classes: parameters.Classes = "first", json: parameters.Json = False, **asked: Any
) -> None:
    """Find a learning rate for DATA: train with a rate that rises, and see where the loss falls fastest."""
    from tl_core.documents.tasks import RateCurve
    from tl_core.runs.start.training_spec import rate_task, require_strategy
    from tl_core.runs.store.store import Store
    from tl_core.runs.tasks.ask import ask_about

    place = Store.default().command_line_workspace()
    with show.Bars() as bars:
        request = api.checked(data, asked, classes, place, bars)
        options = request.options
        require_strategy(options)
        question, curve = ask_about(request.source, lambda dataset: rate_task(options, dataset), RateCurve, place, bars)
    if json:
        show.as_json(curve.model_dump(mode="json", include={"rates", "losses", "suggested"}))
        return
    tell_curve(curve)
    show.line(f"Suggested: {suggested(question.train, curve.suggested)}")


def suggested(spec: TrainSpec, rate: float) -> str:
    """The options of a run at the head's `rate`; the rates of stages rose with it, so they stay in proportion."""
    if spec.solver != "logistic":
        return f"--solver {spec.solver} --learning-rate {rate:.1e}"
    stages = rate * spec.recipe.stage_rate / spec.recipe.learning_rate
    return f"--strategy {spec.strategy} --learning-rate {rate:.1e} --stage-rate {stages:.1e}"


def tell_curve(curve: RateCurve) -> None:
    """The curve as a table with bars, thinned to what fits a screen."""
    count = len(curve.rates)
    kept = (
        sorted({round(index * (count - 1) / (_ROWS - 1)) for index in range(_ROWS)}) if count > _ROWS else range(count)
    )
    highest = max(curve.losses[index] for index in kept) or 1.0
    show.table(
        ["learning rate", "loss", ""],
        [
            [
                f"{curve.rates[index]:.1e}",
                f"{curve.losses[index]:.3f}",
                "#" * round(_WIDEST * curve.losses[index] / highest),
            ]
            for index in kept
        ],
    )
