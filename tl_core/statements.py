"""What is to be said of a run that ended well: one table of statements, each a title and sentences with their figures.

The model card, the story, the slides, the page Evaluate and the command line draw what stands here, so a run has the same figures wherever
one meets it. A new statement is a row of `STATEMENTS`; the order of the table is that in which they are told. Names that users typed stand in
titles and texts as they are, but short: whoever draws a statement escapes it as a whole.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from tl_core.data.checks import FEW, Finding
from tl_core.data.split import distinct, group_keys
from tl_core.documents.bundle_info import NO_WEIGHTS, BundleInfo
from tl_core.documents.manifest import Manifest
from tl_core.documents.report import Accuracy, Headline, ImageAnswer, Leak, Report, Slice
from tl_core.documents.spec import TrainSpec
from tl_core.documents.tasks import Robustness, RunSlices
from tl_core.errors import UnknownName
from tl_core.evaluation.calibration import withheld
from tl_core.evaluation.corruptions import CORRUPTIONS
from tl_core.evaluation.intervals import accuracy_interval
from tl_core.evaluation.metrics import listed
from tl_core.evaluation.slice_search import KINDS
from tl_core.markdown import named, short
from tl_core.models.registry import network
from tl_core.table import Table
from tl_core.training.strategies.strategies import strategy
from tl_core.wording import NARROW, SURE, count, duration, enumerated, interval, percent, plural

_ENOUGH_TO_JUDGE = FEW
"""Test pictures of a class below which its own figures say little."""
_DEVICES = {"cpu": "a processor (CPU)", "cuda": "a GPU", "mps": "a Mac's GPU"}
_NAME = 24
"""The most characters of a class name inside a title."""
_RANGE = f"In 95 of 100 cases the true share lies in the range in brackets (95{NARROW}% interval)."


@dataclass(frozen=True, kw_only=True)
class Source:
    """The documents of one run that ended well, and what is known of its pictures."""

    report: Report
    spec: TrainSpec
    name: str = ""
    """What the user calls the run."""
    info: BundleInfo | None = None
    """Of its bundle; None where that is not asked."""
    seconds: float | None = None
    """What the run took, seconds; None where that was not kept, or is not known yet."""
    device: str = ""
    """What it was trained on: the name of a GPU, or the name of a device in `documents.options`."""
    manifest: Manifest | None = None
    """Of the data set in the version that it learned from; None where that was deleted."""
    data_name: str = ""
    """What the user calls the data set; empty where it was deleted."""
    thumbnails: Path | None = None
    """The folder with a JPEG of at most 256 pixels for each picture of the data set; None where it was deleted."""
    findings: tuple[Finding, ...] = ()
    """What the checks say of that data set."""
    slices: RunSlices | None = None
    """Where it fails; None where nobody has asked."""
    robustness: Robustness | None = None
    """What corruptions cost; None where nobody has asked."""
    names: bool = False
    """Whether names of files, folders and groups may be told."""


About = Literal["result", "limit", "making", "origin"]
"""How good it is; what it cannot do; how it was trained; what it was made with."""
Said = Iterator[tuple[str, str]]
"""Titles and texts. The title is a phrase; of `making` and `origin` it says what is asked, and the text answers."""


class Statement(NamedTuple):
    """One thing that holds for a run."""

    name: str
    """Of its row."""
    title: str
    text: str
    """Sentences; may be empty."""

    @property
    def sentences(self) -> str:
        """The title and the text, one after the other."""
        return f"{self.title}. {self.text}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table."""

    name: str
    about: About
    says: Callable[[Source], Said]
    """Yields what it says; nothing where it does not hold, or where nobody knows."""


def statements(source: Source, about: About) -> list[Statement]:
    """All that holds of `source` on that subject, in the order of the table."""
    return [
        Statement(row.name, title, text)
        for row in STATEMENTS.values()
        if row.about == about
        for title, text in row.says(source)
    ]


def statement(source: Source, name: str) -> Statement | None:
    """What the row called `name` says of `source`; None where it does not hold."""
    return next((Statement(name, title, text) for title, text in STATEMENTS[name].says(source)), None)


