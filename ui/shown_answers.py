"""Pictures with the answers that Graft gave to them, for an empty Home: the embedded sample, trained on by this version.

`make answers` (`benchmarks/home_answers.py`) writes `ui/shown_answers.json`: of each class the right answer that it was surest of, and its
surest mistakes.
"""

import importlib.resources
from functools import cache
from pathlib import Path

import streamlit as st

from tl_core.data.samples import SHOWN
from tl_core.documents.base import Document, Record
from tl_core.documents.report import Accuracy
from tl_core.errors import DocumentError
from ui import grids
from ui.words import interval, percent, plain

FILE = Path(__file__).with_suffix(".json")
MISTAKES = 2
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
    """What `make answers` wrote."""

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
        f"learned from (cross-validated). Here: the surest right answer of each class, and the {MISTAKES} surest mistakes."
    )
