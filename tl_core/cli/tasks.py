"""`describe`, `find-rate`: small questions that are worth a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tl_core import api
from tl_core.cli import options, show
from tl_core.errors import NotFound

if TYPE_CHECKING:
    from tl_core.documents.spec import ClassesFrom
    from tl_core.documents.tasks import RateCurve
    from tl_core.runs.options import TrainingOptions

_ROWS = 24
_WIDEST = 40


def find_rate(
    data: options.Data,
    *,
    backbone: options.Backbone = "efficientnet_lite0",
    weights: options.Weights = None,
    strategy: options.Strategy = None,
    stages: options.Stages = None,
    image_size: options.ImageSize = None,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    classes: options.Classes = "first",
    json: options.Json = False,
    batch_size: options.BatchSize = 32,
    optimizer: options.Optimizer = None,
    weight_decay: options.WeightDecay = None,
    augmentation: options.Augmentation = None,
) -> None:
    """Find a learning rate for DATA: train with a rate that rises, and see where the loss falls fastest."""
    from tl_core.runs.options import TrainingOptions, require_row

    source = api.source_of(data)
    wanted = TrainingOptions(
        backbone=backbone,
        weights=weights,
        strategy=strategy,
        stages=stages,
        image_size=image_size,
        seed=seed,
        device=device,
        batch_size=batch_size,
        recipe={"optimizer": optimizer, "weight_decay": weight_decay, "augmentation": augmentation},
    )
    classes_from = api.checked(wanted, classes)
    require_row(wanted)
    with show.Bars() as bars:
        curve = _curve(source, classes_from, wanted, bars)
    if json:
        show.as_json(curve.model_dump(mode="json", include={"rates", "losses", "suggested"}))
        return
    tell_curve(curve)


def _curve(source: api.Source, classes_from: ClassesFrom, wanted: TrainingOptions, bars: show.Bars) -> RateCurve:
    """Read the pictures, ask, and leave nothing behind."""
    from tl_core.documents.tasks import RateCurve
    from tl_core.runs import jobs
    from tl_core.runs.options import rate_question
    from tl_core.runs.store import JobFolder, Store
    from tl_core.runs.tasks import ask

    place = Store.default().command_line_workspace()
    dataset = jobs.submit_ingest(
        place, source_kind=source.kind, source=source.where, name=source.name, classes_from=classes_from
    )
    made: list[JobFolder] = [dataset]
    try:
        api.finish(dataset, bars)
        task = ask(place, rate_question(wanted, dataset))
        made.insert(0, task)
        api.finish(task, bars)
        curve = task.answer(RateCurve)
    finally:
        api.clear_away(made)
    if curve is None:
        raise NotFound("The answer is gone. Ask again.")
    return curve


def tell_curve(curve: RateCurve) -> None:
    """The curve as a table with bars, thinned to what fits a screen, and the suggestion."""
    count = len(curve.rates)
    kept = (
        sorted({round(index * (count - 1) / (_ROWS - 1)) for index in range(_ROWS)}) if count > _ROWS else range(count)
    )
    highest = max(curve.losses[index] for index in kept)
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
    show.line(f"Suggested: --learning-rate {curve.suggested:.1e}")