def right(measured: Accuracy, which: str = "") -> str:
    """A share of right answers with the number of pictures and its interval. `which`: words behind "pictures"."""
    pictures = f"{plural(measured.images, 'picture')}{which}"
    return f"{percent(measured.accuracy)} right on {pictures} ({interval(*measured.interval)})"


def headline(report: Headline) -> str:
    """What is said first of a run: its accuracy and how it was measured, or what to do where no accuracy is to be believed."""
    if report.shown is None:
        return record_again(report.one_moment)
    if report.headline == "cross_validated":
        return right(report.shown, ", cross-validated")
    if report.leak:
        return right(report.shown, f", {report.leak.images:,} of them like ones that it learned from")
    return right(report.shown, " it had never seen")


def record_again(classes: Sequence[str]) -> str:
    """What is said in place of an accuracy where the `classes` are all of one moment."""
    return f"All of one moment: record {enumerated([named(name, longest=_NAME) for name in classes], most=5)} again elsewhere"


def leaked(leak: Leak, images: int) -> str:
    """How many of the `images` judged pictures show what was learned from, and the accuracy without them, as sentences."""
    rest = f"Without them: {right(leak.without)}." if leak.without else "There are no others to judge by."
    shows = "shows" if leak.images == 1 else "show"
    return f"{plural(leak.images, 'picture')} of {images:,} {shows} what it learned from as well, and may be named rightly for that. {rest}"


def most_confused(report: Report, most: int = 5) -> list[tuple[int, int, int]]:
    """(true class, said class, how often) of the commonest mistakes, the commonest first."""
    counts = np.array(report.test.confusion, dtype=np.int64)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:most]
    places = (np.unravel_index(int(place), counts.shape) for place in order)
    return [(int(row), int(column), int(counts[row, column])) for row, column in places if counts[row, column]]


def _result(source: Source) -> Said:
    report = source.report
    if report.shown is None:
        text = (
            "The pictures of such a class show so few different things that the same had to be learned from and judged on, so no share of "
            "right answers is to be believed. Record the class again at another time and place, and add that to the data set."
        )
    elif report.headline == "cross_validated":
        text = (
            "Each was answered once by a last layer (head) that had not learned from it, with settings chosen without it. "
            f"{_RANGE}"
        )
    else:
        text = f"{_held_out(report)} {_RANGE}"
    yield headline(report), text


def _held_out(report: Report) -> str:
    how = "by whoever made the data set" if report.own_split else "at random, before training"
    return f"These test pictures were held out {how}."


def _test(source: Source) -> Said:
    report = source.report
    if report.headline != "test":
        little = " They say little about other pictures." if report.shown is None else ""
        yield f"The test pictures alone: {right(report.test)}", f"{_held_out(report)}{little}"


def _leak(source: Source) -> Said:
    report = source.report
    if report.leak:
        yield "Some test pictures are like ones that it learned from", leaked(report.leak, report.test.images)


def _validation(source: Source) -> Said:
    val = source.report.val
    share = f"{percent(val.accuracy)} right on the"
    if source.report.val_out_of_fold:
        yield (
            f"{share} {plural(val.images, 'picture')} that it learned from",
            "Each was answered by a head that had not (out of fold), in the cross-validation that chose the settings.",
        )
    else:
        yield f"{share} {plural(val.images, 'validation picture')}, which chose the settings", ""


def _metrics(source: Source) -> Said:
    for metric, value in listed(source.report.test):
        yield f"{metric.heading} {metric.write(value)}", f"{metric.meaning}."


def _confused(source: Source) -> Said:
    report = source.report
    wrong = len(report.mistakes())
    if not wrong:
        yield f"No mistake on {plural(report.test.images, 'test picture')}", ""
        return
    truth, answer, times = most_confused(report, 1)[0]
    pair = " called ".join(f"“{named(report.classes[label], longest=_NAME)}”" for label in (truth, answer))
    if wrong == 1:
        yield f"Its one mistake: {pair}", ""
    elif times == 1:
        yield f"{wrong:,} mistakes, no two of them alike", ""
    elif times == wrong:
        yield f"All {wrong:,} mistakes: {pair}", ""
    else:
        yield f"{times:,} of {wrong:,} mistakes: {pair}", ""


