"""The commands `evaluate`, `predict`, `threshold` and `export`, which use the bundle of a finished run."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from tl_core import api
from tl_core.cli import show
from tl_core.cli.parameters import CheckedClasses, Data, Json
from tl_core.disk import PassingFolder
from tl_core.documents.events import Event
from tl_core.documents.spec import ClassesFrom
from tl_core.errors import NotFound, SpecError

Measured = TypeVar("Measured")
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder, a bundle folder or a bundle zip.")]
PartOfData = Annotated[
    Literal["all", "train", "val", "test"],
    typer.Option(
        help="The part of DATA that is asked about: of its folders train, val and test, or of the run's own split if DATA is the run's."
    ),
]


def on_data(
    measure: Callable[..., Generator[Event, None, Measured]], run: str, data: str, split: str, classes: ClassesFrom
) -> Measured:
    """What `measure`, a function of `runs.evaluate_bundle`, finds with the bundle of `run` on the pictures of `data`."""
    from tl_core.data.sources import source_of
    from tl_core.runs.store.store import Store

    spec, predictor = source_of(data, classes), api.load(run)
    with PassingFolder() as workplace, show.Bars() as bars:
        return bars.run(measure(predictor, spec, part=split, workplace=Path(workplace), cache=Store.default().cache))


def evaluate(
    run: Run,
    data: Data,
    *,
    split: PartOfData = "all",
    classes: CheckedClasses = "first",
    json: Json = False,
) -> None:
    """Measure a run's bundle on another labelled folder."""
    from tl_core.evaluation.metrics import class_table, listed
    from tl_core.runs.evaluate_bundle import evaluate_bundle
    from tl_core.statements import leaked, right

    measured, leak = on_data(evaluate_bundle, run, data, split, classes)
    without = leak.without if leak else None
    if json:
        include = {"accuracy", "images", "interval", "per_class", *(metric.name for metric, _ in listed(measured))}
        of_leak = {
            "leaked_images": leak.images if leak else 0,
            "accuracy_without_leaked": without.accuracy if without else None,
            "interval_without_leaked": without.interval if without else None,
        }
        show.as_json(measured.model_dump(mode="json", include=include) | of_leak)
        return
    others = "".join(f"; {metric.title} {metric.write(value)}" for metric, value in listed(measured))
    show.line(f"{right(measured)}{others}.")
    if leak:
        show.line(leaked(leak, measured.images))
    show.table(*class_table(measured))


def predict(
    run: Run,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Pictures, or folders of them.")],
    *,
    json: Json = False,
) -> None:
    """Classify pictures; each answer has the five likeliest classes."""
    from tl_core.data import guarded
    from tl_core.serving.predictor import expand

    if not all(image.strip() for image in images):
        raise NotFound("The name of a picture is empty.")
    model = api.load(run)
    files = expand(images)
    if not files:
        raise NotFound(f"There are no pictures in {', '.join(images)}.")
    answers = model.answers(files, read=guarded.shared().read_input)
    if json:
        show.as_json(list(answers))
        return
    for answer in answers:
        if "error" in answer:
            show.line(f"{answer['file']}: not read. {answer['error']['message']}")
            continue
        others = ", ".join(f"{row['label']} {show.percent(row['probability'])}" for row in answer["top"][1:])
        said = f"{answer['label']} {show.percent(answer['probability'])}"
        said = f"{answer['file']}: {said if answer.get('sure', True) else f'not sure, perhaps {said}'}"
        show.line(f"{said} (then {others})" if others else said)


def threshold(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run that has ended well.")],
    probability: Annotated[
        float | None,
        typer.Argument(
            metavar="P",
            help="From which probability on an answer is sure, such as 0.8; without it, the present one is said.",
        ),
    ] = None,
    *,
    clear: Annotated[bool, typer.Option("--clear", help="Take the threshold out of the bundle.")] = False,
    json: Json = False,
) -> None:
    """Keep in a run's bundle how sure an answer has to be: below that, predict and the Predict page say "not sure"."""
    from tl_core.evaluation.calibration import withheld
    from tl_core.runs.finished import keep_threshold, kept_threshold, source_of
    from tl_core.runs.store.folders import RunFolder
    from tl_core.statements import statement

    if clear and probability is not None:
        raise SpecError("--clear takes the threshold away: give it, or a probability, not both.")
    folder = RunFolder(run.absolute())
    if clear or probability is not None:
        keep_threshold(folder, probability)
    source = source_of(folder)
    said, kept = statement(source, "threshold"), kept_threshold(folder)
    answers = withheld(source.report.answers, kept) if kept is not None else None
    if json:
        show.as_json(
            {
                "threshold": kept,
                "answered": answers.coverage if answers else None,
                "answered_interval": answers.coverage_interval if answers else None,
                "right": answers.accuracy if answers else None,
                "right_interval": answers.accuracy_interval if answers and answers.answered else None,
            }
        )
    else:
        show.line(said.text if said else "The bundle has no threshold: every answer counts.")


def export(
    run: Run,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE.zip", help="The zip to write.")],
    json: Json = False,
) -> None:
    """Write a run's bundle as a zip."""
    from tl_core.serving.bundle import to_zip
    from tl_core.serving.child_session import ChildSession

    if out.is_dir() or not out.absolute().parent.is_dir():
        raise NotFound(f"{out} cannot be written: name a file in a folder that exists, such as bundle.zip.")
    to_zip(Path(run), out, check=ChildSession().open)
    size = out.stat().st_size
    if json:
        show.as_json({"file": str(out.absolute()), "bytes": size})
    else:
        show.line(f"{out}: {size / 1e6:.1f} MB")
