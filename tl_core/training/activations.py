"""What the frozen stages give for each picture, computed once and kept as float16, so that a frozen layer is not run twice.

With augmentation, also for a few changed copies of each training picture, drawn once. On the CPU all comes from the exported
backbone's graph, cut after the last frozen stage; on another device from torch. Also the embeddings of a whole backbone on
such a device. Needs torch. Knows no labels and no optimizer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tl_core.data.cache import Cache, holds_array
from tl_core.data.pace import Pace
from tl_core.documents.events import Event, Notice
from tl_core.documents.recipe import Level, Recipe
from tl_core.models.build import Backbone
from tl_core.models.export import stage_name
from tl_core.training.augment import view
from tl_core.training.features import (
    Pictures,
    Wanted,
    computed_key,
    cut_graph,
    new_rows,
    open_session,
    run_graph,
    write_rows,
)
from tl_core.training.inputs import Copies
from tl_core.training.keeping import Costs, measured_costs

GPU_BATCH = 128
LARGEST_SHARE = 0.5
"""Of the cache that one run's activations may take; the rest is for what else a user does."""


@dataclass(frozen=True)
class Activations:
    """Memory-mapped, of any rank: (N, K, h, w) of most networks, (N, h, w, K) or tokens (N, T, D) of some."""

    plain: NDArray[np.float16]
    """(N, ...) of every picture, unchanged."""
    copies: Copies | None


@dataclass(frozen=True)
class View:
    """Pictures `rows` of `pixels`, changed as copy `number` is; made as they are needed."""

    pixels: NDArray[np.uint8]
    rows: NDArray[np.integer]
    level: Level
    number: int
    seed: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice, /) -> NDArray[np.uint8]:
        return self.on("cpu", part).numpy()

    def on(self, device: str, part: slice) -> torch.Tensor:
        rows = self.rows[part]
        pictures = torch.from_numpy(np.ascontiguousarray(self.pixels[rows])).to(device)
        changed = view(pictures, self.level, number=self.number, seed=self.seed, rows=rows.tolist())
        return changed.round().to(torch.uint8)


