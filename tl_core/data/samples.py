"""The table of built-in data sets: each is held by an installed package or can be downloaded, and is written as class folders, as a
user would bring them.
"""

import csv
import importlib.resources
import importlib.util
import re
import shutil
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image
from pydantic import Field, TypeAdapter, computed_field

from tl_core import settings
from tl_core.data.download import MEGABYTE, Wanted, download
from tl_core.data.pace import Pace
from tl_core.disk import appearing, unlimited
from tl_core.documents.base import Record
from tl_core.documents.events import Event, StageStarted
from tl_core.errors import DataError
from tl_core.table import Table

SUBSET = 600
"""About how many images a downloaded sample is cut down to."""
FEWEST_A_CLASS = 6
SHOWN = "tableware"
"""The sample of the guided tour where no photographs are kept: it needs no network, is read in seconds, and everybody sees at once whether
an answer is right."""


class Remote(Record):
    """A file of a sample, as the library that publishes it states it."""

    url: str
    md5: str
    megabytes: int
    """Size of the file, in whole megabytes."""


class Sample(Record):
    """One row of the table of samples. `samples --json` writes the fields up to `note`, then `here` and `how`."""

    name: str
    title: str
    classes: int
    images: int = SUBSET
    licence: str
    note: str
    """One sentence: what it shows, and results published on it."""
    package: str | None = Field(None, exclude=True)
    """Import name of the package that holds the images."""
    distribution: str | None = Field(None, exclude=True)
    """Name under which pip installs that package."""
    archive: Remote | None = Field(None, exclude=True)
    labels: Remote | None = Field(None, exclude=True)
    """A MATLAB file: `labels[number - 1]` is the class of picture `number`."""
    member: str = Field("", exclude=True)
    """Regular expression for a picture's path in the archive; its group `label` is the class or, with `labels`, the picture's number."""
    class_names: dict[str, str] = Field(default_factory=dict, exclude=True)
    """Display names of classes for which the archive uses codes."""
    photos: bool = Field(False, exclude=True)
    """Whether it holds everyday photographs, of things that everybody can name."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def here(self) -> bool:
        """Whether it needs no network."""
        if self.package is not None:
            return importlib.util.find_spec(self.package) is not None
        return kept(self.name).is_dir()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def how(self) -> str:
        """How to get it: "here now", "downloads 94 MB", "pip install elpv-dataset"."""
        if self.here:
            return "here now"
        return f"downloads {self.archive.megabytes} MB" if self.archive else f"pip install {self.distribution}"


_DOWNLOADS = importlib.resources.files("tl_core.data").joinpath("downloads.json").read_text("utf-8")
SAMPLES = Table(
    "sample",
    [
        Sample(
            name="tableware",
            title="Tableware (rendered)",
            classes=6,
            images=300,
            licence="CC0 1.0 (public domain)",
            note="Still lifes that were rendered for Graft: mugs, bowls, bottles, wine glasses, jugs and vases, 50 each, no two alike.",
            package="tl_core",
            distribution="graft",
        ),
        Sample(
            name="solar_cells",
            title="Solar cells: sound or defective",
            classes=2,
            images=2624,
            licence="CC BY-NC-SA 4.0 (not for commercial use)",
            note="Electroluminescence photos of 300 x 300 pixels. Published on it: a CNN 88.4 %, an SVM 82.4 % (Deitsch et al. 2019).",
            package="elpv_dataset",
            distribution="elpv-dataset",
        ),
        Sample(
            name="digits",
            title="Handwritten digits",
            classes=10,
            images=1797,
            licence="CC BY 4.0 (UCI Optical Recognition of Handwritten Digits)",
            note="The 8 x 8 digits that ship with scikit-learn.",
            package="sklearn",
            distribution="scikit-learn",
        ),
        *TypeAdapter(list[Sample]).validate_json(_DOWNLOADS),
    ],
)
"""Every sample by its name, in the order of preference."""


def listing() -> list[Sample]:
    """Every sample, those that are here first."""
    return sorted(SAMPLES.values(), key=lambda row: not row.here)


def best_here() -> str:
    """Name of the sample to offer first: the first of the table that needs no network."""
    return next(row.name for row in SAMPLES.values() if row.here)


def smallest_photos(rows: Table[Sample] = SAMPLES) -> Sample:
    """The sample of photographs whose download is the smallest."""
    sizes = {row.name: row.archive.megabytes for row in rows.values() if row.photos and row.archive}
    return rows[min(sizes, key=sizes.__getitem__)]


def to_show() -> Sample:
    """The sample of the guided tour: the smallest one of photographs that is kept here, else `SHOWN`."""
    photos = [row for row in SAMPLES.values() if row.photos and row.archive and kept(row.name).is_dir()]
    return min(photos, key=lambda row: row.archive.megabytes if row.archive else 0, default=SAMPLES[SHOWN])


def kept(name: str) -> Path:
    """The folder in the store for the chosen pictures of a sample that was downloaded once for everybody; it need not exist."""
    return settings.store_folder() / "samples" / name


def keep_sample(
    name: str, *, rows: Table[Sample] = SAMPLES, room: Callable[[int], None] = unlimited
) -> Generator[Event, None, Path]:
    """Download the sample into `kept` where it is not there yet, so that no network is needed for it any more; returns that folder.

    Raises:
        As `write_sample`.
    """
    place = kept(name)
    if not place.is_dir():
        with appearing(place, f"the sample {name}") as part:
            yield from write_sample(name, part, rows=rows, room=room)
    return place


def write_sample(
    name: str, into: Path, *, rows: Table[Sample] = SAMPLES, room: Callable[[int], None] = unlimited
) -> Generator[Event, None, Sample]:
    """Write the sample as class folders into the new folder `into`; returns its row.

    `room` is asked before a download, with its size in bytes, and raises a GraftError where there is no room for it.

    Raises:
        UnknownName: no such sample.
        DataError: the package that holds it is not installed, or the archive has another layout than it had.
        DownloadFailed: it could not be fetched.
        OSError: it cannot be written (ENOSPC: the disk is full).
    """
    row = rows.named(name)
    if kept(name).is_dir():
        yield StageStarted(stage="reading", title=f"Copying {row.title}")
        shutil.copytree(kept(name), into)
        return row
    into.mkdir(parents=True)
    if row.archive is not None:
        room(row.archive.megabytes * MEGABYTE)
        yield from _download(row, row.archive, into)
    elif not row.here:
        raise DataError(f"The sample {name} needs the package {row.distribution}: pip install {row.distribution}")
    else:
        yield StageStarted(stage="reading", title=f"Unpacking {row.title}")
        _EMBEDDED[name](into)
    return row


def _write_tableware(into: Path) -> None:
    with importlib.resources.as_file(importlib.resources.files("tl_core.data") / "tableware") as folder:
        for kind in sorted(path for path in folder.iterdir() if path.is_dir()):
            shutil.copytree(kind, into / kind.name.replace("_", " "))


def _write_digits(into: Path) -> None:
    """Write the digits at 8 x 8 pixels, so that they are enlarged only once, to the network's input: accuracy 0.918 on 900 of them
    (Lite0, logistic head), against 0.859 where they were first enlarged in blocks and 0.913 where first enlarged smoothly.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    for label in range(10):
        (into / str(label)).mkdir()
    for number, (values, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        image = Image.fromarray((values * (255.0 / 16.0)).round().astype(np.uint8))
        image.save(into / str(label) / f"{number:04}.png", compress_level=1)


def _write_solar_cells(into: Path) -> None:
    import elpv_dataset

    # The package's own loader reads all pictures into memory at once (470 MB), so its files are copied instead.
    folder = Path(elpv_dataset.__file__).parent / "data"
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        for place, probability, *_ in csv.reader(file, delimiter=" ", skipinitialspace=True):
            target = into / ("functional" if float(probability) == 0 else "defective") / Path(place).name
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(folder / place, target)


_EMBEDDED: dict[str, Callable[[Path], None]] = {
    "tableware": _write_tableware,
    "digits": _write_digits,
    "solar_cells": _write_solar_cells,
}


def _download(row: Sample, archive: Remote, into: Path) -> Generator[Event, None, None]:
    packed = into.with_name(f"{into.name}.download")
    labels = into.with_name(f"{into.name}.labels")
    try:
        yield StageStarted(stage="reading", title=f"Downloading {row.title} ({archive.megabytes} MB)")
        yield from _fetch(archive, packed, row.title)
        class_of: Callable[[str], str] = str
        if row.labels is not None:
            yield from _fetch(row.labels, labels, f"the classes of {row.title}")
            class_of = _numbered(labels)
        yield StageStarted(stage="reading", title=f"Choosing about {row.images} pictures of {row.title}")
        yield from _choose(row, packed, class_of, into)
    finally:
        packed.unlink(missing_ok=True)
        labels.unlink(missing_ok=True)


def _fetch(remote: Remote, path: Path, what: str) -> Generator[Event, None, None]:
    yield from download(
        Wanted(
            url=remote.url,
            what=what,
            md5=remote.md5,
            size=remote.megabytes * MEGABYTE,
            stage="reading",
            otherwise=lambda: "The samples that are listed as here now need no network.",
        ),
        path,
    )


def _numbered(path: Path) -> Callable[[str], str]:
    from scipy.io import loadmat

    labels = loadmat(path, squeeze_me=True)["labels"]
    return lambda number: str(labels[int(number) - 1])


def _choose(row: Sample, packed: Path, class_of: Callable[[str], str], into: Path) -> Generator[Event, None, None]:
    """Write the same number of pictures of each class, drawn with a fixed seed."""
    with _members(packed) as (names, read):
        of_class: dict[str, list[str]] = defaultdict(list)
        for name in sorted(names):
            match = re.fullmatch(row.member, name)
            if match:
                of_class[class_of(match["label"])].append(name)
        if not of_class:
            raise DataError(f"{row.title} is not packed as it used to be, so this sample cannot be used.")
        each = max(FEWEST_A_CLASS, round(row.images / len(of_class)))
        generator = np.random.default_rng(0)
        chosen = {
            name: label
            for label, members in sorted(of_class.items())
            for name in generator.choice(members, min(each, len(members)), replace=False).tolist()
        }
        pace = Pace("reading", len(chosen))
        # In the archive's own order: a packed tar can only be read forwards.
        for number, name in enumerate((name for name in names if name in chosen), start=1):
            label = chosen[name]
            folder = into / row.class_names.get(label, label.replace("_", " "))
            folder.mkdir(exist_ok=True)
            with read(name) as source, (folder / f"{number:05}{Path(name).suffix.lower()}").open("wb") as target:
                shutil.copyfileobj(source, target)
            yield from pace.at(number)


@contextmanager
def _members(packed: Path) -> Iterator[tuple[list[str], Callable[[str], IO[bytes]]]]:
    """The names of the files in a zip or tar, in its order, and a function that opens one."""
    if zipfile.is_zipfile(packed):
        with zipfile.ZipFile(packed) as archive:
            yield [entry.filename for entry in archive.infolist() if not entry.is_dir()], archive.open
        return
    with tarfile.open(packed) as tar:
        members = {member.name.removeprefix("./"): member for member in tar if member.isfile()}

        def read(name: str) -> IO[bytes]:
            opened = tar.extractfile(members[name])
            if opened is None:
                raise DataError(f"{name} cannot be read from the downloaded archive.")
            return opened

        yield list(members), read
