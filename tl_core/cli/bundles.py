"""The commands that use a finished run or its bundle: `evaluate`, `predict`, `explain`, `threshold`, `export`, `compare` and `story`."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from PIL import Image

from tl_core import api
from tl_core.cli import printing
from tl_core.cli.parameters import CheckedClasses, Data, EndedRun, Json, Run, opened
from tl_core.data.sources import source_of
from tl_core.disk import PassingFolder, appearing, write_atomically
from tl_core.documents.events import Event
from tl_core.documents.spec import ClassesFrom
from tl_core.errors import GraftError, NotEmpty, NotFound, SpecError, UnknownName
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.store.store import Store
from tl_core.story.pictures import MISTAKES, MOST_PICKED, RIGHT

if TYPE_CHECKING:
    from tl_core.runs.comparing import Together

Measured = TypeVar("Measured")
PartOfData = Annotated[
    Literal["all", "train", "val", "test"],
    typer.Option(
        help="The part of DATA that is asked about: of its folders train, val and test, or of the run's own split if DATA is the run's."
    ),
]
_SIDE = 1024
"""Longest side of the picture that `explain` writes, pixels."""


def on_data(
    measure: Callable[..., Generator[Event, None, Measured]], run: str, data: str, split: str, classes: ClassesFrom
) -> Measured:
    """What `measure`, a function of `runs.evaluate_bundle`, finds with the bundle of `run` on the pictures of `data`."""
    spec, predictor = source_of(data, classes), api.load(run)
    with PassingFolder() as workplace, printing.Bars() as bars:
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
        printing.as_json(measured.model_dump(mode="json", include=include) | of_leak)
        return
    others = "".join(f"; {metric.title} {metric.write(value)}" for metric, value in listed(measured))
    printing.line(f"{right(measured)}{others}.")
    if leak:
        printing.line(leaked(leak, measured.images))
    printing.table(*class_table(measured))


def predict(
    run: Run,
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="Pictures, or folders of them.")],
    *,
    json: Json = False,
) -> None:
    """Classify pictures; each answer has the five likeliest classes."""
    from tl_core.data import guarded
    from tl_core.serving.predictor import expand

    files = expand(images)
    if not files:
        raise NotFound(f"There are no pictures in {', '.join(images)}.")
    model = api.load(run)
    answers: list[dict[str, Any]] = []
    for answer in model.answers(files, read=guarded.shared().read_input):
        answers.append(answer)
        if not json:
            printing.line(_in_words(answer))
    if json:
        printing.as_json(answers)
    if all("error" in answer for answer in answers):
        raise typer.Exit(GraftError.exit_code)


def _in_words(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return f"{answer['file']}: not read. {answer['error']['message']}"
    others = ", ".join(f"{row['label']} {printing.percent(row['probability'])}" for row in answer["top"][1:])
    text = f"{answer['label']} {printing.percent(answer['probability'])}"
    text = f"{answer['file']}: {text if answer.get('sure', True) else f'not sure, perhaps {text}'}"
    return f"{text} (then {others})" if others else text


def explain(
    run: Run,
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="One picture.")],
    *,
    out: Annotated[
        Path, typer.Option(metavar="FILE.png", help="The picture with its heat, to write; it must not be there yet.")
    ],
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="NAME", help="The class whose evidence is shown; without it, that of the answer."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show where in a picture the evidence for a class lies, in the last features of a run's network."""
    from tl_core.data import guarded
    from tl_core.data.pixels import read_bytes
    from tl_core.serving.explaining import gradient_evidence
    from tl_core.serving.heatmaps import heat, linear, margins, overlay, peak_of

    _require_new(out, ".png", "why.png")
    if not image.is_file():
        raise NotFound(f"There is no picture {image}.")
    model = api.load(run)
    if class_name is not None and class_name not in model.classes:
        raise UnknownName.among("class", class_name, model.classes)
    made = guarded.shared().make_input(read_bytes(image), model.info.image_size, model.info.interpolation, shown=_SIDE)
    insight = model.insight(made.pixels)
    answer = model.ranked(insight.probabilities)
    wanted = answer["label"] if class_name is None else class_name
    index, exact = model.classes.index(wanted), linear(model.info)
    positions = insight.evidence[index] if exact else gradient_evidence(model.bundle, made.pixels, [index])[0]
    with Image.open(io.BytesIO(made.shown)) as shown:
        picture = shown.convert("RGB")
    hot = heat(positions, *picture.size, margins(model.info, len(positions)))
    with appearing(out, str(out)) as temporary:
        overlay(picture, hot).save(temporary, "PNG")
    peak = peak_of(hot)
    if json:
        printing.as_json(
            {
                "file": str(image),
                **answer,
                "class": wanted,
                "peak": None if peak is None else {"x": round(peak.x, 4), "y": round(peak.y, 4)},
                "method": "class activation" if exact else "gradients",
                "out": str(out.absolute()),
            }
        )
        return
    printing.line(f"{image}: {answer['label']} {printing.percent(answer['probability'])}")
    printing.line(
        f"No place speaks for {wanted} more than for the other classes."
        if peak is None
        else f"Most of the evidence for {wanted} lies {printing.percent(round(peak.x, 2))} from the left and "
        f"{printing.percent(round(peak.y, 2))} from the top; it is no proof of what the network looked at."
    )
    printing.line(f"{out}: written")


