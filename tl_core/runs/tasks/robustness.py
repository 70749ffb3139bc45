"""When a classifier breaks: its bundle answers the test pictures again after each corruption, at each strength."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl_core.data.pace import Pace
from tl_core.data.parallel import in_order
from tl_core.data.pixel_arrays import load_pixels
from tl_core.data.split import group_keys
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.manifest import Manifest
from tl_core.documents.report import Accuracy
from tl_core.documents.tasks import Robustness, RobustnessSpec
from tl_core.evaluation.corruption_effects import effects, hurt_most
from tl_core.evaluation.corruptions import CORRUPTIONS, Corruption, seed_of
from tl_core.evaluation.intervals import accuracy_interval
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.store.store import Store
from tl_core.runs.tasks.subject import dataset_of, run_of
from tl_core.serving.predictor import Predictor
from tl_core.training.transferability import stratified

MOST = 500
"""The most pictures that are asked about. Each is answered 25 times, and with 500 the interval of a share has 9 percentage points at most."""
_PART = 64
"""Pictures that are changed and answered at once: 10 MB at 224 pixels."""


class Pictures(NamedTuple):
    """Labelled pictures that a bundle is asked about."""

    pixels: NDArray[np.uint8]
    """(N, S, S, 3), of all pictures of the manifest."""
    manifest: Manifest
    rows: NDArray[np.intp]
    """(M,), the pictures that count."""
    labels: NDArray[np.int64]
    """(M,), their classes in the order of the bundle's."""
    groups: NDArray[np.integer]
    """(M,), pictures with the same entry count as one draw."""

    def some(self, places: NDArray[np.intp]) -> Pictures:
        return self._replace(rows=self.rows[places], labels=self.labels[places], groups=self.groups[places])


def answer(task: TaskFolder) -> Generator[Event, None, Robustness]:
    """How the bundle of a run answers its test pictures, those of its report, once they are changed.

    Raises:
        NotFound: the run or its data set was deleted.
        DataError: a picture of the data set is missing or damaged.
        BundleError: the bundle is damaged.
    """
    spec = task.spec_as(RobustnessSpec)
    run, dataset = run_of(spec), dataset_of(spec)
    predictor, manifest, answers = Predictor(run.bundle), dataset.manifest(), run.report().answers
    size, interpolation = predictor.info.image_size, predictor.info.interpolation
    pixels = yield from load_pixels(
        dataset.path, manifest, size=size, interpolation=interpolation, cache=Store.default().cache
    )
    rows = np.array([answer.row for answer in answers], dtype=np.intp)
    labels = np.array([answer.truth for answer in answers], dtype=np.int64)
    pictures = Pictures(pixels, manifest, rows, labels, group_keys(manifest)[rows])
    return (yield from robustness(predictor, pictures, [CORRUPTIONS.named(name) for name in spec.corruptions]))


def robustness(
    predictor: Predictor, pictures: Pictures, corruptions: Sequence[Corruption]
) -> Generator[Event, None, Robustness]:
    """How the bundle answers `pictures`, at most `MOST` of them, of every class its share, after each of `corruptions` at each strength.

    What is left to chance in a corruption depends on the content of the picture alone.

    Raises:
        BundleError: the graph does not do what it says.
    """
    asked = pictures.some(stratified(pictures.labels, MOST, 0))
    count, every = len(asked.rows), len(pictures.rows)
    if count < every:
        yield Notice(message=f"{count:,} of the {every:,} pictures are asked about, of every class its share.")
    yield StageStarted(stage="evaluation", title=f"Changing {count:,} pictures and asking again")
    pace = Pace("evaluation", count * (1 + sum(len(corruption.strengths) for corruption in corruptions)))
    clean, done = (yield from _classes(predictor, asked, None, pace, 0)), count
    corrupted: dict[str, list[NDArray[np.int64]]] = {}
    for corruption in corruptions:
        corrupted[corruption.name] = []
        for strength in range(len(corruption.strengths)):
            change = partial(corruption.apply, strength=strength)
            corrupted[corruption.name].append((yield from _classes(predictor, asked, change, pace, done)))
            done += count
    right, found = clean == asked.labels, effects(clean, corrupted, asked.labels, asked.groups, asked.rows)
    return Robustness(
        images=count,
        of_images=every,
        clean=Accuracy(images=count, accuracy=float(right.mean()), interval=accuracy_interval(right, asked.groups)),
        effects=found,
        hurt_most=hurt_most(found, corrupted, asked.labels, asked.groups),
    )


def _classes(
    predictor: Predictor, asked: Pictures, change: Callable[..., NDArray[np.uint8]] | None, pace: Pace, done: int
) -> Generator[Event, None, NDArray[np.int64]]:
    """What the pictures of `asked` are taken for after `change`, (M,); `done` answers of `pace` were given before."""
    said = []
    for start in range(0, len(asked.rows), _PART):
        rows = asked.rows[start : start + _PART]
        pixels = asked.pixels[rows]
        if change is not None:
            seeds = [seed_of(asked.manifest.images[row].sha256) for row in rows.tolist()]
            pixels = np.stack(list(in_order(partial(_changed, change, pixels, seeds), len(rows))))
        said.append(predictor.logits(pixels).argmax(axis=1))
        yield from pace.at(done + start + len(rows))
    return np.concatenate(said)


def _changed(
    change: Callable[..., NDArray[np.uint8]], pixels: NDArray[np.uint8], seeds: Sequence[int], place: int
) -> NDArray[np.uint8]:
    return change(pixels[place], seed=seeds[place])
