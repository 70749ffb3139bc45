"""How runs stand to each other: compared on the pictures that all of them were judged on and none learned from; the leaderboard of a race.

Pictures are matched by the hash of their bytes and the name of their class, which a run keeps itself, so its data set may be gone. Nothing of a
leaderboard is kept: it is made of the records of the runs each time that somebody asks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl_core.data.split import Joined, alike
from tl_core.disk import modified, read_once
from tl_core.documents.base import Record
from tl_core.documents.events import EpochEnded, Resumed, State
from tl_core.documents.manifest import SplitRecord
from tl_core.documents.report import ComparedRun, Comparison, ContestantState, ImageAnswer, Leaderboard, Standing
from tl_core.errors import GraftError, NotFound
from tl_core.evaluation import comparison
from tl_core.evaluation.comparison import compare_all
from tl_core.evaluation.intervals import accuracy_interval
from tl_core.runs.store.folders import RaceFolder, RunFolder
from tl_core.runs.store.store import Store
from tl_core.statements import record_again

Picture = tuple[str, str]
"""What tells a test picture: the hash of its bytes and the name of its class."""


@dataclass(frozen=True, eq=False)
class Tested:
    """The answers of one run to its test pictures."""

    run: RunFolder
    classes: tuple[str, ...]
    answers: dict[Picture, ImageAnswer]
    """To each of its test pictures, in the order of its report."""
    record: SplitRecord
    """In which part each picture was, and its group."""
    one_moment: tuple[str, ...]

    @cached_property
    def learned(self) -> frozenset[str]:
        """Hashes of the pictures that it learned from, or that settings were chosen by."""
        return frozenset({*self.record.parts["train"], *self.record.parts["val"]})

    @cached_property
    def judging(self) -> frozenset[Picture]:
        """Its test pictures without those that it learned from as well, which a split of the user's own may have."""
        return frozenset(picture for picture in self.answers if picture[0] not in self.learned)


@dataclass(frozen=True)
class LeftOut:
    """A run that is not compared with the others."""

    run: RunFolder
    reason: str
    """In a sentence or two, for the user."""


