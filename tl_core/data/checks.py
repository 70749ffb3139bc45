"""The table of checks: what is looked for in a data set, what is said when it is found, and what mends it.

A new check is a row of `CHECKS` and the function that it names. The Data page, `check` and `check --json` show its findings
without further change. A check that has to look at files or pixels also has a row in `data/measures`: reading a data set keeps that
number beside the picture, and the finding is made from the numbers.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tl_core.data.shortcuts import shortcut
from tl_core.data.split import alike, distinct, group_keys, of_one_moment
from tl_core.documents.base import Record
from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.errors import DataError, LayoutError, NotEnoughImages
from tl_core.table import Table
from tl_core.wording import listed

FEWEST = 5
"""Distinct images that a class needs (in train, where the split is the user's own)."""
FEW = 20
"""Distinct images of a class below which its results are unsteady."""
UNBALANCED = 10
"""Ratio of the largest to the smallest class from which an imbalance is reported."""
MOST_CLASSES = 1_000
_LISTED = 8
"""Most classes that a finding names."""

Remedy = Literal["leave_out", "move", "keep", "photograph"]
"""What mends a finding: leave the files out, move them to their class, keep them as they are, or take more photographs."""


class Finding(Record):
    """What one check says of a data set; `kind`, `files`, `message`, `remedy` and `move_to` are written to JSON.

    A check says what it found and where; `findings` adds what the check's row says, and the names of the files.
    """

    kind: str = ""
    files: tuple[str, ...] = ()
    """Original places of the files that it is about."""
    message: str
    """Sentences for the user: what was found, and what to do."""
    remedy: Remedy | None = None
    move_to: tuple[str, ...] = ()
    """For each of `files` the name of the class that it should be moved to; empty where that is not known."""
    rows: tuple[int, ...] = Field((), exclude=True)
    """The pictures that `files` name, as rows of the manifest; empty where the files are not part of the data set. The page shows them."""
    reasons: tuple[str, ...] = Field((), exclude=True)
    """Empty, or one sentence for each of `files`, in their order."""
    stops: bool = Field(False, exclude=True)
    """Whether no run can start before it is mended."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One row of the table."""

    kind: str
    """Name of the check, of its findings in JSON, and of its row in `data/measures`, if it has one."""
    find: Callable[[Manifest], Iterator[Finding]]
    """Yields what is found in a data set; nothing where all is well."""
    remedy: Remedy | None = None
    stops: type[DataError] | None = None
    """The error that a run on this data set raises; None: a run can start."""


def findings(manifest: Manifest) -> list[Finding]:
    """What the checks say of a data set, in the order of the table.

    If no run can start for several reasons, only the first of them is given, since the others may follow from it.
    """
    others = [(check, finding) for check in CHECKS.values() if not check.stops for finding in check.find(manifest)]
    return [
        finding.model_copy(
            update={
                "kind": check.kind,
                "remedy": check.remedy,
                "stops": check.stops is not None,
                "files": finding.files or tuple(manifest.images[row].name for row in finding.rows),
            }
        )
        for check, finding in [*list(_stopping(manifest))[:1], *others]
    ]


def problem(manifest: Manifest) -> str | None:
    """The sentence of the error that `require_trainable` would raise, or None."""
    return next((finding.message for _, finding in _stopping(manifest)), None)


def require_trainable(manifest: Manifest) -> None:
    """Return where a run can start on `manifest`.

    Raises:
        LayoutError: there is one class only, or far too many; a class in val or test is missing from train.
        NotEnoughImages: a class has fewer than `FEWEST` distinct images to learn from; every such class is named.
    """
    for check, finding in _stopping(manifest):
        if check.stops:
            raise check.stops(finding.message)


def _stopping(manifest: Manifest) -> Iterator[tuple[Check, Finding]]:
    return ((check, finding) for check in CHECKS.values() if check.stops for finding in check.find(manifest))


def _one_class(manifest: Manifest) -> Iterator[Finding]:
    if len(manifest.classes) < 2:
        yield Finding(
            message=f"There is one class only, {_quoted(manifest.classes)}. A classifier needs two at least: "
            "put the pictures of each class into a folder of its own, all of them in one folder."
        )


def _too_many_classes(manifest: Manifest) -> Iterator[Finding]:
    if len(manifest.classes) > MOST_CLASSES:
        yield Finding(
            message=f"There are {len(manifest.classes):,} classes; a classifier takes {MOST_CLASSES:,} at most. Does every picture have "
            "a folder of its own? Put the pictures of each class together."
        )


def _not_in_train(manifest: Manifest) -> Iterator[Finding]:
    """Classes of the user's own val or test that train lacks."""
    learned = {image.label for image in manifest.images if image.split in (None, "train")}
    unknown = [manifest.classes[label] for label in sorted({image.label for image in manifest.images} - learned)]
    if manifest.own_splits and not learned:
        yield Finding(message="There are val or test folders but no train folder with pictures in it. Add one.")
    elif unknown:
        yield Finding(
            message=f"{_quoted(unknown)} {'is' if len(unknown) == 1 else 'are'} in val or test but not in train, so it could never "
            "be learned. Add pictures to train, or take the folder out of val and test."
        )


def _too_few_pictures(manifest: Manifest) -> Iterator[Finding]:
    small = [f"{name!r} has {count}" for name, count in distinct(manifest).items() if count < FEWEST]
    if small:
        yield Finding(
            message=f"Each class needs {FEWEST} different pictures{_in_train(manifest)} at least: {listed(small, _LISTED, 'more classes')}. "
            f"Add pictures ({FEW} or more make a steady result), or take the class out."
        )


def _refused(manifest: Manifest) -> Iterator[Finding]:
    if manifest.refused:
        first, count = manifest.refused[0], len(manifest.refused)
        yield Finding(
            message=f"{_count(count, 'file is', 'files are')} refused, {'' if count == 1 else 'the first of them '}{first.file}: "
            f"{first.message}",
            files=tuple(refusal.file for refusal in manifest.refused),
            reasons=tuple(refusal.message for refusal in manifest.refused),
        )


def _passed_over(manifest: Manifest) -> Iterator[Finding]:
    if manifest.passed_over:
        count = _count(manifest.passed_over, "other file is no picture and is", "other files are no pictures and are")
        yield Finding(message=f"{count} passed over.")


def _folded_folders(manifest: Manifest) -> Iterator[Finding]:
    if manifest.folded_folders:
        yield Finding(
            message=f"Deeper folders whose pictures are folded into their class: {manifest.folded_folders:,}."
        )


def _exact_copy(manifest: Manifest) -> Iterator[Finding]:
    if manifest.dropped_duplicates:
        yield Finding(
            message=f"Exact copies of another picture of the same class, which are left out: {manifest.dropped_duplicates:,}.",
            files=manifest.exact_copies,
        )


def _small_class(manifest: Manifest) -> Iterator[Finding]:
    few = [f"{name!r} ({count})" for name, count in distinct(manifest).items() if count < FEW]
    if few:
        yield Finding(
            message=f"Few pictures{_in_train(manifest)}: {listed(few, _LISTED, 'more classes')}. {FEW} or more of each would make the result steadier; with so "
            "few, a single picture decides much of what is measured."
        )


def _imbalance(manifest: Manifest) -> Iterator[Finding]:
    counts = distinct(manifest)
    if counts and min(counts.values()) and max(counts.values()) >= UNBALANCED * min(counts.values()):
        largest, smallest = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        yield Finding(
            message=f"{largest!r} has {counts[largest]:,} pictures and {smallest!r} {counts[smallest]:,}: "
            f"the classifier will lean towards {largest!r}. More pictures of {smallest!r} would help most."
        )


def _two_labels(manifest: Manifest) -> Iterator[Finding]:
    groups = [group for group in _same_content(manifest, lambda image: image.label) if _open(manifest, group)]
    if groups:
        names = sorted({manifest.classes[manifest.images[row].label] for row in groups[0]})
        among = "" if len(groups) == 1 else "among them "
        yield Finding(
            message=f"{_count(len(groups), 'picture is', 'pictures are')} in two classes at once: {among}"
            f"{manifest.images[groups[0][0]].name!r} ({' and '.join(repr(name) for name in names)}). All are kept, on one side of "
            "the split. One of the labels is wrong, or both fit: leave out the picture with the wrong one, or keep both.",
            rows=tuple(row for group in groups for row in group),
        )


def _suspect_label(manifest: Manifest) -> Iterator[Finding]:
    suspected = sorted(
        (suspicion.label_probability, row, suspicion)
        for row, image in enumerate(manifest.images)
        if not image.reviewed
        and (suspicion := image.suspicion)
        and suspicion.label == manifest.classes[image.label]
        and suspicion.suggested in manifest.classes
    )
    if suspected:
        yield Finding(
            message=f"{_count(len(suspected), 'label', 'labels')} may be wrong: classifiers that had not seen the picture answered another class and "
            "found the label very unlikely. The least likely comes first. Some of these pictures are only hard: look at each before you move it "
            "to the class that was answered.",
            rows=tuple(row for _, row, _ in suspected),
            reasons=tuple(
                f"labelled {suspicion.label!r}, answered {suspicion.suggested!r} ({suspicion.suggested_probability:.0%})"
                for _, _, suspicion in suspected
            ),
            move_to=tuple(suspicion.suggested for _, _, suspicion in suspected),
        )


def _copy_across_splits(manifest: Manifest) -> Iterator[Finding]:
    leaked = set(leaked_rows(manifest))
    if leaked:
        groups = [group for group in _groups(manifest) if leaked & set(group)]
        exact = len(_same_content(manifest, lambda image: image.split))
        near = len(groups) - exact if len(groups) > exact else 0
        what = " and ".join(
            text
            for text, count in (
                (_count(exact, "picture", "pictures"), exact),
                (
                    _count(near, "group of pictures that belong together", "groups of pictures that belong together"),
                    near,
                ),
            )
            if count
        )
        yield Finding(
            message=f"{what} {'is' if exact + near == 1 else 'are'} in more than one of your train, val and test folders, among them "
            f"{manifest.images[groups[0][0]].name!r}; {_count(len(leaked), 'picture of val or test shows', 'pictures of val and test show')} what is learned "
            "from. A picture that is both learned from and judged on makes the result look "
            "better than it is: leave it in one of the folders only.",
            rows=tuple(row for group in groups for row in group),
        )


def _shortcut(manifest: Manifest) -> Iterator[Finding]:
    images = manifest.images
    if not images or not all(image.measured.keys() >= SHORTCUT_MEASURES for image in images):
        return

    def numbers(*kinds: str) -> NDArray[np.float64]:
        return np.array([[image.measured[kind] for kind in kinds] for image in images], dtype=np.float64)

    sides = numbers("file_width", "file_height")
    properties = {
        "The file format alone": numbers("file_format"),
        "The size in pixels alone": sides,
        "The shape (width to height) alone": sides[:, :1] / sides[:, 1:],
        "The camera or program that made the file alone": numbers("camera"),
    }
    # Of a smaller picture, what it shows fills all, and decides how bright it is and how many bytes it takes.
    if np.median([min(image.width, image.height) for image in images]) >= 64:
        properties["The brightness alone"] = numbers("brightness")
        properties["The size of the file alone"] = numbers("file_bytes")
        properties["The colour of the border alone"] = numbers("border_red", "border_green", "border_blue")
    labels = np.array([image.label for image in images], dtype=np.int64)
    groups = group_keys(manifest)
    # A single property says best what to mend; all of them are asked together only where none does it alone.
    found = shortcut(properties, labels, groups) or shortcut(
        {_TOGETHER: np.hstack(list(properties.values()))}, labels, groups
    )
    if found:
        apart = (
            "the classes apart" if found.label is None else f"{manifest.classes[found.label]!r} from the other classes"
        )
        yield Finding(
            message=f"{found.property} tells {apart}: a classifier that sees nothing else is right in {found.accuracy:.0%} "
            f"(by chance in {found.chance:.0%}; cross-validated, all classes counted alike). A network may learn that instead of what is "
            "on the pictures, and then its accuracy does not hold for others. Take photographs of every class with the same camera, "
            "in the same light and place, and save them alike."
        )


_TOGETHER = "What the format, size, shape and light of the files say together, and nothing that is on them,"
SHORTCUT_MEASURES = frozenset(
    {"file_format", "file_width", "file_height", "file_bytes", "camera", "brightness"}
    | {"border_red", "border_green", "border_blue"}
)
"""The numbers of `data/measures` by which shortcuts are found; nothing is said where a picture lacks one of them."""


def _near_copy(manifest: Manifest) -> Iterator[Finding]:
    groups = [
        group
        for group in alike(image.group for image in manifest.images)
        if len({manifest.images[row].sha256 for row in group}) > 1 and _open(manifest, group)
    ]
    if groups:
        pictures = sum(len(group) for group in groups)
        largest = max(groups, key=len)
        yield Finding(
            message=f"{pictures:,} pictures show the same thing as another one, in {_count(len(groups), 'group', 'groups')} of near-copies, changed "
            f"copies or frames; the largest has {len(largest):,}, among them {manifest.images[largest[0]].name!r}. A group stays on one side "
            "of the split. Leave out what adds nothing, or keep them.",
            rows=tuple(row for group in groups for row in group),
        )


def _one_moment(manifest: Manifest) -> Iterator[Finding]:
    few = of_one_moment(manifest)
    if few:
        counts = [f"{name!r} ({_count(count, 'group', 'groups')})" for name, count in few.items()]
        yield Finding(
            message=f"All of one moment: the pictures of {listed(counts, _LISTED, 'more classes')} show so few different things that some of each had to be both learned from "
            "and judged on. Where no test of your own judges it, a run on these pictures has no accuracy to be trusted, and the pictures beside "
            "the cut are left out. Record it again elsewhere."
        )


def leaked_rows(manifest: Manifest) -> list[int]:
    """Rows of the user's own val and test whose group also has a picture in another part that is learned from before them.

    A picture in val counts where train shows the same thing, one in test where train or val does. Empty where the split is not the user's own.
    """
    if not manifest.own_splits:
        return []
    order = {"train": 0, "val": 1, "test": 2}
    return [
        row
        for group in _groups(manifest)
        for row in group
        if order[manifest.images[row].split or "train"]
        > min(order[manifest.images[other].split or "train"] for other in group)
    ]


def _groups(manifest: Manifest) -> list[list[int]]:
    """Rows that show the same thing, where there are several, in the order of their first rows."""
    return alike(group_keys(manifest).tolist())


def _same_content(manifest: Manifest, kind: Callable[[ImageEntry], object]) -> list[list[int]]:
    """Groups of rows whose bytes are the same though their `kind` differs."""
    groups = alike(image.sha256 for image in manifest.images)
    return [group for group in groups if len({kind(manifest.images[row]) for row in group}) > 1]


def _open(manifest: Manifest, rows: Iterable[int]) -> bool:
    """Whether the user has not yet decided about one of `rows` at least."""
    return not all(manifest.images[row].reviewed for row in rows)


def _in_train(manifest: Manifest) -> str:
    return " in train" if manifest.own_splits else ""


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


@dataclass(frozen=True, kw_only=True)
class Unlike:
    """One row of the table: a number, the limit past which it is unusual, and what is said of pictures past it."""

    kind: str
    """Name of the check, and of the number's row in `data/measures`, if it has one."""
    number: Callable[[ImageEntry], float | None]
    """None: it was not measured, and the picture is left out."""
    above: float = -np.inf
    """The number must be greater than this,"""
    below: float = np.inf
    """and less than this."""
    usual: float
    """The smallest deviation that is assumed, on `scale`."""
    most: float = np.inf
    """The largest one."""
    times: float = 5.0
    """How many deviations from the median of the class are unusual."""
    scale: Callable[[NDArray[np.float64]], NDArray[np.float64]] = np.positive
    """A rising function of the number on which differences count alike everywhere."""
    one: str
    """How the message begins after the number of pictures, where it is one."""
    many: str
    """The same for several."""
    says: str
    """The rest of the message; `{size}` stands for width and height of the farthest picture."""

    def find(self, manifest: Manifest) -> Iterator[Finding]:
        """Finds pictures whose `number` is past a limit and differs from what is usual in their class; the farthest come first.

        On `scale`, the number must differ from the median of its class, in the direction of the limit, by more than `times` the deviation:
        that of all pictures from the medians of their classes (1.4826 times the median absolute deviation, which is the standard deviation of
        normal numbers), but at least `usual` and at most `most`. So a class, or a whole folder, of night photos is not found,
        nor are pictures that the user decided to keep.
        """
        measured = {
            row: number for row, image in enumerate(manifest.images) if (number := self.number(image)) is not None
        }
        if not measured:
            return
        rows = np.array(list(measured))
        numbers = np.array(list(measured.values()), dtype=np.float64)
        labels = np.array([manifest.images[row].label for row in measured])
        scaled = self.scale(numbers)
        median = {label: np.median(scaled[labels == label]) for label in np.unique(labels)}
        differences = scaled - np.array([median[label] for label in labels])
        if self.below < np.inf:
            differences = -differences
        deviation = min(self.most, max(self.usual, 1.4826 * float(np.median(np.abs(differences)))))
        unusual = np.flatnonzero(
            (numbers > self.above) & (numbers < self.below) & (differences > self.times * deviation)
        )
        farthest_first = rows[unusual[np.argsort(-differences[unusual], kind="stable")]].tolist()
        unusual_rows = [row for row in farthest_first if not manifest.images[row].reviewed]
        if unusual_rows:
            farthest = manifest.images[unusual_rows[0]]
            says = self.says.format(size=f"{farthest.width} x {farthest.height}")
            yield Finding(message=f"{_count(len(unusual_rows), self.one, self.many)} {says}", rows=tuple(unusual_rows))


def _measured(kind: str) -> Callable[[ImageEntry], float | None]:
    return lambda image: image.measured.get(kind)


_LEAVE_OUT = "Leave such pictures out, unless those that will be classified look like this, too: then keep them, and add more of them."

UNLIKE = [
    Unlike(
        kind="blurred",
        number=_measured("blurred"),
        above=0.5,
        usual=0.02,
        one="picture is",
        many="pictures are",
        says=f"blurred beside the others of the class, even at the small size that a network is given. {_LEAVE_OUT}",
    ),
    Unlike(
        kind="dark",
        number=_measured("dark"),
        below=0.32 * 255,
        usual=0.32,
        scale=lambda grey: np.log(1 + grey),
        one="picture is",
        many="pictures are",
        says=f"much darker than the others of the class. {_LEAVE_OUT}",
    ),
    Unlike(
        kind="bright",
        number=_measured("bright"),
        above=0.75,
        usual=0.05,
        one="picture is",
        many="pictures are",
        says=f"white in three quarters or more, unlike the others of the class: perhaps too much light. {_LEAVE_OUT}",
    ),
    Unlike(
        kind="blank",
        number=_measured("blank"),
        below=0.75,
        usual=0.2,
        scale=lambda bits: np.log(0.05 + bits),
        one="picture shows",
        many="pictures show",
        says="next to nothing, such as an empty page or a placeholder for a picture that was missing. Leave such pictures out.",
    ),
    Unlike(
        kind="tiny",
        number=lambda image: max(image.width, image.height),
        below=64,
        usual=0.2,
        most=0.384,
        times=6.0,
        scale=np.log,
        one="picture has",
        many="pictures have",
        says="far fewer pixels than the others of the class, the smallest {size}. Perhaps thumbnails; bring the originals, or leave them out.",
    ),
    Unlike(
        kind="odd_shape",
        number=lambda image: max(image.width, image.height) / min(image.width, image.height),
        above=4,
        usual=0.2,
        scale=np.log,
        one="picture is",
        many="pictures are",
        says="a strip beside the others of the class, such as {size}. Every picture is squashed to a square, which leaves little of a strip: "
        "cut out what it is to show and add that, or leave it out.",
    ),
]
"""Every way to be unlike the class, in the order in which findings are told."""


CHECKS = Table(
    "check",
    [
        Check(kind="one_class", find=_one_class, stops=LayoutError),
        Check(kind="too_many_classes", find=_too_many_classes, stops=LayoutError),
        Check(kind="not_in_train", find=_not_in_train, stops=LayoutError),
        Check(kind="too_few_pictures", find=_too_few_pictures, remedy="photograph", stops=NotEnoughImages),
        Check(kind="refused", find=_refused),
        Check(kind="passed_over", find=_passed_over),
        Check(kind="folded_folders", find=_folded_folders),
        Check(kind="exact_copy", find=_exact_copy),
        Check(kind="two_labels", find=_two_labels, remedy="move"),
        Check(kind="suspect_label", find=_suspect_label, remedy="move"),
        Check(kind="near_copy", find=_near_copy, remedy="leave_out"),
        Check(kind="one_moment", find=_one_moment, remedy="photograph"),
        Check(kind="copy_across_splits", find=_copy_across_splits, remedy="leave_out"),
        *(Check(kind=way.kind, find=way.find, remedy="leave_out") for way in UNLIKE),
        Check(kind="shortcut", find=_shortcut, remedy="photograph"),
        Check(kind="small_class", find=_small_class, remedy="photograph"),
        Check(kind="imbalance", find=_imbalance, remedy="photograph"),
    ],
    key=attrgetter("kind"),
)
"""Every check by its kind, in the order in which findings are told."""