def threshold(
    run: EndedRun,
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
    from tl_core.statements import statement

    if clear and probability is not None:
        raise SpecError("--clear takes the threshold away: give it, or a probability, not both.")
    folder = opened(run)
    if clear or probability is not None:
        keep_threshold(folder, probability)
    source = source_of(folder)
    sentence, lowest = statement(source, "threshold"), kept_threshold(folder)
    answers = withheld(source.report.answers, lowest) if lowest is not None else None
    if json:
        printing.as_json(
            {
                "threshold": lowest,
                "answered": answers.coverage if answers else None,
                "answered_interval": answers.coverage_interval if answers else None,
                "right": answers.accuracy if answers else None,
                "right_interval": answers.accuracy_interval if answers and answers.answered else None,
            }
        )
    else:
        printing.line(sentence.text if sentence else "The bundle has no threshold: every answer counts.")


def export(
    run: Run,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE.zip", help="The zip to write; it must not be there yet.")],
    json: Json = False,
) -> None:
    """Write a run's bundle as a zip."""
    from tl_core.serving.bundle import to_zip
    from tl_core.serving.child_session import ChildSession

    _require_new(out, ".zip", "bundle.zip")
    to_zip(Path(run), out, check=ChildSession().open)
    size = out.stat().st_size
    printing.answer(
        {"file": str(out.absolute()), "bytes": size}, lambda _: printing.line(f"{out}: {size / 1e6:.1f} MB"), json=json
    )


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="The folders of runs that have ended well.")],
    *,
    json: Json = False,
) -> None:
    """Say which run is better, on the pictures that all of them were judged on and none learned from."""
    from tl_core.runs.comparing import together

    folders = [opened(run) for run in runs]
    if len({folder.path.resolve() for folder in folders}) < max(2, len(folders)):
        raise SpecError("Name the folders of two different runs or more; each is compared with each other one.")
    compared = together(folders)
    if len(compared.tested) < 2:
        raise SpecError.of(f"{left.run.name!r} is not compared. {left.reason}" for left in compared.left_out)
    if json:
        pairs = _pairs(folders, compared)
        printing.as_json(pairs[0] if len(pairs) == 1 else pairs)
    else:
        _tell(compared)
    for left in compared.left_out:
        printing.aside(f"{left.run.name!r} is not compared with the others. {left.reason}")


def _require_new(file: Path, ending: str, example: str) -> None:
    """Check that `file` may be written: it has this `ending`, its folder exists, and it is not there yet.

    Raises:
        NotFound: it has another ending, or no folder.
        NotEmpty: it is there already; it may be all that somebody has.
    """
    if file.suffix.lower() != ending or not file.absolute().parent.is_dir():
        raise NotFound(f"{file} cannot be written: name a file such as {example} in a folder that exists.")
    if file.exists():
        raise NotEmpty(f"{file} is there already. Name a file that is not there yet.")


def _pairs(folders: list[RunFolder], compared: Together) -> list[dict[str, Any]]:
    """One object for each pair of the runs, in the order in which they were given."""
    figures = dict(zip((run.path for run in compared.runs), compared.figures, strict=True))
    verdicts = dict(zip(combinations(figures, 2), compared.comparisons, strict=True))
    reasons = {left.run.path: left.reason for left in compared.left_out}
    common = {"leaked_images": compared.leaked, "cautions": compared.cautions()}
    pairs: list[dict[str, Any]] = []
    for runs in combinations(folders, 2):
        first, second = (run.path for run in runs)
        if (first, second) in verdicts:
            verdict = verdicts[first, second].model_dump(mode="json")
            pairs.append({**verdict, "a": figures[first], "b": figures[second], **common})
        else:
            a, b = ({"run_dir": str(run.path), "name": run.name} for run in runs)
            pairs.append({"verdict": None, "reason": reasons.get(second) or reasons[first], "a": a, "b": b})
    return pairs