@dataclass(frozen=True)
class Together:
    """Several runs on the same pictures."""

    tested: tuple[Tested, ...]
    """The runs that are compared, in the order in which they were given."""
    pictures: tuple[Picture, ...]
    """The N pictures that all of them were judged on and none learned from."""
    left_out: tuple[LeftOut, ...]

    @property
    def runs(self) -> list[RunFolder]:
        return [each.run for each in self.tested]

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of any of the runs, sorted."""
        return tuple(sorted({name for each in self.tested for name in each.classes}))

    @cached_property
    def truth(self) -> NDArray[np.int64]:
        """(N,) indices into `classes`."""
        number = {name: label for label, name in enumerate(self.classes)}
        return np.array([number[name] for _, name in self.pictures], dtype=np.int64)

    @cached_property
    def answers(self) -> NDArray[np.int64]:
        """(R, N) what each of the R runs said, indices into `classes`."""
        number = {name: label for label, name in enumerate(self.classes)}
        answered = [
            [number[tested.classes[tested.answers[picture].predicted]] for picture in self.pictures]
            for tested in self.tested
        ]
        return np.array(answered, dtype=np.int64)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """(R, N) the probability of what each of the R runs said."""
        return np.array([[tested.answers[picture].probability for picture in self.pictures] for tested in self.tested])

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """(N,) the group of each picture: those that any of the runs knew to show the same thing are one."""
        joined = Joined(len(self.pictures))
        for tested in self.tested:
            group_of = tested.record.group_of
            for same in alike([group_of[content] for content, _ in self.pictures]):
                joined.all(same)
        return np.array([joined.root(place) for place in range(len(self.pictures))], dtype=np.int64)

    @cached_property
    def leaky(self) -> NDArray[np.bool_]:
        """(N,) which of the pictures show what one of the runs learned from as well."""
        leaky: set[str] = set()
        for tested in self.tested:
            group_of, learned = tested.record.group_of, tested.record.learned_groups()
            leaky |= {content for content, _ in self.pictures if group_of[content] in learned}
        return np.array([content in leaky for content, _ in self.pictures], dtype=bool)

    @property
    def leaked(self) -> int:
        """How many of the pictures show what one of the runs learned from as well."""
        return int(self.leaky.sum())

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Each pair of the runs: the first with the second, the first with the third, and so on; p-values of several are corrected."""
        return compare_all(list(self.answers), self.truth, self.groups)

    @cached_property
    def figures(self) -> tuple[ComparedRun, ...]:
        """What each run reached on these pictures, and what it cost."""
        return tuple(self._figures(each, answered) for each, answered in zip(self.tested, self.answers, strict=True))

    def _figures(self, tested: Tested, answered: NDArray[np.int64]) -> ComparedRun:
        right = answered == self.truth
        files = [file for file in tested.run.bundle.glob("*") if file.is_file()]
        return ComparedRun(
            run_dir=str(tested.run.path),
            name=tested.run.name,
            accuracy=float(right.mean()),
            interval=accuracy_interval(right, self.groups),
            seconds=tested.run.status().seconds.get("total"),
            megabytes=sum(file.stat().st_size for file in files) / 1e6 if files else None,
        )

    @property
    def few(self) -> bool:
        """Whether the pictures are less than half of the test pictures of each run, as with another seed."""
        return 2 * len(self.pictures) < min((len(tested.answers) for tested in self.tested), default=0)

    def cautions(self) -> list[str]:
        """What to keep in mind of the comparison, in sentences; names of classes stand in them as they are, but short."""
        said = []
        again = sorted({name for each in self.tested for name in each.one_moment})
        if again:
            said.append(f"{record_again(again)}. Until then no accuracy can be trusted, and no comparison.")
        if self.leaked:
            said.append(
                f"{self.leaked:,} of the pictures {'shows' if self.leaked == 1 else 'show'} what one of the runs learned from as well, and may be named "
                f"rightly for that.{self._without_leaked()}"
            )
        tested = min(len(tested.answers) for tested in self.tested)
        if self.few:
            said.append(
                f"They were judged together on only {len(self.pictures):,} of {tested:,} test pictures. Runs with the same seed on the same data set "
                "have all of them in common."
            )
        if len({each.classes for each in self.tested}) > 1:
            said.append("The runs do not have the same classes: one that knows fewer has the easier task.")
        return said

    def _without_leaked(self) -> str:
        """The verdict about two runs on the pictures that are left without the leaky ones, as a sentence after others."""
        rest = ~self.leaky
        if len(self.tested) > 2 or not rest.any():
            return ""
        (verdict,) = compare_all(list(self.answers[:, rest]), self.truth[rest], self.groups[rest])
        return f" Without them: {verdict.said}."


def together(runs: Sequence[RunFolder]) -> Together:
    """Put `runs` on the pictures that all were judged on and none learned from; those that have too few in common with the others are left out.

    A third run, or a later one, is left out as well where it would leave less than half of the pictures. Each run is tried as the first one,
    and the way is taken in which the other runs are compared with it on most pictures together.
    """
    tested: list[Tested] = []
    left_out: list[LeftOut] = []
    for run in runs:
        try:
            tested.append(tested_on(run))
        except GraftError as error:
            left_out.append(LeftOut(run, error.message))
    ways = [_kept(tested, first) for first in tested]
    compared, others = max(ways, key=lambda way: (len(way[0]) - 1) * len(_shared(way[0])), default=([], []))
    shared = _shared(compared)
    pictures = tuple(picture for picture in compared[0].answers if picture in shared) if compared else ()
    return Together(tuple(compared), pictures, (*left_out, *others))


