"""Shows on the Evaluate page how good a run is: matrix, the pictures behind a cell, classes, worst mistakes, and how far training moved it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from tl_core.documents.manifest import Manifest
from tl_core.documents.report import ImageAnswer, Report
from tl_core.documents.tasks import Answer, RobustnessSpec, SlicesSpec
from tl_core.errors import GraftError
from tl_core.evaluation.metrics import CLASS_METRICS
from tl_core.markdown import escaped
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Workspace
from tl_core.runs.tasks.subject import task_about
from tl_core.statements import Source, most_confused, statement, statements
from tl_core.story.figures import drawn_classes
from tl_core.training.strategies.strategies import strategies
from tl_core.wording import of_100, percent, plural
from ui import asking, charts, grids, listing
from ui.places import Here, pictures_of
from ui.words import label, plain

Answered = TypeVar("Answered", bound=Answer)
_PAGE = 12


@dataclass(frozen=True)
class Result:
    """A report with the pictures that it is about; `dataset` is None where they were deleted."""

    run: RunFolder
    report: Report
    dataset: DatasetFolder | None

    @cached_property
    def manifest(self) -> Manifest | None:
        return self.dataset.manifest() if self.dataset else None

    @cached_property
    def source(self) -> Source:
        """What the statements about the run are made from."""
        status = self.run.status()
        return Source(
            report=self.report,
            spec=self.run.spec(),
            manifest=self.manifest,
            seconds=status.seconds.get("total"),
            device=str(status.gpu or status.device or self.run.spec().device),
        )

    def thumbnail(self, answer: ImageAnswer) -> Path | None:
        if self.dataset is None or self.manifest is None:
            return None
        return self.dataset.thumbnail(self.manifest.images[answer.row])

    def thumbnails(self, answers: Sequence[ImageAnswer]) -> list[Path]:
        """Those of the pictures that were answered; none where they were deleted."""
        return [path for path in map(self.thumbnail, answers) if path]

    def cell(self, truth: int, said: int) -> list[ImageAnswer]:
        """The answers of one cell of the matrix, those with the highest probability first."""
        answers = [answer for answer in self.report.answers if (answer.truth, answer.predicted) == (truth, said)]
        return sorted(answers, key=lambda answer: -answer.probability)

    def most_confused(self) -> tuple[int, int]:
        """The cell off the diagonal with the most answers; the first cell on it where all answers are right."""
        return next(((truth, said) for truth, said, _ in most_confused(self.report, 1)), (0, 0))

    def drawn(self) -> list[int]:
        """The classes in the matrix, in class order."""
        return drawn_classes(self.report)


Explain = Callable[[Result, ImageAnswer], None]
"""What a button under a picture calls, with the answer to it."""


def load(run: RunFolder, workspace: Workspace) -> Result:
    """The report of `run` and its data set. Raises NotFound where the run has no report."""
    return Result(run, run.report(), pictures_of(run, workspace))


def panel(
    here: Here,
    result: Result,
    kind: type[RobustnessSpec | SlicesSpec],
    document: type[Answered],
    label: str,
    *,
    intro: str,
    icon: str,
    **fields: Any,
) -> Answered | None:
    """The answer to a task of that kind about the run; until it is there, the button called `label`, the progress, or why there can be none.

    `fields`: those that only this kind of task has.
    """
    if result.dataset is None:
        st.caption("The data set was deleted, so its pictures cannot be looked at.")
        return None
    try:
        spec = task_about(result.run, kind, **fields)
    except GraftError as error:
        st.caption(plain(error.message, longest=400))
        return None
    task = asking.panel(here.workspace, spec, label, intro=intro, icon=icon, key=f"{spec.job}-{result.run.id}")
    return task.answer(document) if task else None


def top(result: Result) -> None:
    """The headline, what it was measured on, and the other figures."""
    first, *others = statements(result.source, "result")
    st.header(escaped(first.title), anchor=False, help="Accuracy, with its 95 % confidence interval")
    st.caption(escaped(first.text))
    for entry in others:
        if entry.name == "leak":
            st.warning(escaped(entry.sentences), icon=":material/content_copy:")
    st.caption("  \n".join(escaped(entry.sentences) for entry in others if entry.name != "leak"))
    data = result.dataset
    if data and data.versions.made():
        open_now = data.versions.current
        now = "" if open_now == data.number else f"; version {open_now} is open now"
        st.caption(f"It learned from version {data.number} of {plain(data.name)}{now}.")


def matrix(result: Result, explain: Explain) -> None:
    """The confusion matrix and the pictures of one cell, which a click or two select boxes choose."""
    classes, key = result.report.classes, result.run.id
    truth_key, said_key, chart_key = f"truth-{key}", f"said-{key}", f"matrix-{key}"
    if truth_key not in st.session_state:
        st.session_state[truth_key], st.session_state[said_key] = result.most_confused()
    left, right = st.columns([3, 2], gap="medium")
    with right:
        st.subheader("The pictures behind a cell", anchor=False, help="Of the confusion matrix")
        names = range(len(classes))
        was, said = st.columns(2)
        truth = was.selectbox(
            "What it was", names, format_func=classes.__getitem__, key=truth_key, persist_state="session"
        )
        answer = said.selectbox(
            "What it said", names, format_func=classes.__getitem__, key=said_key, persist_state="session"
        )
        _cell(result, truth, answer, explain)
    with left:
        drawn, counts = result.drawn(), result.report.test.confusion
        named = sum(row[index] for index, row in enumerate(counts))
        chosen = (drawn.index(truth), drawn.index(answer)) if {truth, answer} <= set(drawn) else None
        charts.show(
            charts.confusion_matrix(
                [classes[row] for row in drawn],
                [[counts[row][column] for column in drawn] for row in drawn],
                chosen,
                title=f"{named:,} of {result.report.test.images:,} answers are right",
            ),
            key=chart_key,
            on_select=lambda: _choose_cell(drawn, chart_key, truth_key, said_key),
            selection_mode="points",
            alt=f"Confusion matrix: {percent(result.report.test.accuracy)} on the diagonal",
        )
        some = (
            f" The {len(drawn)} of {len(classes):,} classes with the most mistakes."
            if len(drawn) < len(classes)
            else ""
        )
        st.caption(f"Green: right. Orange, off the diagonal: wrong. Click a cell to see its pictures.{some}")


def _choose_cell(drawn: list[int], chart_key: str, truth_key: str, said_key: str) -> None:
    cell = charts.clicked(st.session_state.get(chart_key))
    if cell:
        st.session_state[truth_key], st.session_state[said_key] = drawn[cell[0]], drawn[cell[1]]


def _cell(result: Result, truth: int, said: int, explain: Explain) -> None:
    answers = result.cell(truth, said)
    classes = result.report.classes
    verb = "and rightly called that" if truth == said else f"called {plain(classes[said])}"
    st.markdown(f"{plural(len(answers), 'picture')} of {plain(classes[truth])}, {verb}")
    if answers:
        captions = [percent(answer.probability) for answer in answers]
        pictures(result, answers, captions, key=f"cell-{result.run.id}-{truth}-{said}", tile=96, explain=explain)


def pictures(
    result: Result,
    answers: Sequence[ImageAnswer],
    captions: Sequence[str],
    *,
    key: str,
    tile: int,
    explain: Explain | None = None,
) -> None:
    """The pictures that were answered in a grid, while the data set is there, each with a caption (Markdown)."""
    if result.dataset is None:
        st.caption("The data set was deleted, so its pictures cannot be shown.")
        return

    def why(number: int) -> None:
        st.button(
            "Why?",
            key=f"{key}-why-{number}",
            icon=":material/troubleshoot:",
            type="tertiary",
            help=f"Where in picture {number + 1} the evidence lies",
            on_click=explain,
            args=(result, answers[number]),
        )

    paths = result.thumbnails(answers)
    grids.grid(paths, captions, key=key, page_size=_PAGE, tile=tile, under=why if explain else None)


def per_class(result: Result) -> None:
    """A table of the metrics of each class; the class that is named rightly least often stands above it."""
    rows = result.report.test.per_class
    st.subheader("Class by class", anchor=False, help="Metrics of each class: precision, recall and F1")
    hardest = statement(result.source, "hardest")
    st.markdown(escaped(hardest.sentences) if hardest else "No class is named rightly more often than another.")
    config = {
        "Class": st.column_config.TextColumn(width=84),
        **{
            metric.heading: st.column_config.NumberColumn(help=metric.meaning, format="%g %%", width=66)
            for metric in CLASS_METRICS.values()
        },
        "Pictures": st.column_config.NumberColumn(help="Test pictures of the class (held out)", width=58),
    }
    table: dict[str, Sequence[object]] = {
        "Class": [row.name for row in rows],
        **{
            metric.heading: [None if (value := row.value(metric.name)) is None else of_100(value) for row in rows]
            for metric in CLASS_METRICS.values()
        },
        "Pictures": [row.support for row in rows],
    }
    listing.table(table, config=config, key=f"classes-{result.run.id}")


def worst(result: Result, explain: Explain) -> None:
    """The pictures of wrong answers, those with the highest probability first."""
    mistakes = result.report.mistakes()
    st.subheader("Worst mistakes", anchor=False, help="Wrong answers by their probability, the highest first")
    if not mistakes:
        st.markdown("None: every test picture was named rightly.")
        return
    st.markdown("Wrong, and sure of it. A picture that is in the wrong class (a wrong label) shows up here, too.")
    classes = result.report.classes
    captions = [
        f"said **{plain(classes[answer.predicted], longest=24)}**, {percent(answer.probability)} sure; "
        f"was **{plain(classes[answer.truth], longest=24)}**"
        for answer in mistakes
    ]
    pictures(result, mistakes, captions, key=f"worst-{result.run.id}", tile=150, explain=explain)


def moved(result: Result) -> None:
    """A bar for each stage with its interpretation, or a sentence where no weights could move."""
    strategy = strategies().get(result.run.spec().strategy)
    stages = result.report.moved
    if strategy is None or (strategy.takes_steps and strategy.pretrained and not stages):
        return
    st.subheader("What moved", anchor=False, help="Distance of the parameters of each stage from where training began")
    if not strategy.takes_steps:
        st.markdown(
            "Nothing in the pretrained network: it stayed frozen, and only the new last layer (head) was fitted."
        )
        return
    if not strategy.pretrained:
        st.markdown(
            "Everything: training started from random weights, so there are no pretrained ones to compare with."
        )
        return
    most = max(stages, key=lambda stage: stage.distance)
    if most.distance == 0:
        st.markdown(
            "Nothing: no epoch was better on the validation pictures, which choose among the epochs, than the fitted last layer that training began with, so that one was kept."
        )
        return
    still = [stage for stage in stages if not stage.learned]
    st.markdown(
        f"**{plain(most.name)}** moved most: its weights changed by {charts.share(most.distance)} of their own length. "
        + (f"The {len(still)} frozen stages stayed where they were. " if 1 < len(still) < len(stages) else "")
        + _meaning(stages[0].distance, stages[-1].distance)
    )
    figure = charts.stage_bars(
        [stage.name for stage in stages],
        [stage.distance for stage in stages],
        [stage.learned for stage in stages],
        title=f"{label(most.name)} moved most",
    )
    charts.show(figure, key=f"moved-{result.run.id}", alt=f"How far each stage moved; {most.name} moved most")


def _meaning(first: float, last: float) -> str:
    if last > 1.5 * first:
        return "Late stages moved more than early ones, as usual: edges and textures serve any picture, the things in it are new."
    if first > 1.5 * last:
        return "Early stages moved more than late ones: these pictures look different (colour, texture, noise), not only what is on them."
    return "Early and late stages moved about alike."
