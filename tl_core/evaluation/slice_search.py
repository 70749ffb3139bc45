"""Where a run fails: slices of the pictures on which its answers are wrong more often than elsewhere, and chance does not explain it.

A new kind of slice is a row of `KINDS`. The class is none: how often each is right stands in the matrix, and pictures are compared with
others of the same class.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tl_core.documents.manifest import ImageEntry
from tl_core.documents.report import ImageAnswer, Slice
from tl_core.evaluation.intervals import accuracy_interval
from tl_core.table import Table

SHARES = (0.1, 0.25)
"""The lowest and the highest values of a number that are looked at, as shares of the pictures."""
MOST_OF_A_KIND = 50
"""Folders, or groups, that are looked at, the largest first. With more of them less is found, since all are corrected for."""
MIDDLES = 32
"""The most clusters around whose middles it is looked for pictures that look alike."""
A_CLUSTER = 10
"""Judged pictures that a cluster has on average at least."""
NEAREST = (0.05, 0.1, 0.2)
"""The pictures nearest to a middle that are looked at, as shares of all. Neighbourhoods overlap, so one of them fits a failure better than a
cluster that ends in its midst does."""
ALIKE = "pictures that look alike"
COMPONENTS = 50
"""Principal components of the embeddings that are clustered; the rest is mostly noise."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The N pictures whose answers are judged."""

    images: Sequence[ImageEntry]
    groups: NDArray[np.integer]
    """(N,) pictures with the same number show one thing or were given as one group, so their answers are not independent."""
    copies: NDArray[np.integer]
    """(N,) the same without the groups that the user gave."""
    distances: NDArray[np.floating] | None = None
    """(K, N) how far each picture is from each of K middles, as `distances_to_middles` gives them; None: it is not looked at what is alike."""


class Candidate(NamedTuple):
    """A slice that is to be looked at: some of the pictures, with what they have in common, before it is known how often the answers are right."""

    name: str
    """As in `documents.report.Slice`."""
    detail: str
    inside: NDArray[np.bool_]
    """(N,)"""
    distance: NDArray[np.floating] | None = None
    """(N,) how far each picture is from the middle of pictures that look alike; None for other kinds."""
    kind: str = ""
    """Name of the row of `KINDS`, which `candidates` adds."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One row of the table."""

    name: str
    slices: Callable[[Pictures], Iterable[Candidate]]
    """Those that are too small are left out later."""
    copies_alone: bool = False
    """Whether only pictures that show the same thing count as one, not those of a group that the user gave: a row that asks whether the
    run errs on one such group."""
    describes: bool = False
    """Whether it says what a picture looks like or comes from, so that most pictures of a cluster can have it in common."""
    called: str = ""
    """What a slice is called where names of files, folders and groups are not to be told; empty: neither its name nor its detail holds one."""


def _by_number(
    value: Callable[[ImageEntry], float | None],
    write: Callable[[float], str],
    *,
    low: str | None = None,
    high: str | None = None,
) -> Callable[[Pictures], Iterator[Candidate]]:
    """The pictures with the lowest and the highest values; `low` and `high` name them, and None leaves them out."""

    def slices(pictures: Pictures) -> Iterator[Candidate]:
        numbers = [value(image) for image in pictures.images]
        values = np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)
        if np.isnan(values).all():
            return
        for share in SHARES:
            if low is not None:
                limit = float(np.nanquantile(values, share, method="lower"))
                yield Candidate(low, f"up to {write(limit)}", values <= limit)
            if high is not None:
                limit = float(np.nanquantile(values, 1 - share, method="higher"))
                yield Candidate(high, f"from {write(limit)} on", values >= limit)

    return slices


def _measured(name: str) -> Callable[[ImageEntry], float | None]:
    return lambda image: image.measured.get(name)


def _shorter_side(image: ImageEntry) -> float:
    """Pixels; of the copy, in data sets from before the size of the original was kept."""
    return min(image.measured.get("file_width", image.width), image.measured.get("file_height", image.height))