class Against(Record):
    """The first one of a leaderboard beside another one, on the same test pictures."""

    run: str
    """Id of the other run."""
    comparison: Comparison
    """Of the first one, B, against the other, A. Validation chose which one is first, and no test picture did."""


def first_against_others(race: RaceFolder) -> tuple[Against, ...]:
    """The run that leads `race` compared with each other one that ended well, in the order of the leaderboard; empty where there is no other.

    The p-values are those of `compare` with all of them, corrected for every pair.

    Raises:
        NotFound, DocumentError: as `leaderboard`.
    """
    runs = {run.id: run for run in race.parts()}
    done = [runs[row.run] for row in leaderboard(race).rows if row.state == "done"]
    # The leader comes last, so that each comparison is of it against another one.
    compared = together([*done[1:], *done[:1]])
    if len(compared.runs) < 2:
        return ()
    return tuple(
        Against(run=other.id, comparison=comparison)
        for (other, run), comparison in zip(combinations(compared.runs, 2), compared.comparisons, strict=True)
        if run == done[0]
    )


def tested_on(run: RunFolder) -> Tested:
    """The answers of `run` to its test pictures.

    Raises:
        NotFound: it did not end well, or was deleted.
        DocumentError: one of its documents is damaged.
    """
    if not run.report_file.is_file():
        raise NotFound(f"{run.name!r} has no report: only a run that has ended well can be compared.")
    return _tested(run.report_file)


def comparable_before(run: RunFolder, others: Iterable[RunFolder]) -> RunFolder | None:
    """The latest of `others`, newest first, that is older than `run` and shares not `few` test pictures with it; those on its own data set come first."""
    older = [other for other in others if other.id != run.id and other.created <= run.created]
    dataset = run.spec().dataset
    older.sort(key=lambda other: other.spec().dataset != dataset)
    return next((other for other in older if len((both := together([other, run])).tested) == 2 and not both.few), None)


@read_once(32)
def _tested(report_file: Path) -> Tested:
    run = RunFolder(report_file.parent)
    report, record = run.report(), SplitRecord.read(run.split_file)
    contents = list(record.parts["test"])
    if len(contents) != len(report.answers):
        # The same bytes are in the test part twice, in two classes, and a split names them once.
        spec = run.spec()
        images = Store.default().workspace(spec.workspace).dataset(spec.dataset, spec.version).manifest().images
        contents = [images[answer.row].sha256 for answer in report.answers]
    return Tested(
        run=run,
        classes=report.classes,
        answers={
            (content, report.classes[answer.truth]): answer
            for content, answer in zip(contents, report.answers, strict=True)
        },
        record=record,
        one_moment=report.one_moment,
    )


def _shared(tested: Sequence[Tested]) -> frozenset[Picture]:
    """The pictures that all were judged on and none learned from."""
    return frozenset.intersection(*(each.judging for each in tested)) if tested else frozenset()


def _kept(tested: Sequence[Tested], first: Tested) -> tuple[list[Tested], list[LeftOut]]:
    """The runs that can be compared with `first` and with each other, and the others."""
    compared, left_out = [first], []
    others = [candidate for candidate in tested if candidate is not first]
    for candidate in sorted(others, key=lambda other: -len(_shared([first, other]))):
        shared, before = len(_shared([*compared, candidate])), len(_shared(compared))
        if not shared:
            left_out.append(LeftOut(candidate.run, _nothing_shared(first, candidate)))
        elif len(compared) > 1 and 2 * shared < before:
            left_out.append(
                LeftOut(
                    candidate.run,
                    f"It has only {shared:,} of the {before:,} test pictures in common with the others. Compare it with one of them alone.",
                )
            )
        else:
            compared.append(candidate)
    return [candidate for candidate in tested if candidate in compared], left_out


