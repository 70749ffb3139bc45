"""The kinds of slices: by what a run's pictures are divided to see whether it errs more on some of them than elsewhere.

A new kind is a row of `KINDS`. The class is none: how often each is right stands in the matrix, and `evaluation.slices` compares pictures
with others of the same class.
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


class Members(NamedTuple):
    """Some of the pictures, with what they have in common; before it is known how often the answers to them are right."""

    name: str
    """As in `documents.report.Slice`."""
    detail: str
    inside: NDArray[np.bool_]
    """(N,)"""
    distance: NDArray[np.floating] | None = None
    """(N,) how far each picture is from the middle of pictures that look alike; None for other kinds."""


class Candidate(NamedTuple):
    """A slice that is to be looked at."""

    kind: str
    members: Members


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One row of the table."""

    name: str
    slices: Callable[[Pictures], Iterable[Members]]
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
) -> Callable[[Pictures], Iterator[Members]]:
    """The pictures with the lowest and the highest values; `low` and `high` name them, and None leaves them out."""

    def slices(pictures: Pictures) -> Iterator[Members]:
        found = [value(image) for image in pictures.images]
        values = np.array([np.nan if number is None else number for number in found], dtype=np.float64)
        if np.isnan(values).all():
            return
        for share in SHARES:
            if low is not None:
                limit = float(np.nanquantile(values, share, method="lower"))
                yield Members(low, f"up to {write(limit)}", values <= limit)
            if high is not None:
                limit = float(np.nanquantile(values, 1 - share, method="higher"))
                yield Members(high, f"from {write(limit)} on", values >= limit)

    return slices


def _measured(name: str) -> Callable[[ImageEntry], float | None]:
    return lambda image: image.measured.get(name)


def _shorter_side(image: ImageEntry) -> float:
    """Pixels; of the copy, in data sets from before the size of the original was kept."""
    return min(image.measured.get("file_width", image.width), image.measured.get("file_height", image.height))


def _bits_a_pixel(image: ImageEntry) -> float | None:
    kept = [image.measured.get(name) for name in ("file_bytes", "file_width", "file_height")]
    if None in kept:
        return None
    size, width, height = (float(number) for number in kept if number is not None)
    return 8 * size / max(width * height, 1)


def _border(image: ImageEntry) -> float | None:
    colours = [image.measured[name] for name in ("border_red", "border_green", "border_blue") if name in image.measured]
    return float(np.mean(colours)) if len(colours) == 3 else None


def _of_255(what: str) -> Callable[[float], str]:
    return lambda value: f"{value:.0f} of 255 ({what})"


def _by_value(
    value: Callable[[ImageEntry], object | None], name: Callable[[list[ImageEntry]], tuple[str, str]]
) -> Callable[[Pictures], Iterator[Members]]:
    """The pictures of each value, the commonest values first; `name` gives name and detail of a slice with these pictures."""

    def slices(pictures: Pictures) -> Iterator[Members]:
        values = [value(image) for image in pictures.images]
        for one, _ in Counter(found for found in values if found is not None).most_common(MOST_OF_A_KIND):
            inside = np.array([found == one for found in values], dtype=bool)
            its = [image for image, has in zip(pictures.images, inside, strict=True) if has]
            yield Members(*name(its), inside)

    return slices


def _format_named(images: list[ImageEntry]) -> tuple[str, str]:
    suffixes = Counter(PurePosixPath(image.name).suffix.lower() for image in images)
    return f"{suffixes.most_common(1)[0][0] or 'nameless'} files", ""


def _camera_named(images: list[ImageEntry]) -> tuple[str, str]:
    return "pictures of one camera", f"such as {images[0].name}"


def _folders(pictures: Pictures) -> Iterator[Members]:
    """Folders with all that is below them, and folders of one name wherever they are, such as `cats/garden` and `dogs/garden`."""
    paths: dict[str, list[int]] = defaultdict(list)
    names: dict[str, list[int]] = defaultdict(list)
    for row, image in enumerate(pictures.images):
        above = PurePosixPath(image.name).parent.parts
        for depth in range(len(above)):
            paths["/".join(above[: depth + 1])].append(row)
        for name in set(above):
            names[name].append(row)
    merged = {**{f"pictures in the folder {path}": rows for path, rows in paths.items()}}
    for name, rows in names.items():
        merged.setdefault(f"pictures in folders called {name}", rows)
    for name, rows in sorted(merged.items(), key=lambda one: -len(one[1]))[: 2 * MOST_OF_A_KIND]:
        yield Members(name, "", np.isin(np.arange(len(pictures.images)), rows))


def _copies(pictures: Pictures) -> Iterator[Members]:
    sizes = np.bincount(pictures.copies)[pictures.copies]
    yield Members("pictures that stand alone", "no other shows the same thing", sizes == 1)
    yield Members("pictures that have near-copies", "others show the same thing", sizes > 1)


def _alike(pictures: Pictures) -> Iterator[Members]:
    for distance in () if pictures.distances is None else pictures.distances:
        for share in NEAREST:
            yield Members(ALIKE, "", distance <= np.quantile(distance, share), distance)


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
        Kind(name="camera", slices=_by_value(_measured("camera"), _camera_named), called="pictures of one camera"),
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
    found: dict[bytes, Candidate] = {}
    for kind in KINDS.values():
        for members in kind.slices(pictures):
            found.setdefault(members.inside.tobytes(), Candidate(kind.name, members))
    return list(found.values())


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