def frozen_activations(
    backbone: Backbone,
    exported: Path,
    pixels: NDArray[np.uint8],
    *,
    frozen: int,
    train_rows: NDArray[np.integer],
    recipe: Recipe,
    epochs: int,
    passes: int,
    seed: int,
    cache: Cache,
    key: str,
    device: str,
) -> Generator[Event, None, Activations | None]:
    """The output of the first `frozen` stages for every row of `pixels` (N, S, S, 3), and for views of the training rows.

    None, with a notice that says so, where it would not fit the cache, where keeping it takes longer than computing it in
    each epoch (`keeping.measured_costs`), or where the recipe augments and wants a single view.

    `exported` is the folder that `exported_backbone` gave, by the name that it has in the cache; `key` names pixels and
    backbone, as for `features.extract`: embeddings that are not kept under it yet are kept on the way, so that the frozen
    stages run once for both. Copies are drawn by `seed` and the picture's number; there are no more than `epochs`, or two. `passes` is in
    how many of the epochs those stages stay frozen.

    Raises:
        DiskFull: no space is left.
        ModelError: the backbone gives values that are no numbers, or its graph lacks the stage.
    """
    run = _Run(backbone, exported, pixels, frozen, cache, key, device)
    views = 1 if recipe.augmentation == "none" else min(recipe.views, max(2, epochs))
    if recipe.augmentation != "none" and views == 1:
        yield Notice(message="With a single view of each picture, the frozen stages are computed again in each epoch.")
        return None
    an_image = run.bytes_an_image()
    room, plain, copy = cache.room() * LARGEST_SHARE, an_image * len(pixels), an_image * len(train_rows)
    fitting = min(views, 1 + int((room - plain) // max(1, copy)))
    if plain > room or (views > 1 and fitting == 1):
        yield Notice(
            message=(
                f"The frozen stages' output would take {(plain + copy * (views > 1)) / 1e9:.1f} GB, more than the cache "
                "has room for. It is computed again in each epoch instead, which is slower."
            )
        )
        return None
    copied = (fitting - 1) * len(train_rows)
    costs = run.costs(recipe.augmentation, len(pixels) + copied)
    fresh, asked = copied + (0 if run.kept() else len(pixels)), passes * len(pixels)
    keeping, recomputing = costs.keeping(fresh=fresh, asked=asked), costs.recomputing(asked=asked)
    epochs_said = f"in each of {passes} epochs" if passes > 1 else "once"
    said = f"{_seconds(keeping)} in all, and computing it again {epochs_said} {_seconds(recomputing)}"
    if keeping > recomputing:
        yield Notice(message=f"Keeping what the frozen stages give would take {said}: it is computed again.")
        return None
    yield Notice(message=f"Keeping what the frozen stages give takes {said}: it is kept.")
    if fitting < views:
        yield Notice(message=f"The cache has room for {fitting} views of each picture instead of {views}.")
    elif views > 1:
        yield Notice(message=f"Training sees each picture in {views} views, which are drawn once and kept.")
    pace = Pace("features", len(pixels) + copied)
    kept = yield from run.plain(pace)
    copies = []
    for number in range(1, fitting):
        pictures = View(pixels, train_rows, recipe.augmentation, number, seed)
        copies.append((yield from run.copy(pictures, pace, len(pixels) + (number - 1) * len(train_rows))))
    return Activations(kept, Copies(train_rows, tuple(copies)) if copies else None)


def embed_on_device(
    backbone: Backbone, pixels: NDArray[np.uint8], *, cache: Cache, key: str, device: str
) -> Generator[Event, None, NDArray[np.float32]]:
    """Embeddings (N, D) of `pixels` by torch on `device`, as `features.extract` gives them on a CPU; same key, same place.

    In float32 without TF32: they stand for the exported graph's answers, which bfloat16 would miss by more than 1e-3.

    Raises:
        DiskFull: no space is left.
        ModelError: the backbone gives values that are no numbers.
    """
    with cache.entry("features", key, whole=holds_array(np.float32, len(pixels))) as entry:
        path = entry.path
        if path is None:
            wanted = [Wanted(EMBEDDING, entry.temporary, np.float32)]
            yield from _run_torch(backbone, 0, device, wanted, pixels)
            path = entry.commit()
        features: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return features


EMBEDDING = "embedding"


class _Run:
    """The frozen stages of one backbone over one data set."""

    def __init__(
        self,
        backbone: Backbone,
        exported: Path,
        pixels: NDArray[np.uint8],
        frozen: int,
        cache: Cache,
        key: str,
        device: str,
    ) -> None:
        self._backbone, self._exported, self._pixels, self._frozen = backbone, exported, pixels, frozen
        self._cache, self._key, self._device = cache, key, device
        self._output = EMBEDDING if frozen == len(backbone.stages) else stage_name(frozen - 1)
        self._plain_key = computed_key(key, self._output)
        self._session: Any = None

    def kept(self) -> bool:
        """Whether an earlier run left the unchanged pictures' output."""
        present = self._cache.get("activations", self._plain_key)
        return present is not None and holds_array(np.float16, len(self._pixels))(present)

    def bytes_an_image(self) -> int:
        """As float16."""
        return int(self._compute(self._pixels[:1]).size) * 2

    def costs(self, level: Level, images: int) -> Costs:
        return measured_costs(
            self._backbone,
            self._pixels,
            self._compute,
            frozen=self._frozen,
            level=level,
            images=images,
            device=self._device,
            cache=self._cache,
        )

    def _compute(self, pictures: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """The output for a few pictures."""
        if self._device == "cpu":
            if self._session is None:
                self._session = open_session(cut_graph(self._exported, [self._output], self._cache))
            found: NDArray[np.floating[Any]] = self._session.run(
                [self._output], {"images": np.ascontiguousarray(pictures)}
            )[0]
            return found
        part = self._backbone.to(self._device).eval().prefix(self._frozen)
        with torch.inference_mode():
            return np.asarray(
                part(self._backbone.normalise(torch.from_numpy(np.array(pictures)).to(self._device))).cpu().numpy()
            )

    def plain(self, pace: Pace) -> Generator[Event, None, NDArray[np.float16]]:
        """Of every picture, unchanged; where they were missing, with the embeddings that were missing, too."""
        count = len(self._pixels)
        with ExitStack() as entries:
            entry = entries.enter_context(
                self._cache.entry("activations", self._plain_key, whole=holds_array(np.float16, count))
            )
            if entry.path is None:
                wanted, filled = [Wanted(self._output, entry.temporary, np.float16)], [entry]
                if self._output != EMBEDDING:
                    features = entries.enter_context(
                        self._cache.entry("features", self._key, whole=holds_array(np.float32, count))
                    )
                    if features.path is None:
                        wanted.append(Wanted(EMBEDDING, features.temporary, np.float32))
                        filled.append(features)
                yield from self._fill(wanted, self._pixels, pace, 0)
                for one in filled:
                    one.commit()
            return _mapped(entry.path)

    def copy(self, pictures: View, pace: Pace, before: int) -> Generator[Event, None, NDArray[np.float16]]:
        """Of one view of the training rows."""
        rows = hashlib.sha256(np.ascontiguousarray(pictures.rows, dtype=np.int64).tobytes()).hexdigest()
        key = computed_key(self._plain_key, pictures.level, f"view {pictures.number} of seed {pictures.seed}", rows)
        with self._cache.entry("activations", key, whole=holds_array(np.float16, len(pictures))) as entry:
            if entry.path is None:
                yield from self._fill([Wanted(self._output, entry.temporary, np.float16)], pictures, pace, before)
                entry.commit()
            return _mapped(entry.path)

    def _fill(
        self, wanted: Sequence[Wanted], pictures: Pictures, pace: Pace, before: int
    ) -> Generator[Event, None, None]:
        run: Callable[..., Generator[Event, None, None]]
        if self._device == "cpu":
            run = partial(run_graph, cut_graph(self._exported, [one.output for one in wanted], self._cache))
        else:
            run = partial(_run_torch, self._backbone, self._frozen, self._device)
        yield from run(wanted, pictures, pace=pace, before=before)


def _seconds(value: float) -> str:
    return "less than a second" if value < 1 else f"about {float(f'{value:.2g}'):g} s"


def _mapped(path: Path | None) -> NDArray[np.float16]:
    assert path is not None
    loaded: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    return loaded


def _run_torch(
    backbone: Backbone,
    frozen: int,
    device: str,
    wanted: Sequence[Wanted],
    pictures: Pictures,
    *,
    pace: Pace | None = None,
    before: int = 0,
) -> Generator[Event, None, None]:
    """As `run_graph`: the embedding, and what the first `frozen` stages give otherwise; in smaller batches if memory runs out."""
    backbone.to(device).eval()
    first, rest = backbone.prefix(frozen), [stage for _, stage in backbone.stages[frozen:]]
    count = len(pictures)
    pace = pace or Pace("features", count)
    arrays: list[np.memmap[Any, Any]] = []

    def outputs(part: slice) -> list[NDArray[np.floating[Any]]]:
        if isinstance(pictures, View):
            batch = pictures.on(device, part)
        else:
            batch = torch.from_numpy(np.array(pictures[part])).to(device)
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            x = first(backbone.normalise(batch))
            found = {one.output: x for one in wanted}
            if EMBEDDING in found and frozen < len(backbone.stages):
                for stage in rest:
                    x = stage(x)
                found[EMBEDDING] = backbone.pool(x)
            return [found[one.output].float().cpu().numpy() for one in wanted]

    start, size = 0, GPU_BATCH
    while start < count:
        try:
            values = outputs(slice(start, start + size))
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            continue
        if not arrays:
            arrays = [
                new_rows(one.into, (count, *v.shape[1:]), one.dtype) for one, v in zip(wanted, values, strict=True)
            ]
        for rows, some in zip(arrays, values, strict=True):
            write_rows(rows, start, some)
        start = min(start + size, count)
        event = pace.at(before + start)
        if event is not None:
            yield event
    for rows in arrays:
        rows.flush()