def _nothing_shared(first: Tested, other: Tested) -> str:
    """Why the two have no picture to be compared on."""
    name = repr(first.run.name)
    mine, theirs = {content for content, _ in other.answers}, {content for content, _ in first.answers}
    same_seed = "Runs with the same seed on the same data set are judged on the same pictures."
    learned_there, learned_here = len(mine & first.learned), len(theirs & other.learned)
    relabelled = len(mine & theirs - first.learned - other.learned)
    if learned_there:
        why = f"{name} learned from {learned_there:,} of its {len(mine):,} test pictures. {same_seed}"
    elif learned_here:
        why = f"it learned from {learned_here:,} of the {len(theirs):,} test pictures of {name}. {same_seed}"
    elif relabelled:
        why = f"{relabelled:,} of them are the same, in other classes."
    else:
        why = "they learned from different pictures."
    return f"It has no test picture in common with {name}: {why}"


_STATES: Mapping[State, ContestantState] = MappingProxyType(
    {
        "queued": "waiting",
        "running": "running",
        "cancelling": "running",
        "cancelled": "cancelled",
        "succeeded": "done",
        "failed": "failed",
        "interrupted": "interrupted",
    }
)


def leaderboard(race: RaceFolder) -> Leaderboard:
    """How `race` stands now. The best accuracy on the validation pictures comes first, of equal ones the quicker; those that have none stay
    as they are, behind.

    Raises:
        NotFound: the race is gone.
        DocumentError: one of its documents cannot be read.
    """
    spec, status = race.spec(), race.status()
    rows = [
        Standing(
            run=run.id, **{"backbone": asked.backbone, "strategy": asked.strategy, **_standing(run, spec.val_draws)}
        )
        for run, asked in zip(race.parts(), spec.contestants, strict=True)
    ]
    rows.sort(key=lambda row: (1.0, 0.0) if row.val_accuracy is None else (-row.val_accuracy, row.seconds or 0.0))
    # Its last event comes at most a moment before now, and where its worker was killed, then.
    until_now = modified(race.events_file) - status.started if status.started else 0.0
    return Leaderboard(
        budget=spec.budget,
        spent=round(status.seconds.get("total", until_now), 1),
        val_images=spec.val_images,
        test_images=spec.test_images,
        rows=tuple(rows),
    )


def missing(race: RaceFolder) -> set[str]:
    """Ids of the runs with which `race`, which has ended, can go on."""
    return {row.run for row in leaderboard(race).rows if row.state in ("interrupted", "not_begun")}


def _standing(run: RunFolder, draws: int) -> dict[str, Any]:
    """What the folder of `run` says of it, in the fields of its row; `draws`: validation pictures that show different things."""
    if not run.exists:
        return {"state": "deleted"}
    status, epochs = run.status(), _epochs(run)
    state = _STATES[status.state]
    if status.state == "cancelled" and status.reason and not run.cancel_file.exists():
        state = "stopped" if status.started else "not_begun"
    row: dict[str, Any] = {
        "strategy": run.spec().strategy,
        "state": state,
        "reason": status.failure.message if status.failure else status.reason,
        "seconds": status.seconds.get("total") if status.final else None,
        "expected_seconds": run.expected().seconds,
    }
    if epochs:
        row |= {"epochs": epochs[-1].epoch, "planned_epochs": epochs[-1].epochs}
        row["val_accuracy"] = max(event.val_accuracy for event in epochs)
    if state == "done":
        report = run.headline()
        row["val_accuracy"] = report.val.accuracy if report.val_alone is None else report.val_alone
        if not report.one_moment:
            row |= {"test_accuracy": report.test.accuracy, "test_interval": report.test.interval}
    if "val_accuracy" in row:
        row["val_interval"] = comparison.interval(row["val_accuracy"], draws)
    return row


def _epochs(run: RunFolder) -> list[EpochEnded]:
    """The epochs of `run` that count."""
    epochs: list[EpochEnded] = []
    for event in run.events(only=("epoch", "resumed"))[0]:
        if isinstance(event, EpochEnded):
            epochs.append(event)
        elif isinstance(event, Resumed) and event.epoch is None:
            epochs.clear()
    return epochs
