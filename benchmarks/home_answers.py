"""Trains on the embedded sample, as `make demo` does, and writes answers to its test pictures into `ui/shown_answers.json`, for an empty Home.

python benchmarks/home_answers.py
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tl_core import api
from tl_core.data.samples import SHOWN
from tl_core.documents.report import Accuracy, ImageAnswer
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.store.store import Store
from tl_core.version import __version__
from ui.shown_answers import FILE, MISTAKES, ShownAnswer, ShownAnswers


def chosen(answers: Sequence[ImageAnswer]) -> list[ImageAnswer]:
    """Of each true class the surest right answer, in class order, and among them the surest mistakes, each of another true class."""
    surest = sorted(answers, key=lambda answer: -answer.probability)
    right: dict[int, ImageAnswer] = {}
    wrong: dict[int, ImageAnswer] = {}
    for answer in surest:
        (right if answer.truth == answer.predicted else wrong).setdefault(answer.truth, answer)
    shown = [right[label] for label in sorted(right)]
    for number, mistake in enumerate(list(wrong.values())[:MISTAKES]):
        shown.insert((number + 1) * len(right) // MISTAKES + number, mistake)
    return shown


def main() -> None:
    """Train on the sample, as the command line does, and write the file that Home reads."""
    run = RunFolder(Path(api.train(f"sample:{SHOWN}")["run_dir"]))
    spec, report = run.spec(), run.report()
    manifest = Store.default().workspace(spec.workspace).dataset(spec.dataset, spec.version).manifest()
    every = report.cross_validated
    assert every is not None, "a head alone is fitted"
    ShownAnswers(
        version=__version__,
        cross_validated=Accuracy(images=every.images, accuracy=every.accuracy, interval=every.interval),
        answers=tuple(
            ShownAnswer(
                file=manifest.images[answer.row].name.replace(" ", "_"),
                truth=report.classes[answer.truth],
                answer=report.classes[answer.predicted],
                probability=round(answer.probability, 4),
            )
            for answer in chosen(report.answers)
        ),
    ).write(FILE)


if __name__ == "__main__":
    main()