def _bits_a_pixel(image: ImageEntry) -> float | None:
    numbers = [image.measured[name] for name in ("file_bytes", "file_width", "file_height") if name in image.measured]
    if len(numbers) < 3:
        return None
    size, width, height = numbers
    return 8 * size / max(width * height, 1)


def _border(image: ImageEntry) -> float | None:
    colours = [image.measured[name] for name in ("border_red", "border_green", "border_blue") if name in image.measured]
    return float(np.mean(colours)) if len(colours) == 3 else None


def _of_255(what: str) -> Callable[[float], str]:
    return lambda value: f"{value:.0f} of 255 ({what})"


def _by_value(
    value: Callable[[ImageEntry], object | None], name: Callable[[list[ImageEntry]], tuple[str, str]]
) -> Callable[[Pictures], Iterator[Candidate]]:
    """The pictures of each value, the commonest values first; `name` gives name and detail of a slice with these pictures."""

    def slices(pictures: Pictures) -> Iterator[Candidate]:
        values = [value(image) for image in pictures.images]
        for common, _ in Counter(each for each in values if each is not None).most_common(MOST_OF_A_KIND):
            inside = np.array([each == common for each in values], dtype=bool)
            its = [image for image, has in zip(pictures.images, inside, strict=True) if has]
            yield Candidate(*name(its), inside)

    return slices


def _format_named(images: list[ImageEntry]) -> tuple[str, str]:
    suffixes = Counter(PurePosixPath(image.name).suffix.lower() for image in images)
    return f"{suffixes.most_common(1)[0][0] or 'nameless'} files", ""


def _folders(pictures: Pictures) -> Iterator[Candidate]:
    """Folders with all that is below them, and folders of one name wherever they are, such as `cats/garden` and `dogs/garden`."""
    paths: dict[str, list[int]] = defaultdict(list)
    names: dict[str, list[int]] = defaultdict(list)
    for row, image in enumerate(pictures.images):
        above = PurePosixPath(image.name).parent.parts
        for depth in range(len(above)):
            paths["/".join(above[: depth + 1])].append(row)
        for name in set(above):
            names[name].append(row)
    merged = {f"pictures in the folder {path}": rows for path, rows in paths.items()}
    for name, rows in names.items():
        merged.setdefault(f"pictures in folders called {name}", rows)
    for name, rows in sorted(merged.items(), key=lambda named: -len(named[1]))[: 2 * MOST_OF_A_KIND]:
        yield Candidate(name, "", np.isin(np.arange(len(pictures.images)), rows))


def _copies(pictures: Pictures) -> Iterator[Candidate]:
    sizes = np.bincount(pictures.copies)[pictures.copies]
    yield Candidate("pictures that stand alone", "no other shows the same thing", sizes == 1)
    yield Candidate("pictures that have near-copies", "others show the same thing", sizes > 1)


def _alike(pictures: Pictures) -> Iterator[Candidate]:
    for distance in () if pictures.distances is None else pictures.distances:
        for share in NEAREST:
            yield Candidate(ALIKE, "", distance <= np.quantile(distance, share), distance)


