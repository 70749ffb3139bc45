"""The commands that ask a task: `rank`, `find-rate`, `slices` and `robustness`, and how their answers are written for people."""

from functools import partial
from typing import Annotated, Any

import typer

from tl_core import api
from tl_core.cli import parameters, printing
from tl_core.cli.bundles import PartOfData, on_data
from tl_core.documents.spec import TrainSpec
from tl_core.documents.tasks import Ranking, RankSpec, RateCurve, Robustness, RunSlices
from tl_core.errors import GraftError, SpecError
from tl_core.runs.store.store import Store, Workspace

_RATES = 24
"""Rows of the table of learning rates; all rates are in the JSON."""
_WIDEST = 40
"""Signs of the longest bar in it."""
_SLICES = 10
"""Rows of the table of slices; all slices are in the JSON."""
_JUDGED_BY = {
    "cross_validated": "the cross-validated answers to all {images:,} pictures",
    "test": "the answers to the {images:,} test pictures",
}


@parameters.with_options("seed", "device")
def rank(
    data: parameters.Data,
    *,
    backbones: Annotated[
        str | None,
        typer.Option("--backbones", metavar="A,B", help="Those to compare; all that are here now unless said."),
    ] = None,
    classes: parameters.Classes = "first",
    json: parameters.Json = False,
    **asked: Any,
) -> None:
    """Say which backbone suits DATA: each is tried, frozen, on the training pictures."""
    from tl_core.runs.tasks.ask import ask_about

    place = Store.default().command_line_workspace()
    with printing.Bars() as bars:
        names = _names(backbones, place, bars)
        request = api.checked(data, {"backbone": names[0], **asked}, classes, place, bars, weights=False)
        how = request.options.model_dump(include={"seed", "device"})
        _, ranking = ask_about(
            request.source,
            lambda dataset: RankSpec(workspace=place.token, dataset=dataset.id, backbones=names, **how),
            Ranking,
            place,
            bars,
        )
    printing.answer(ranking, _ranking, json=json)


def _names(wanted: str | None, place: Workspace, bars: printing.Bars) -> tuple[str, ...]:
    """The backbones to compare. Raises SpecError with every name that is none."""
    from tl_core.models.weights.obtain import available_names
    from tl_core.runs.start.training_spec import attempt
    from tl_core.runs.tasks.ask import described

    names = parameters.names(wanted, "backbones")
    if not names:
        return tuple(available_names(place.backbones()))
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


def _ranking(ranking: Ranking) -> None:
    printing.table(
        ["backbone", "right", "95 %", "LogME", "seconds", "these pictures"],
        [
            [
                row.backbone,
                printing.percent(row.accuracy),
                _range(row.interval),
                f"{row.logme:.3f}",
                f"{row.seconds:.1f}",
                "similar" if row.similar else "different",
            ]
            for row in ranking.rows
        ],
    )
    printing.line(
        f"Right: a fitted last layer (head) on the frozen backbone, cross-validated on {ranking.images:,} training pictures of "
        f"{ranking.classes} classes. Seconds: for the features of all pictures."
    )
    for name, reason in ranking.failed.items():
        printing.line(f"{name} could not be scored. {reason}")


@parameters.with_options(
    "backbone", "weights", "strategy", "stages", "image_size", "batch_size", "seed", "device", "optimizer",
    "weight_decay", "augmentation",
)  # fmt: skip
def find_rate(
    data: parameters.Data, *, classes: parameters.Classes = "first", json: parameters.Json = False, **asked: Any
) -> None:
    """Find a learning rate for DATA: train with a rate that rises, and see where the loss falls fastest."""
    from tl_core.runs.start.training_spec import rate_task, require_strategy
    from tl_core.runs.tasks.ask import ask_about

    place = Store.default().command_line_workspace()
    with printing.Bars() as bars:
        request = api.checked(data, asked, classes, place, bars)
        require_strategy(request.options)
        spec, curve = ask_about(request.source, partial(rate_task, request.options), RateCurve, place, bars)
    printing.answer(curve, partial(_curve, spec.train), json=json)


