"""When a classifier breaks: its bundle answers the test pictures again after each corruption, at each strength."""

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tl_core.data.pace import Pace, in_order
from tl_core.data.pixel_arrays import load_pixels
from tl_core.data.split import group_keys
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.manifest import Manifest
from tl_core.documents.report import Accuracy
from tl_core.documents.tasks import Corrupted, Effect, Robustness, RobustnessSpec
from tl_core.evaluation.comparison import LEVEL, holm, p_value
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

    def some(self, places: NDArray[np.intp]) -> Self:
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
    changes = [(corruption, strength) for corruption in corruptions for strength in range(len(corruption.strengths))]
    pace = Pace("evaluation", count * (1 + len(changes)))
    clean = yield from _labels(predictor, asked, None, pace, 0)
    corrupted: dict[str, list[NDArray[np.int64]]] = {corruption.name: [] for corruption in corruptions}
    for done, change in enumerate(changes, start=1):
        labels = yield from _labels(predictor, asked, change, pace, done * count)
        corrupted[change[0].name].append(labels)
    return measured(clean, corrupted, asked.labels, asked.groups, asked.rows, of_images=every)


def measured(
    clean: NDArray[np.integer],
    corrupted: Mapping[str, Sequence[NDArray[np.integer]]],
    truth: NDArray[np.integer],
    groups: NDArray[np.integer],
    rows: NDArray[np.integer],
    *,
    of_images: int,
) -> Robustness:
    """What each corruption costs, in the order of `corrupted`, and which cost the most.

    `clean` (N,) are the classes that the pictures were taken for as they are, `corrupted` those at each strength by the name of the corruption,
    the weakest first. `truth` (N,) are the right ones. Pictures with the same entry of `groups` (N,) count as one unit. `rows` (N,) are
    their rows in the manifest; the pictures are a sample of `of_images`. Each drop is tested by the exact paired test, corrected for the number of
    corruptions. Those that hurt most are the one with the largest drop of those that chance does not explain, and the others of those that
    the test, corrected for their number, cannot tell from it.

    Raises:
        ValueError: shapes that do not fit.
    """
    right = clean == truth
    rights = {name: [labels == truth for labels in strengths] for name, strengths in corrupted.items()}
    corrected = holm([p_value(_nets(each[-1], right, groups)) for each in rights.values()])
    effects = []
    for name, p in zip(corrupted, corrected, strict=True):
        lost = (right & ~each for each in rights[name])
        example = next((int(np.argmax(each)) for each in lost if each.any()), 0)
        effects.append(
            Effect(
                corruption=name,
                strengths=tuple(
                    Corrupted(
                        strength=CORRUPTIONS[name].said(strength),
                        accuracy=float(each.mean()),
                        interval=accuracy_interval(each, groups),
                        drop=float(right.mean() - each.mean()),
                    )
                    for strength, each in enumerate(rights[name])
                ),
                p_value=p,
                example=int(rows[example]),
                said=(int(clean[example]), *(int(labels[example]) for labels in corrupted[name])),
            )
        )
    costly = sorted((effect for effect in effects if effect.costly), key=lambda effect: -effect.strengths[-1].drop)
    names = [effect.corruption for effect in costly]
    alike = holm([p_value(_nets(rights[other][-1], rights[names[0]][-1], groups)) for other in names[1:]])
    return Robustness(
        images=len(truth),
        of_images=of_images,
        clean=Accuracy(images=len(truth), accuracy=float(right.mean()), interval=accuracy_interval(right, groups)),
        effects=tuple(effects),
        hurt_most=(*names[:1], *(other for other, p in zip(names[1:], alike, strict=True) if p >= LEVEL)),
    )


def _nets(right: NDArray[np.bool_], before: NDArray[np.bool_], groups: NDArray[np.integer]) -> NDArray[np.integer]:
    """How many pictures of each group are `right` (N,) more than `before` (N,)."""
    at = np.unique(groups, return_inverse=True)[1]
    return np.bincount(at, right.astype(float) - before).astype(np.int64)


def _labels(
    predictor: Predictor, asked: Pictures, change: tuple[Corruption, int] | None, pace: Pace, done: int
) -> Generator[Event, None, NDArray[np.int64]]:
    """What the pictures of `asked` are taken for after `change`, (M,); `done` answers of `pace` were given before."""
    labels = []
    for start in range(0, len(asked.rows), _PART):
        rows = asked.rows[start : start + _PART]
        pixels = asked.pixels[rows]
        if change is not None:
            pixels = np.stack(list(in_order(partial(_changed, asked, rows, *change), len(rows))))
        labels.append(predictor.logits(pixels).argmax(axis=1))
        yield from pace.at(done + start + len(rows))
    return np.concatenate(labels)


def _changed(
    asked: Pictures, rows: NDArray[np.intp], corruption: Corruption, strength: int, place: int
) -> NDArray[np.uint8]:
    seed = seed_of(asked.manifest.images[rows[place]].sha256)
    return corruption.apply(asked.pixels[rows[place]], strength, seed)