KINDS: Table[Kind] = Table(
    "kind of slice",
    [
        Kind(
            name="size",
            slices=_by_number(
                _shorter_side,
                lambda side: f"{side:.0f} pixels (shorter side)",
                low="small originals",
                high="large originals",
            ),
            describes=True,
        ),
        Kind(
            name="brightness",
            slices=_by_number(
                _measured("brightness"), _of_255("mean grey"), low="dark pictures", high="light pictures"
            ),
            describes=True,
        ),
        Kind(
            name="dark",
            slices=_by_number(
                _measured("dark"), _of_255("grey of the lightest parts"), low="pictures without light parts"
            ),
            describes=True,
        ),
        Kind(
            name="bright",
            slices=_by_number(
                _measured("bright"), lambda share: f"{share:.1%} of it white", high="pictures with much white"
            ),
            describes=True,
        ),
        Kind(
            name="blurred",
            slices=_by_number(
                _measured("blurred"),
                lambda blur: f"{blur:.2f} of 1 (blur)",
                low="sharp pictures",
                high="blurred pictures",
            ),
            describes=True,
        ),
        Kind(
            name="blank",
            slices=_by_number(
                _measured("blank"),
                lambda bits: f"{bits:.1f} of 5 bits (entropy of the grey)",
                low="pictures of few shades",
                high="pictures of many shades",
            ),
            describes=True,
        ),
        Kind(
            name="border",
            slices=_by_number(
                _border,
                _of_255("mean along the edges"),
                low="pictures with a dark border",
                high="pictures with a light border",
            ),
            describes=True,
        ),
        Kind(
            name="shape",
            slices=_by_number(
                lambda image: image.width / image.height,
                lambda ratio: f"{ratio:.2f} times as wide as high",
                low="tall pictures",
                high="wide pictures",
            ),
            describes=True,
        ),
        Kind(
            name="compression",
            slices=_by_number(
                _bits_a_pixel,
                lambda bits: f"{bits:.1f} bits a pixel",
                low="strongly compressed files",
                high="lightly compressed files",
            ),
            describes=True,
        ),
        Kind(name="format", slices=_by_value(_measured("file_format"), _format_named), describes=True),
        Kind(
            name="camera",
            slices=_by_value(
                _measured("camera"), lambda images: ("pictures of one camera", f"such as {images[0].name}")
            ),
            called="pictures of one camera",
        ),
        Kind(name="folder", slices=_folders, describes=True, called="pictures in one folder"),
        Kind(
            name="group",
            slices=_by_value(
                lambda image: image.given_group, lambda images: (f"pictures of the group {images[0].given_group}", "")
            ),
            copies_alone=True,
            describes=True,
            called="pictures of one group",
        ),
        Kind(name="copies", slices=_copies),
        Kind(name="cluster", slices=_alike, called=ALIKE),
    ],
)
"""Every kind; `kind` in JSON."""


def candidates(pictures: Pictures) -> list[Candidate]:
    """Every slice of the pictures, each set of members once: that of the first kind that has it."""
    by_members: dict[bytes, Candidate] = {}
    for kind in KINDS.values():
        for candidate in kind.slices(pictures):
            by_members.setdefault(candidate.inside.tobytes(), candidate._replace(kind=kind.name))
    return list(by_members.values())


