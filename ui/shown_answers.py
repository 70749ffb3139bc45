"""Pictures with the answers that Graft gave to them, for an empty Home: the embedded sample, trained on by this version.

`python -m ui.shown_answers` (`make answers`) trains on the sample as `make demo` does, and writes answers to test pictures into
`ui/shown_answers.json`: of each class the right answer that it was surest of, and its surest mistakes.
"""

import importlib.resources
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import streamlit as st

from tl_core.data.samples import SHOWN
from tl_core.documents.base import Document, Record
from tl_core.documents.report import Accuracy, ImageAnswer
from tl_core.errors import DocumentError
from tl_core.version import __version__
from ui import grids
from ui.words import interval, percent, plain

FILE = Path(__file__).with_suffix(".json")
_MISTAKES = 2
"""How many mistakes are shown, each of another class."""


class ShownAnswer(Record):
    """One test picture, and what was said of it."""

    file: str
    """Of the picture, from the folder of the sample in the package."""
    truth: str
    answer: str
    probability: float
    """Of the answer."""

    @property
    def picture(self) -> Path:
        return Path(str(importlib.resources.files("tl_core.data") / SHOWN / self.file))


class ShownAnswers(Document):
    """What `python -m ui.shown_answers` wrote."""

    version: str
    """Of Graft, which gave the answers."""
    cross_validated: Accuracy
    """Of all pictures of the sample, each answered once by a head that had not seen it."""
    answers: tuple[ShownAnswer, ...]


@cache
def kept() -> ShownAnswers:
    """Raises DocumentError where the file is missing or damaged."""
    return ShownAnswers.read(FILE)


def strip() -> None:
    """The pictures in one line that wraps, with their answers under them, and what they are; nothing where the file is damaged."""
    try:
        shown = kept()
    except DocumentError:
        return
    with st.grid(len(shown.answers), min_column_width=84, gap="small") as tiles:
        for shown_answer in shown.answers:
            right = shown_answer.truth == shown_answer.answer
            answer = f"**{plain(shown_answer.answer)}** {percent(shown_answer.probability)}"
            verdict = (
                ":green[:material/check: right]"
                if right
                else f":orange[:material/close: it is a {plain(shown_answer.truth)}]"
            )
            with tiles.cell(), st.container(gap="xxsmall"):
                grids.picture(shown_answer.picture, alt=f"a {shown_answer.truth}, called {shown_answer.answer}")
                st.markdown(f"{answer}  \n{verdict}")
    every = shown.cross_validated
    st.caption(
        f"Rendered pictures, and what Graft {shown.version} answered after it had learned from others for some seconds. Of all "
        f"{every.images} it names {percent(every.accuracy)} rightly ({interval(*every.interval)}), each judged without having been "
        f"learned from (cross-validated). Here: the surest right answer of each class, and the {_MISTAKES} surest mistakes."
    )


def chosen(answers: Sequence[ImageAnswer]) -> list[ImageAnswer]:
    """Of each true class the surest right answer, in class order, and among them the surest mistakes, each of another true class."""
    surest = sorted(answers, key=lambda answer: -answer.probability)
    right: dict[int, ImageAnswer] = {}
    wrong: dict[int, ImageAnswer] = {}
    for answer in surest:
        (right if answer.truth == answer.predicted else wrong).setdefault(answer.truth, answer)
    shown = [right[label] for label in sorted(right)]
    for number, mistake in enumerate(list(wrong.values())[:_MISTAKES]):
        shown.insert((number + 1) * len(right) // _MISTAKES + number, mistake)
    return shown


def write(file: Path = FILE) -> ShownAnswers:
    """Train on the sample, as the command line does, and write `file`."""
    from tl_core import api
    from tl_core.runs.store.folders import RunFolder
    from tl_core.runs.store.store import Store

    run = RunFolder(Path(api.train(f"sample:{SHOWN}")["run_dir"]))
    spec, report = run.spec(), run.report()
    manifest = Store.default().workspace(spec.workspace).dataset(spec.dataset, spec.version).manifest()
    every = report.cross_validated
    assert every is not None, "a head alone is fitted"
    made = ShownAnswers(
        version=__version__,
        cross_validated=Accuracy(images=every.images, accuracy=every.accuracy, interval=every.interval),
        answers=tuple(
            ShownAnswer(
                file=manifest.images[one.row].name.replace(" ", "_"),
                truth=report.classes[one.truth],
                answer=report.classes[one.predicted],
                probability=round(one.probability, 4),
            )
            for one in chosen(report.answers)
        ),
    )
    made.write(file)
    return made


if __name__ == "__main__":
    write()