def _tell(compared: Together) -> None:
    letters = [_letter(number) for number in range(len(compared.runs))]
    printing.table(
        ["", "run", "right", "95 %", "seconds", "MB"],
        [
            [
                letter,
                each.name,
                printing.percent(each.accuracy),
                " to ".join(map(printing.percent, each.interval)),
                "-" if each.seconds is None else f"{each.seconds:.1f}",
                "-" if each.megabytes is None else f"{each.megabytes:.1f}",
            ]
            for letter, each in zip(letters, compared.figures, strict=True)
        ],
    )
    printing.line(
        f"On the {len(compared.pictures):,} test pictures that all of them were judged on and none learned from. Seconds are those of the whole run."
    )
    for (a, b), each in zip(combinations(letters, 2), compared.comparisons, strict=True):
        low, high = each.interval
        printing.line(
            f"{b} against {a}: {each.said}. {100 * each.difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f}), p = {each.p_value:.2g}; "
            f"the answers differ on {each.differ:,} pictures, of which only {a} has {each.only_a:,} right and only {b} {each.only_b:,}."
        )
    if len(letters) > 2:
        printing.line("The p-values are corrected for so many pairs (Holm).")
    for caution in compared.cautions():
        printing.line(caution)


def _letter(number: int) -> str:
    """A to Z, then A1 to Z1."""
    return chr(ord("A") + number % 26) + (str(number // 26) if number >= 26 else "")


def story(
    run: EndedRun,
    *,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="The file to write; it must not be there yet.")],
    mistakes: Annotated[
        int, typer.Option(metavar="N", help="How many mistakes are shown, those that it was surest of.")
    ] = MISTAKES,
    right: Annotated[int, typer.Option(metavar="N", help="How many right answers are shown, taken evenly.")] = RIGHT,
    picture: Annotated[
        list[int] | None,
        typer.Option(
            metavar="ROW",
            help="Show the answer to this test picture instead, by its row in the data set, as report.json has it; once for each picture.",
        ),
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Write the names of files, folders and groups into it, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Tell what a run learned, how good it is and what it cannot do, in one HTML file of at most 3 MB."""
    from tl_core.runs.finished import source_of
    from tl_core.story.html import story as told
    from tl_core.story.pictures import proposed

    _require_new(out, ".html", "story.html")
    if min(mistakes, right) < 0:
        raise SpecError(f"{mistakes} mistakes and {right} right answers cannot be shown. Name numbers from 0 on.")
    source = replace(source_of(opened(run)), names=names)
    wanted = proposed(source.report, mistakes=mistakes, right=right)
    if picture:
        by_row = {answer.row: answer for answer in source.report.answers}
        unknown = [row for row in picture if row not in by_row]
        if unknown:
            raise SpecError(
                f"There is no test picture in row {', '.join(map(str, unknown))}: the run has {len(by_row):,} test pictures, and "
                f"`answers` of its report.json has the row of each, such as {next(iter(by_row))}."
            )
        wanted = [by_row[row] for row in dict.fromkeys(picture)]
    if len(wanted) > MOST_PICKED:
        raise SpecError(f"{len(wanted):,} answers are to be shown; a story shows {MOST_PICKED} at most.")
    made = told(source, wanted)
    write_atomically(out, made.html.encode())
    if json:
        printing.as_json(
            {
                "file": str(out.absolute()),
                "bytes": made.bytes,
                "rows": [answer.row for answer in made.answers],
                "left_out": made.left_out,
                "pictures": source.manifest is not None,
            }
        )
        return
    wrong = sum(answer.truth != answer.predicted for answer in made.answers)
    shown = f"{wrong:,} mistakes and {len(made.answers) - wrong:,} right answers as pictures"
    printing.line(f"{out}: {-(-made.bytes // 1000):,} kB, {shown}.")
    if source.manifest is None:
        printing.line("Its data set is not in this store any more, so the story has no pictures, and says so.")
    elif made.left_out:
        printing.line(
            f"{made.left_out:,} more were to be shown: their pictures are gone, or the file would be larger than 3 MB."
        )