def distances_to_middles(embeddings: NDArray[np.floating], judged: NDArray[np.integer]) -> NDArray[np.float64]:
    """How far the pictures `judged` (M,) are from the middles of K clusters of all `embeddings` (N, D): (K, M).

    The clusters are those of k-means (Lloyd 1982) on the principal components of the embeddings, each scaled to length 1. It runs on one thread,
    so the same embeddings give the same clusters. Too few judged pictures for two clusters have none.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    count = min(MIDDLES, len(judged) // A_CLUSTER)
    if count < 2:
        return np.empty((0, len(judged)))
    wide = np.asarray(embeddings, dtype=np.float32)
    unit = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    with threadpool_limits(1):
        parts = PCA(min(COMPONENTS, *unit.shape), random_state=0).fit_transform(unit)
        clusters = KMeans(count, n_init=3, random_state=0).fit(parts)
        return np.asarray(clusters.transform(parts[judged]).T, dtype=np.float64)


FEWEST = 6
"""Pictures, each of a group of its own, that a slice and the rest need at least."""
PERMUTATIONS = 5_000
_AT_ONCE = 500
"""Permutations that memory holds at once."""
_NOTHING = 1e-9
"""Spread of statistics that are all the same, as far as numbers tell."""
_LEAST_SKEWNESS = 1e-3
"""Below it a distribution is symmetric as far as numbers tell."""
MOSTLY = 0.6
"""Share of the pictures of a cluster that have something in common from which it is said."""
MORE_THAN_ELSEWHERE = 1.5
"""How many times as common it must be in the cluster as among all pictures."""


def failing(
    pictures: Pictures, answers: Sequence[ImageAnswer], classes: Sequence[str], *, folds: int | None = None
) -> tuple[Slice, ...]:
    """Every slice of the pictures that was looked at, the one that chance explains least first.

    `answers` are those to `pictures`, in their order. Tested is whether a slice has more wrong answers than chance gives it: the wrong
    answers are permuted among the groups of pictures whose class is the same, so a hard class is not found once more. A group of pictures
    counts as one, with the share of its answers that are wrong. The p-values are corrected for all slices by the largest score that
    each permutation gives to any (single-step maxT, Westfall and Young 1993): of slices that overlap, that asks less than Holm's method does.
    If all wrong answers fall by chance, at most one data set in twenty has a finding.

    `folds`: how many the answers come from, where they are those of cross-validation; their intervals are wider (`intervals.widening`).
    """
    truth = np.array([answer.truth for answer in answers], dtype=np.int64)
    wrong = np.array([answer.predicted != answer.truth for answer in answers], dtype=bool)
    looked_at = comparable(pictures, truth)
    if not looked_at:
        return ()
    values = corrected_p_values(looked_at, pictures, wrong, truth)
    order = np.argsort(values, kind="stable")
    return tuple(
        _slice(looked_at[at], float(values[at]), pictures, looked_at, answers, truth, ~wrong, classes, folds)
        for at in order
    )


def comparable(pictures: Pictures, truth: NDArray[np.integer]) -> list[Candidate]:
    """The slices of `pictures` that have enough pictures in them and elsewhere, and both of some class of `truth` (N,)."""

    def enough(candidate: Candidate) -> bool:
        units = _units(candidate, pictures)
        fewest = min(len(np.unique(units[candidate.inside])), len(np.unique(units[~candidate.inside])))
        return fewest >= FEWEST and bool(np.intersect1d(truth[candidate.inside], truth[~candidate.inside]).size)

    return [each for each in candidates(pictures) if enough(each)]


def corrected_p_values(
    looked_at: Sequence[Candidate], pictures: Pictures, wrong: NDArray[np.bool_], truth: NDArray[np.integer]
) -> NDArray[np.float64]:
    """For each slice that is `looked_at` the probability, corrected for all of them, that chance gives it as many wrong answers.

    `wrong` (N,) says which answers to `pictures` are wrong, `truth` (N,) are class indices.
    """
    statistics = np.empty((len(looked_at), 1 + PERMUTATIONS))
    for alone in (False, True):
        some = [number for number, candidate in enumerate(looked_at) if KINDS[candidate.kind].copies_alone is alone]
        if some:
            inside = np.array([looked_at[number].inside for number in some])
            statistics[some] = _statistics(inside, wrong, truth, _units(looked_at[some[0]], pictures))
    scores = _normal_scores(statistics)
    largest = np.sort(scores.max(axis=0))
    return 1 - np.searchsorted(largest, scores[:, 0], side="left") / len(largest)


def _normal_scores(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row of `statistics`, (S, 1 + P) as `_statistics` gives them, on one scale, on which chance gives all about a normal distribution.

    Small slices have a skewed distribution, so their standard scores reach further than those of large ones. The cube root of Wilson and Hilferty
    (1931) removes the skewness of a Pearson type III curve, which fits the sums of a permutation test (Mielke and Berry 2007). How well it
    fits does not matter for what chance finds, since it is the same for all columns.
    """
    # Without the first column: what is far beyond chance would widen, and skew, what it is compared with.
    chance = statistics[:, 1:]
    spread = chance.std(axis=1, keepdims=True)
    centred = statistics - chance.mean(axis=1, keepdims=True)
    scaled = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > _NOTHING)
    skewness = (scaled[:, 1:] ** 3).mean(axis=1, keepdims=True)
    skewness = np.where(np.abs(skewness) < _LEAST_SKEWNESS, _LEAST_SKEWNESS, skewness)
    return np.asarray(6 / skewness * (np.cbrt(1 + skewness * scaled / 2) - 1) + skewness / 6)


