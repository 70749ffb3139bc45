"""What the frozen stages give for each picture, computed once and kept as float16, so that a frozen layer is not run twice.

With augmentation, also for a few changed copies of each training picture, drawn once. On the CPU all comes from the exported
backbone's graph, cut after the last frozen stage; on another device from torch. Needs torch. Knows no labels and no optimizer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tl_core.data.cache import Cache, holds_array
from tl_core.data.pace import Pace
from tl_core.documents.events import Event, Notice
from tl_core.documents.options import Level, Recipe
from tl_core.documents.spec import Precision
from tl_core.models.build import Backbone
from tl_core.models.graphs.edit import stage_name
from tl_core.training.frozen.eager import View, run_eager
from tl_core.training.frozen.features import computed_key
from tl_core.training.frozen.keeping import Costs, measured_costs
from tl_core.training.frozen.onnx_runtime import EMBEDDING, Pictures, Wanted, cut_graph, open_session, run_graph
from tl_core.training.loop.inputs import Copies
from tl_core.training.regularisation.augment import VERSION

LARGEST_SHARE = 0.5
"""Of the cache that one run's activations may take; the rest is for what else a user does."""


@dataclass(frozen=True)
class Activations:
    """Memory-mapped, of any rank: (N, K, h, w) of most networks, (N, h, w, K) or tokens (N, T, D) of some."""

    plain: NDArray[np.float16]
    """(N, ...) of every picture, unchanged."""
    copies: Copies | None

    @property
    def views(self) -> int:
        """Of each picture that is learned from, the unchanged one among them."""
        return 1 + (len(self.copies.views) if self.copies else 0)


def frozen_activations(
    backbone: Backbone,
    exported: Path,
    pixels: NDArray[np.uint8],
    *,
    frozen: int,
    train_rows: NDArray[np.integer],
    recipe: Recipe,
    passes: int,
    seed: int,
    cache: Cache,
    key: str,
    device: str,
    precision: Precision = "float32",
    views: int | None = None,
) -> Generator[Event, None, Activations | None]:
    """The output of the first `frozen` stages for every row of `pixels` (N, S, S, 3), and for views of the training rows.

    None, with a notice that says so, where it would not fit the cache, where keeping it takes longer than computing it in
    each epoch (`keeping.measured_costs`), or where the recipe augments and wants a single view. `views` decides all that
    beforehand: how many are kept of each picture, the unchanged one among them; 0: none.

    `exported` is the folder that `exported_backbone` gave, by the name that it has in the cache; `key` names pixels and
    backbone, as for `features.extract`: embeddings that are not kept under it yet are kept on the way, so that the frozen
    stages run once for both. Copies are drawn by `seed` and the picture's number. `passes` is in how many epochs those stages
    stay frozen; there are no more views than that, or two. What is kept is computed in float32, as the delivered graph does;
    `precision` is that in which the frozen stages would be run again.

    Raises:
        DiskFull: no space is left.
        ModelError: the backbone gives values that are no numbers, or its graph lacks the stage.
    """
    run = _Run(backbone, exported, pixels, frozen, cache, key, device, precision)
    if views is None:
        views = yield from _decided(run, recipe, len(pixels), len(train_rows), passes, cache)
    if not views:
        return None
    kept_before = len(pixels) if run.kept() else 0
    pace = Pace("features", len(pixels) + (views - 1) * len(train_rows), before=kept_before)
    kept = yield from run.plain(pace)
    copies = []
    for number in range(1, views):
        pictures = View(pixels, train_rows, recipe.augmentation, number, seed)
        copies.append((yield from run.copy(pictures, pace, len(pixels) + (number - 1) * len(train_rows))))
    return Activations(kept, Copies(train_rows, tuple(copies)) if copies else None)


def _decided(
    run: _Run, recipe: Recipe, images: int, learned_from: int, passes: int, cache: Cache
) -> Generator[Event, None, int]:
    """How many views of each picture it pays to keep, 0 for none; says why."""
    views = 1 if recipe.augmentation == "none" else min(recipe.views, max(2, passes))
    if recipe.augmentation != "none" and views == 1:
        yield Notice(message="With a single view of each picture, the frozen stages are computed again in each epoch.")
        return 0
    an_image = run.bytes_an_image
    room, plain, copy = cache.room() * LARGEST_SHARE, an_image * images, an_image * learned_from
    fitting = min(views, 1 + int((room - plain) // max(1, copy)))
    if plain > room or (views > 1 and fitting == 1):
        yield Notice(
            message=(
                f"The frozen stages' output would take {(plain + copy * (views > 1)) / 1e9:.1f} GB, more than the cache "
                "has room for. It is computed again in each epoch instead, which is slower."
            )
        )
        return 0
    copied = (fitting - 1) * learned_from
    costs = run.costs(recipe.augmentation, images + copied)
    fresh, asked = copied + (0 if run.kept() else images), passes * images
    keeping, recomputing = costs.keeping(fresh=fresh, asked=asked), costs.recomputing(asked=asked)
    epochs_said = f"in each of {passes} epochs" if passes > 1 else "once"
    said = f"{_seconds(keeping)} in all, and computing it again {epochs_said} {_seconds(recomputing)}"
    if keeping > recomputing:
        yield Notice(message=f"Keeping what the frozen stages give would take {said}: it is computed again.")
        return 0
    yield Notice(message=f"Keeping what the frozen stages give takes {said}: it is kept.")
    if fitting < views:
        yield Notice(message=f"The cache has room for {fitting} views of each picture instead of {views}.")
    elif views > 1:
        yield Notice(message=f"Training sees each picture in {views} views, which are drawn once and kept.")
    return fitting


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
        precision: Precision,
    ) -> None:
        self._backbone, self._exported, self._pixels, self._frozen = backbone, exported, pixels, frozen
        self._cache, self._key, self._device, self._precision = cache, key, device, precision
        self._output = EMBEDDING if frozen == len(backbone.stages) else stage_name(frozen - 1)
        self._plain_key = computed_key(key, self._output)
        self._session: Any = None

    def kept(self) -> bool:
        """Whether an earlier run left the unchanged pictures' output."""
        present = self._cache.get("activations", self._plain_key)
        return present is not None and holds_array(np.float16, len(self._pixels))(present)

    @cached_property
    def bytes_an_image(self) -> int:
        """As float16."""
        found = int(self._compute(self._pixels[:1]).size) * 2
        self._session = None
        return found

    def costs(self, level: Level, images: int) -> Costs:
        found = measured_costs(
            self._backbone,
            self._pixels,
            self._compute,
            frozen=self._frozen,
            level=level,
            images=images,
            device=self._device,
            precision=self._precision,
            cache=self._cache,
        )
        # What fills the cache opens one of its own.
        self._session = None
        return found

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
                self._cache.entry(
                    "activations",
                    self._plain_key,
                    whole=holds_array(np.float16, count),
                    needed=count * self.bytes_an_image,
                )
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
        made = f"view {pictures.number} of seed {pictures.seed}, {VERSION}"
        key = computed_key(self._plain_key, pictures.level, made, rows)
        whole, needed = holds_array(np.float16, len(pictures)), len(pictures) * self.bytes_an_image
        with self._cache.entry("activations", key, whole=whole, needed=needed) as entry:
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
            run = partial(run_eager, self._backbone, self._frozen, self._device)
        yield from run(wanted, pictures, pace=pace, before=before)


def _seconds(value: float) -> str:
    return "less than a second" if value < 1 else f"about {float(f'{value:.2g}'):g} s"


def _mapped(path: Path | None) -> NDArray[np.float16]:
    assert path is not None
    loaded: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    return loaded