def _always(source: Source) -> Said:
    classes = len(source.report.classes)
    yield (
        "It always answers with one of its classes",
        f"It knows these {classes:,} and no others: a picture that shows none of them gets one of their names, too.",
    )


def _alike(source: Source) -> Said:
    yield (
        "It was judged on pictures like those that it learned from",
        "Another camera, another place or another season can be harder, and no figure here says by how much.",
    )


def _unknown(source: Source) -> Said:
    if source.report.one_moment:
        again = record_again(source.report.one_moment)
        yield (
            "Its accuracy is not known yet",
            f"{again}. Until then no figure here says how often it is right.",
        )


def _hardest(source: Source) -> Said:
    report = source.report
    shares = {row: metrics.recall for row, metrics in enumerate(report.test.per_class) if metrics.support}
    if len(set(shares.values())) < 2:
        return
    row = min(shares, key=shares.__getitem__)
    answers = [answer for answer in report.answers if answer.truth == row]
    groups = group_keys(source.manifest)[[answer.row for answer in answers]] if source.manifest else None
    named_rightly = np.array([answer.predicted == row for answer in answers], dtype=bool)
    were = "was" if named_rightly.sum() == 1 else "were"
    yield (
        f"It is right least often on {named(report.classes[row])}",
        f"Of {plural(len(answers), 'test picture')} of this class, {named_rightly.sum():,} {were} named rightly: {percent(shares[row])} "
        f"({interval(*accuracy_interval(named_rightly, groups))}). Of all test pictures it is {percent(report.test.accuracy)}.",
    )


def _sureness(source: Source) -> Said:
    report = source.report
    error = report.calibration.after.ece
    if not report.answers:
        return
    mean = float(np.mean([answer.probability for answer in report.answers]))
    yield (
        "It is surer than it is right" if mean > report.test.interval[1] else "Sure is not the same as right",
        f"How sure it says it is and how often it is right differ by {100 * error:.1f} percentage points on average (expected calibration "
        f"error, on {plural(len(report.answers), 'test picture')}).{_sure_of_mistakes(report.mistakes())}",
    )


def _sure_of_mistakes(wrong: Sequence[ImageAnswer]) -> str:
    """How many of the mistakes it was sure of, as a further sentence; empty where there are none."""
    if not wrong:
        return ""
    sure = sum(answer.probability >= SURE for answer in wrong)
    return f" It was {percent(SURE)} sure or more in {sure:,} of its {plural(len(wrong), 'mistake')}."


def _threshold(source: Source) -> Said:
    threshold = source.info.threshold if source.info else None
    if threshold is not None and source.report.answers:
        answers = withheld(source.report.answers, threshold)
        share = "" if answers.accuracy is None else f", and {percent(answers.accuracy)} of these are right"
        yield (
            "It may say that it is not sure",
            f"An answer below {100 * threshold:.3g}{NARROW}% counts as “not sure” (threshold). Of {plural(answers.images, 'test picture')}, "
            f"{percent(answers.coverage)} got an answer{share}.",
        )


def _few_judged(source: Source) -> Said:
    rows = source.report.test.per_class
    few = [row for row in rows if row.support < _ENOUGH_TO_JUDGE]
    if few:
        yield (
            f"{'All' if len(few) == len(rows) else 'Some'} classes were judged on few pictures",
            f"{enumerated([f'{named(row.name)} ({row.support:,})' for row in few])}: fewer than {_ENOUGH_TO_JUDGE} test pictures each, so "
            f"a single one moves the share of its class by more than {100 // _ENOUGH_TO_JUDGE} percentage points.",
        )


def _few_pictures(source: Source) -> Said:
    pictures = distinct(source.manifest) if source.manifest else {}
    few = [f"{named(name)} ({number:,})" for name, number in pictures.items() if number < FEW]
    if source.manifest and few:
        yield (
            "Some classes have few pictures",
            f"{enumerated(few)}{' to learn from' if source.manifest.own_splits else ''}. {FEW} or more of each would make the result steadier.",
        )