def _statistics(
    inside: NDArray[np.bool_], wrong: NDArray[np.bool_], truth: NDArray[np.integer], units: NDArray[np.integer]
) -> NDArray[np.float64]:
    """How much is wrong in each slice (S, N), (S, 1 + PERMUTATIONS): first as it is, then permuted within the classes."""
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    sizes = np.bincount(unit)
    share = np.bincount(unit, weights=wrong) / sizes
    weights = np.array([np.bincount(unit, weights=members) / sizes for members in inside])
    of_class = [np.flatnonzero(truth[first] == label) for label in np.unique(truth[first])]
    generator = np.random.default_rng(0)
    sums = [weights @ share[:, np.newaxis]]
    for start in range(0, PERMUTATIONS, _AT_ONCE):
        permuted = np.tile(share, (min(_AT_ONCE, PERMUTATIONS - start), 1))
        for rows in of_class:
            permuted[:, rows] = generator.permuted(permuted[:, rows], axis=1)
        sums.append(weights @ permuted.T)
    # Equal sums that were added up in another order are equal.
    return np.asarray(np.round(np.concatenate(sums, axis=1), 9), dtype=np.float64)


def _units(candidate: Candidate, pictures: Pictures) -> NDArray[np.integer]:
    """Which pictures (N,) count as one where that slice is tested."""
    return pictures.copies if KINDS[candidate.kind].copies_alone else pictures.groups


def _slice(
    candidate: Candidate,
    p_value: float,
    pictures: Pictures,
    looked_at: Sequence[Candidate],
    answers: Sequence[ImageAnswer],
    truth: NDArray[np.int64],
    right: NDArray[np.bool_],
    classes: Sequence[str],
    folds: int | None,
) -> Slice:
    name, detail, inside, distance, kind = candidate
    judged = Slice(
        kind=kind,
        name=name,
        detail=detail if distance is None else _in_common(inside, truth, looked_at, classes),
        images=int(inside.sum()),
        errors=int((~right[inside]).sum()),
        accuracy=float(right[inside].mean()),
        interval=accuracy_interval(right[inside], _units(candidate, pictures)[inside], folds=folds),
        elsewhere=float(right[~inside].mean()),
        p_value=p_value,
    )
    if not judged.found:
        return judged
    rows = np.flatnonzero(inside)
    nearest = rows if distance is None else rows[np.argsort(distance[rows], kind="stable")]
    shown = nearest[np.argsort(right[nearest], kind="stable")]
    return judged.model_copy(update={"answers": tuple(answers[row] for row in shown)})


def _in_common(
    inside: NDArray[np.bool_], truth: NDArray[np.int64], looked_at: Sequence[Candidate], classes: Sequence[str]
) -> str:
    """What most pictures of a cluster have in common, in words; empty where nothing is."""
    often = np.bincount(truth[inside], minlength=len(classes)).argsort(kind="stable")[::-1].tolist()
    described = [(classes[often[0]], truth == often[0])]
    if not _common(truth == often[0], inside):
        described = [(f"{classes[often[0]]} or {classes[often[1]]}", np.isin(truth, often[:2]))]
    described += [(other.name, other.inside) for other in looked_at if KINDS[other.kind].describes]
    shares: dict[str, float] = {}
    for name, having in described:
        if _common(having, inside):
            shares[name] = max(float(having[inside].mean()), shares.get(name, 0.0))
    common = sorted(shares.items(), key=lambda named: -named[1])[:3]
    listed = ", ".join(f"{name} ({100 * share:.0f} %)" for name, share in common)
    return f"mostly {listed}" if listed else ""


def _common(having: NDArray[np.bool_], inside: NDArray[np.bool_]) -> bool:
    share = float(having[inside].mean())
    return share >= MOSTLY and share >= MORE_THAN_ELSEWHERE * float(having.mean())