def _curve(spec: TrainSpec, curve: RateCurve) -> None:
    """The curve as a table with bars, thinned to what fits a screen, and the options of the run of `spec` at the rate that it suggests."""
    last = len(curve.rates) - 1
    shown = (
        sorted({round(place * last / (_RATES - 1)) for place in range(_RATES)}) if last >= _RATES else range(last + 1)
    )
    highest = max(curve.losses[place] for place in shown) or 1.0
    printing.table(
        ["learning rate", "loss", ""],
        [
            [f"{rate:.1e}", f"{loss:.3f}", "#" * round(_WIDEST * loss / highest)]
            for rate, loss in ((curve.rates[place], curve.losses[place]) for place in shown)
        ],
    )
    printing.line(f"Suggested: {suggested(spec, curve.suggested)}")


def suggested(spec: TrainSpec, rate: float) -> str:
    """The options of a run at the head's `rate`; the rates of stages rose with it, so they stay in proportion."""
    if spec.solver != "logistic":
        return f"--solver {spec.solver} --learning-rate {rate:.1e}"
    stages = rate * spec.recipe.stage_rate / spec.recipe.learning_rate
    return f"--strategy {spec.strategy} --learning-rate {rate:.1e} --stage-rate {stages:.1e}"


def slices(
    run: parameters.EndedRun,
    *,
    json: parameters.Json = False,
) -> None:
    """Say on which of its pictures a run fails: dark or small ones, a folder, a group, pictures that look alike."""
    from tl_core.runs.tasks.slices import run_slices
    from tl_core.runs.tasks.subject import require_ended

    folder = parameters.opened(run)
    require_ended(folder)
    with printing.Bars() as bars:
        answer = bars.run(run_slices(folder))
    if not json:
        _slices(answer)
        return
    rows = [
        each.model_dump(mode="json", exclude={"answers"})
        | {"finding": each in answer.findings, "rows": [picture.row for picture in each.answers]}
        for each in answer.slices
    ]
    printing.as_json(answer.model_dump(mode="json", include={"judged_by", "images", "accuracy"}) | {"slices": rows})


def _slices(answer: RunSlices) -> None:
    findings, count = answer.findings, len(answer.slices)
    printing.line(
        f"It fails more often than chance explains on {len(findings)} of the {count} kinds of pictures (slices) looked at."
        if findings
        else f"No kind of picture fails more often than chance explains; {count} kinds (slices) have enough pictures to tell."
    )
    printing.table(
        ["finding", "kind", "pictures", "number", "right", "95 %", "elsewhere", "p"],
        [
            [
                "yes" if each in findings else "",
                each.kind,
                f"{each.name}: {each.detail}" if each.detail else each.name,
                str(each.images),
                printing.percent(each.accuracy),
                _range(each.interval),
                printing.percent(each.elsewhere),
                f"{each.p_value:.4f}",
            ]
            for each in (*findings, *(other for other in answer.slices if other not in findings))[:_SLICES]
        ],
    )
    printing.line(
        f"Judged by {_JUDGED_BY[answer.judged_by].format(images=answer.images)}, {printing.percent(answer.accuracy)} right. Pictures are compared "
        "with others of their class; p is corrected for all slices."
    )


def robustness(
    run: parameters.Run,
    data: parameters.Data,
    *,
    split: PartOfData = "test",
    classes: parameters.CheckedClasses = "first",
    json: parameters.Json = False,
) -> None:
    """Measure a run's bundle on pictures that are blurred, dark, turned and so on."""
    from tl_core.runs.evaluate_bundle import bundle_robustness

    printing.answer(on_data(bundle_robustness, run, data, split, classes), _robustness, json=json)


def _robustness(answer: Robustness) -> None:
    from tl_core.evaluation.comparison import LEVEL
    from tl_core.evaluation.corruptions import CORRUPTIONS
    from tl_core.statements import corrupted

    title, text = corrupted(answer)
    printing.line(f"{title}. {text}")
    printing.table(
        ["corruption", "right at each strength", "the strongest", "percentage points lost there"],
        [
            [
                CORRUPTIONS[effect.corruption].title,
                ", ".join(printing.percent(at.accuracy) for at in effect.strengths),
                effect.strengths[-1].strength,
                f"{100 * effect.strengths[-1].drop:.1f}" + ("" if effect.p_value < LEVEL else ", within chance"),
            ]
            for effect in answer.effects
        ],
    )


def _range(interval: tuple[float, float]) -> str:
    return f"{printing.percent(interval[0])} to {printing.percent(interval[1])}"