_FINDINGS = {
    "near_copy": (
        "Some pictures are near-copies of each other",
        "{pictures} in groups that show the same thing, so there are fewer different things than pictures. A group was either learned from or "
        "judged on, never both, unless the split was given.",
    ),
    "suspect_label": (
        "Some labels may be wrong",
        "{pictures} perhaps sorted into the wrong class. Such a picture counts as a mistake where the answer is right.",
    ),
    "two_labels": (
        "Some pictures are in two classes",
        "{pictures} in more than one class at once; one answer to them must count as wrong.",
    ),
    "shortcut": ("There may be a shortcut", "{message}"),
    "imbalance": ("Some classes have many more pictures than others", "{message}"),
}
"""Title and text by the kind of a finding of `data.checks`; where its own message names files, the text stands in its place."""


def _findings(source: Source) -> Said:
    for finding in source.findings:
        if finding.kind in _FINDINGS:
            title, text = _FINDINGS[finding.kind]
            rows = len(finding.rows)
            pictures = f"{plural(rows, 'picture')} {'is' if rows == 1 else 'are'}"
            yield title, text.format(pictures=pictures, message=short(finding.message, longest=600))


def _failing(source: Source) -> Said:
    if source.slices:
        for pictures in source.slices.findings:
            yield failing(pictures, len(source.slices.slices), names=source.names)


def failing(pictures: Slice, looked_at: int, *, names: bool) -> tuple[str, str]:
    """Title and text of a finding among the slices that were looked at: where a run is right less often than chance explains. `names` as in `Source`."""
    return (
        f"It fails more often on {_called(pictures, names=names)}",
        f"{percent(pictures.accuracy)} right on {plural(pictures.images, 'picture')} ({interval(*pictures.interval)}), "
        f"{percent(pictures.elsewhere)} on the others of the same classes; chance does not explain it "
        f"({plural(looked_at, 'kind')} of pictures looked at).",
    )


def _called(pictures: Slice, *, names: bool) -> str:
    called = KINDS[pictures.kind].called
    if called and not names:
        return called
    detail = f" ({named(pictures.detail, longest=80)})" if pictures.detail else ""
    return f"{named(pictures.name, longest=80)}{detail}"


def _corrupted(source: Source) -> Said:
    if source.robustness:
        yield corrupted(source.robustness)


def corrupted(cost: Robustness) -> tuple[str, str]:
    """Title and text of what corruptions cost."""
    strongest = ((CORRUPTIONS[name].title, cost.effect(name).strengths[-1]) for name in cost.hurt_most)
    worst = [
        f"{title} ({at.strength}: {percent(at.accuracy)} right, {interval(*at.interval)})" for title, at in strongest
    ]
    some = f" of {cost.of_images:,}, of every class its share," if cost.images < cost.of_images else ""
    costs = f"What costs the most: {enumerated(worst)}." if worst else "No change costs more than chance explains."
    alike = " These pictures cannot tell which of them costs more." if len(worst) > 1 else ""
    return (
        "Changed pictures are harder" if worst else "Changed pictures",
        f"{plural(cost.images, 'picture')}{some} were changed and asked about again; {percent(cost.clean.accuracy)} "
        f"({interval(*cost.clean.interval)}) of them are named rightly as they are. {costs}{alike}",
    )


def _learned(source: Source) -> Said:
    images, out_of_fold = source.report.images, source.report.val_out_of_fold
    train, val = plural(images.get("train", 0), "training picture"), plural(images.get("val", 0), "validation picture")
    chose = f"{train} and {val}; cross-validation over both chose" if out_of_fold else f"{train}; {val} chose"
    yield "Learned from", f"{chose} the settings"


