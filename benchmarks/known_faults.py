"""Makes folders with known faults out of real ones, and says how many of the faults are found; writes docs/data.md.

    python benchmarks/known_faults.py FOLDER...

Each FOLDER holds a folder of pictures for each class. Up to ORIGINALS pictures of it that show different things are drawn, and a new
folder is made for each fault: exact copies across a train and a test folder, pictures under two labels, changed copies, bursts, films,
and classes that are told by how they were saved. They are read as any other data set, in a store that is removed afterwards. The new
names tell nothing, except that bursts and films are numbered.
"""

import argparse
import io
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.frozen_sets import DOCUMENT, HEAD, KEEP, FrozenSet, cross_validated, frozen_set
from benchmarks.sections import put
from tl_core.data.checks import findings
from tl_core.evaluation.intervals import accuracy_interval
from tl_core.training.head.fitted import MOST

ORIGINALS = 200
COPIES = 4
"""Changed copies of each original."""
FAULTY = 20
"""Pictures that are copied across the split, or into another class."""
SCENES, FRAMES, FILM = 6, 10, 30
"""Bursts, and films, of a folder; pictures of a burst, and of a film."""

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def _turned(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC)


def _mirrored(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.mirror(image)


def _cut(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    share = rng.uniform(0.8, 0.95)
    width, height = round(share * image.width), round(share * image.height)
    left, top = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
    return image.crop((int(left), int(top), int(left) + width, int(top) + height))


def _jittered(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(rng.uniform(0.7, 1.3))
    return image


def _compressed(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    written = io.BytesIO()
    image.save(written, "JPEG", quality=int(rng.integers(25, 60)))
    return Image.open(written).convert("RGB")


CHANGES: dict[str, Change] = {
    "turned": _turned,
    "mirrored": _mirrored,
    "cut": _cut,
    "colours": _jittered,
    "JPEG": _compressed,
}


@dataclass
class Made:
    """A folder that was made, and what is in it."""

    path: Path
    shows: dict[str, str] = field(default_factory=dict)
    """For each file, by its place in the folder, what it shows: pictures with the same text show the same thing."""

    def place(self, name: str, thing: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.shows[name] = thing
        return path

    def copy(self, original: Path, name: str, thing: str) -> None:
        self.place(name, thing).write_bytes(original.read_bytes())

    def write(self, image: Image.Image, name: str, thing: str) -> None:
        image.save(self.place(name, thing), quality=95)


@dataclass(frozen=True)
class Original:
    path: Path
    label: str

    @property
    def thing(self) -> str:
        return f"{self.label}/{self.path.stem}"

    def image(self) -> Image.Image:
        return ImageOps.exif_transpose(Image.open(self.path)).convert("RGB")


def originals(pictures: FrozenSet, folder: Path) -> list[Original]:
    """Pictures of `folder`, one of each group, evenly from the classes, in an order by chance."""
    rng = np.random.default_rng(0)
    first = np.unique(pictures.groups, return_index=True)[1]
    names = pictures.manifest.classes
    found = []
    for label in range(len(names)):
        own = rng.permutation(first[pictures.labels[first] == label])[: ORIGINALS // len(names)]
        found += [Original(folder / pictures.manifest.images[row].name, names[label]) for row in own]
    return [found[at] for at in rng.permutation(len(found))]


def telling_nothing(rng: np.random.Generator) -> str:
    return rng.bytes(6).hex()


def copies_across_splits(drawn: list[Original], made: Made) -> None:
    """A train and a test folder; every picture of test is new, except `FAULTY` of them."""
    rng = np.random.default_rng(1)
    for number, one in enumerate(drawn):
        part = "test" if number % 4 == 0 else "train"
        made.copy(one.path, f"{part}/{one.label}/{telling_nothing(rng)}{one.path.suffix}", one.thing)
    for one in [one for number, one in enumerate(drawn) if number % 4][:FAULTY]:
        made.copy(one.path, f"test/{one.label}/{telling_nothing(rng)}{one.path.suffix}", one.thing)


def as_they_are(drawn: list[Original], made: Made) -> None:
    rng = np.random.default_rng(7)
    for one in drawn:
        made.copy(one.path, f"{one.label}/{telling_nothing(rng)}{one.path.suffix}", one.thing)


def two_labels(drawn: list[Original], made: Made) -> None:
    rng, labels = np.random.default_rng(2), sorted({one.label for one in drawn})
    for number, one in enumerate(drawn):
        made.copy(one.path, f"{one.label}/{telling_nothing(rng)}{one.path.suffix}", one.thing)
        if number < FAULTY:
            other = labels[(labels.index(one.label) + 1) % len(labels)]
            made.copy(one.path, f"{other}/{telling_nothing(rng)}{one.path.suffix}", one.thing)


def changed_copies(drawn: list[Original], made: Made, changes: dict[str, str]) -> None:
    """Each original with `COPIES` copies, each changed in one or two ways; `changes` is given those of each file."""
    rng = np.random.default_rng(3)
    for one in drawn:
        made.copy(one.path, f"{one.label}/{telling_nothing(rng)}{one.path.suffix}", one.thing)
        for _ in range(COPIES):
            image, name = one.image(), f"{one.label}/{telling_nothing(rng)}.jpg"
            ways = rng.permutation(list(CHANGES))[: rng.integers(1, 3)].tolist()
            for way in ways:
                image = CHANGES[way](image, rng)
            made.write(image, name, one.thing)
            changes[name] = " and ".join(sorted(ways))


def _moving(one: Original, count: int, step: float, made: Made, name: str, rng: np.random.Generator) -> None:
    """`count` pictures through a window that wanders over one photo, by `step` of its sides at most."""
    image = one.image()
    width, height = round(0.6 * image.width), round(0.6 * image.height)
    at, way = np.array([0.0, 0.0]), np.array([1.0, 0.6])
    for number in range(count):
        left, top = (at * (image.width - width, image.height - height)).astype(int).tolist()
        frame = ImageEnhance.Brightness(image.crop((left, top, left + width, top + height))).enhance(
            rng.uniform(0.95, 1.05)
        )
        made.write(frame, f"{one.label}/{name}{number:04}.jpg", one.thing)
        at = at + way * step
        way = np.where((at > 1) | (at < 0), -way, way)
        at = at.clip(0, 1)


def bursts(drawn: list[Original], made: Made) -> None:
    """Pictures numbered through, as a camera does, `SCENES` of them taken `FRAMES` times in a row by a hand that is not still."""
    rng, numbers = np.random.default_rng(4), Counter[str]()
    for at, one in enumerate(drawn):
        first = numbers[one.label]
        image = one.image()
        for number in range(first, first + (FRAMES if at < SCENES else 1)):
            margin = [round(rng.uniform(0, 0.06) * side) for side in (image.width, image.height) * 2]
            frame = image.crop((margin[0], margin[1], image.width - margin[2], image.height - margin[3]))
            made.write(frame, f"{one.label}/IMG_{number:04}.jpg", one.thing)
            numbers[one.label] += 1


def films(drawn: list[Original], made: Made) -> None:
    rng = np.random.default_rng(5)
    for at, one in enumerate(drawn):
        if at < SCENES:
            _moving(one, FILM, 0.07, made, f"film{at}_", rng)
        else:
            made.copy(one.path, f"{one.label}/{telling_nothing(rng)}{one.path.suffix}", one.thing)


def _brighter(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(image, dtype=np.float32) * 0.6 + 110, 0, 255).astype(np.uint8))


def _bordered(image: Image.Image) -> Image.Image:
    deep = max(1, image.width // 20)
    return ImageOps.expand(ImageOps.crop(image, deep), deep, (40, 90, 160))


SAVED: dict[str, Callable[[Image.Image], tuple[Image.Image, str]]] = {
    "format": lambda image: (image, "png"),
    "size in pixels": lambda image: (image.resize((image.width * 3 // 4, image.height * 3 // 4)), "jpg"),
    "brightness": lambda image: (_brighter(image), "jpg"),
    "border": lambda image: (_bordered(image), "jpg"),
}
"""What is done to each picture of the class that is saved in another way than all others."""


def shortcuts(drawn: list[Original], made: Made, way: str) -> None:
    rng = np.random.default_rng(6)
    label = min(one.label for one in drawn)
    for one in drawn:
        image, ending = SAVED[way](one.image()) if one.label == label else (one.image(), "jpg")
        made.write(image, f"{one.label}/{telling_nothing(rng)}.{ending}", one.thing)


def together(pictures: FrozenSet, shows: dict[str, str]) -> tuple[set[str], int]:
    """Files that are in the largest group of what they show, of things with several files; and how many files share a group with another thing."""
    group_of = {
        image.name: group for image, group in zip(pictures.manifest.images, pictures.groups.tolist(), strict=True)
    }
    names: dict[str, list[str]] = defaultdict(list)
    things: dict[int, Counter[str]] = defaultdict(Counter)
    for name, group in group_of.items():
        names[shows[name]].append(name)
        things[group][shows[name]] += 1
    kept: set[str] = set()
    for own in names.values():
        largest = Counter(group_of[name] for name in own).most_common(1)[0][0]
        kept |= {name for name in own if len(own) > 1 and group_of[name] == largest}
    wrong = sum(sum(found.values()) - max(found.values()) for found in things.values())
    return kept, wrong


def accuracy(pictures: FrozenSet, groups: NDArray[np.intp]) -> tuple[float, NDArray[np.bool_]]:
    """The cross-validated accuracy, and whether each answer is right."""
    right = cross_validated(pictures.features, pictures.labels, groups)[1].logits.argmax(axis=1) == pictures.labels
    return float(right.mean()), right


class Bench:
    """Reads made folders in a store of their own."""

    def __init__(self, place: Path, drawn: list[Original]) -> None:
        self._place, self._drawn = place, drawn

    def read(self, name: str, make: Callable[[list[Original], Made], None]) -> tuple[FrozenSet, Made]:
        made = Made(self._place / name)
        make(self._drawn, made)
        return frozen_set(str(made.path), keep=self._place / "store"), made


def of_kind(pictures: FrozenSet, kind: str) -> set[str]:
    return {file for found in findings(pictures.manifest) if found.kind == kind for file in found.files}


def judged(pictures: FrozenSet, folder: Path, place: Path) -> Iterator[tuple[str, str]]:
    """What was planted in `folder`, and what was found."""
    drawn = originals(pictures, folder)
    bench = Bench(place, drawn)

    found, made = bench.read("splits", copies_across_splits)
    times = Counter(made.shows.values())
    planted = {name for name, thing in made.shows.items() if times[thing] > 1 and name.startswith("test/")}
    told = of_kind(found, "copy_across_splits")
    extra = {name for name in told if times[made.shows[name]] == 1}
    yield "exact copies across train and test", f"{len(planted & told)} of {len(planted)} found, {len(extra)} false"

    found, made = bench.read("labels", two_labels)
    times = Counter(made.shows.values())
    planted = {name for name, thing in made.shows.items() if times[thing] > 1}
    told = of_kind(found, "two_labels")
    yield "one picture under two labels", f"{len(planted & told)} of {len(planted)} found, {len(told - planted)} false"

    plain, _ = bench.read("plain", as_they_are)
    alone, right = accuracy(plain, plain.groups)
    low, high = accuracy_interval(right, plain.groups, folds=MOST)
    changes: dict[str, str] = {}
    found, made = bench.read("changed", lambda some, into: changed_copies(some, into, changes))
    kept, wrong = together(found, made.shows)
    yield "changed copies", f"{len(kept):,} of {len(found.labels):,} with their original, {wrong} with another picture"
    there = {image.name for image in found.manifest.images}
    lost = Counter(way for name, way in changes.items() if name in there - kept)
    print("lost by change:", dict(lost.most_common(8)), flush=True)
    grouped, _ = accuracy(found, found.groups)
    ungrouped, _ = accuracy(found, np.arange(len(found.labels)))
    yield (
        "their accuracy",
        f"originals {alone:.3f} ({low:.3f} to {high:.3f}); with copies {grouped:.3f}, and without groups {ungrouped:.3f}",
    )

    for name, make in (("bursts", bursts), ("films", films)):
        found, made = bench.read(name, make)
        times = Counter(made.shows.values())
        kept, wrong = together(found, made.shows)
        planted = {name for name, thing in made.shows.items() if times[thing] > 1}
        yield name, f"{len(kept)} of {len(planted)} together, {wrong} with another picture"

    for way in SAVED:
        found, _ = bench.read(way.split()[0], partial(shortcuts, way=way))
        told_of = [one.message.partition(":")[0] for one in findings(found.manifest) if one.kind == "shortcut"]
        yield f"a class saved with another {way}", told_of[0] if told_of else "not found"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--keep", type=Path, default=KEEP)
    options = parser.parse_args()
    rows = []
    for folder in (folder.absolute() for folder in options.folders):
        pictures = frozen_set(str(folder), keep=options.keep)
        said = ", ".join(f"{one.kind} {len(one.files)}" for one in findings(pictures.manifest)) or "nothing"
        rows.append(f"| {pictures.name} | as it is | {said} |")
        print(rows[-1], flush=True)
        with tempfile.TemporaryDirectory(prefix="graft-faults-") as place:
            for planted, told in judged(pictures, folder, Path(place)):
                rows.append(f"| {pictures.name} | {planted} | {told} |")
                print(rows[-1], flush=True)
    text = (
        f"Faults that were planted among up to {ORIGINALS} pictures of a set that show different things, and what was found of them. First "
        "the set as it is: how many files each finding names. Changed copies: each picture with "
        f"{COPIES} copies, turned by up to 15 degrees, mirrored, cut to 80 % of its sides or more, with other colours, written as JPEG of quality 25 to 60, "
        "or two of these; their names tell nothing. Their cross-validated accuracy should lie in the interval of the "
        f"originals alone. Bursts: {SCENES} pictures {FRAMES} times in a row, with a hand that shakes. Films: {SCENES} times {FILM} pictures of a window that "
        "wanders over one photo.\n\n| set | planted | found |\n| --- | --- | --- |\n" + "\n".join(rows)
    )
    put(DOCUMENT, "Known faults", text, head=HEAD)


if __name__ == "__main__":
    main()