def _backbone(source: Source) -> Said:
    spec = source.spec
    if weights_of(spec) == NO_WEIGHTS:
        yield "Started from (backbone)", f"{short(spec.backbone)}, with random weights"
        return
    try:
        seen = f", a network that had learned from {network(spec.backbone).weights_row(spec.weights).trained_on}"
    except UnknownName:
        # A network of timm that a workspace added: the registry of all does not have it.
        seen = ""
    yield "Started from (backbone)", f"{short(spec.backbone)}{seen}"


def weights_of(spec: TrainSpec) -> str:
    """Name of the set of weights that a run started from, or `NO_WEIGHTS`."""
    return spec.weights if strategy(spec.strategy).pretrained else NO_WEIGHTS


def _strategy(source: Source) -> Said:
    row = strategy(source.spec.strategy)
    yield "What was re-trained (strategy)", f"{row.title} ({row.name})"


def _parameters(source: Source) -> Said:
    report = source.report
    learned, total = count(report.trainable_parameters), count(report.total_parameters)
    yield "Numbers that learned (parameters)", f"{learned} of {total}"


def _epochs(source: Source) -> Said:
    spec = source.spec
    if strategy(spec.strategy).takes_steps or spec.solver == "adam":
        yield "Passes over the pictures (epochs)", f"{spec.epochs:,}"


def _seconds(source: Source) -> Said:
    if source.seconds:
        yield "Took", f"{duration(source.seconds)} on {_DEVICES.get(source.device, short(source.device))}"


def _scaled(source: Source) -> Said:
    size = source.spec.image_size
    yield "Pictures were scaled to", f"{size} by {size} pixels, whole, without cropping"


def _graft(source: Source) -> Said:
    if source.info:
        made = time.strftime("%d %B %Y", time.gmtime(source.info.created)).lstrip("0")
        version = short(source.info.versions.get("graft", "not stated"))
        yield "Graft, a program that trains image classifiers", f"version {version}, on {made}"


def _libraries(source: Source) -> Said:
    versions = source.info.versions if source.info else {}
    libraries = [f"{short(name)} {short(version)}" for name, version in sorted(versions.items()) if name != "graft"]
    if libraries:
        yield "Libraries", ", ".join(libraries)


def _weights(source: Source) -> Said:
    info = source.info
    if info and info.weights == NO_WEIGHTS:
        yield "Pretrained weights of the backbone", "none: it began with random weights"
    elif info:
        licence = short(info.licence, longest=120) or "not stated"
        yield "Pretrained weights of the backbone", f"{short(info.weights)} (licence: {licence})"


def _seed(source: Source) -> Said:
    yield "Seed of the split and of training", str(source.spec.seed)


STATEMENTS: Table[Row] = Table(
    "statement",
    [
        Row(name="result", about="result", says=_result),
        Row(name="test", about="result", says=_test),
        Row(name="leak", about="result", says=_leak),
        Row(name="validation", about="result", says=_validation),
        Row(name="metrics", about="result", says=_metrics),
        Row(name="confused", about="result", says=_confused),
        Row(name="always", about="limit", says=_always),
        Row(name="alike", about="limit", says=_alike),
        Row(name="unknown", about="limit", says=_unknown),
        Row(name="hardest", about="limit", says=_hardest),
        Row(name="sureness", about="limit", says=_sureness),
        Row(name="threshold", about="limit", says=_threshold),
        Row(name="few_judged", about="limit", says=_few_judged),
        Row(name="few_pictures", about="limit", says=_few_pictures),
        Row(name="findings", about="limit", says=_findings),
        Row(name="failing", about="limit", says=_failing),
        Row(name="corrupted", about="limit", says=_corrupted),
        Row(name="learned", about="making", says=_learned),
        Row(name="backbone", about="making", says=_backbone),
        Row(name="strategy", about="making", says=_strategy),
        Row(name="parameters", about="making", says=_parameters),
        Row(name="epochs", about="making", says=_epochs),
        Row(name="seconds", about="making", says=_seconds),
        Row(name="scaled", about="making", says=_scaled),
        Row(name="graft", about="origin", says=_graft),
        Row(name="libraries", about="origin", says=_libraries),
        Row(name="weights", about="origin", says=_weights),
        Row(name="seed", about="origin", says=_seed),
    ],
)
