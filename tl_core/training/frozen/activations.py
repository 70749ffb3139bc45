"""The output of the frozen stages for every image, computed once and kept as float16, so that a frozen layer does not run twice.

With augmentation the output for a few changed copies of each training image is kept, too. On a CPU the exported backbone's graph
computes it, cut after the last frozen stage; on another device torch does. Needs torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tl_core.data.cache import Cache, Entry, holds_array
from tl_core.data.pace import Pace
from tl_core.documents.events import Event, Notice
from tl_core.documents.spec import TrainSpec
from tl_core.errors import DiskFull, OverBudget
from tl_core.hardware import available_mb
from tl_core.models.build import Backbone
from tl_core.models.graphs.edit import stage_name
from tl_core.training.device import resident_bytes
from tl_core.training.frozen.eager import View, run_eager
from tl_core.training.frozen.features import computed_key
from tl_core.training.frozen.onnx_runtime import EMBEDDING, Pictures, Wanted, cut_graph, run_graph
from tl_core.training.loop.augment import VERSION
from tl_core.training.loop.inputs import Copies

LARGEST_SHARE = 0.5
"""Share of the cache that the activations of one run may take; the rest is for other runs."""
MEMORY_SHARE = 0.7
"""Share of the free memory of the host that they may take: the system keeps files there that are read again."""


@dataclass(frozen=True)
class Activations:
    """Memory-mapped output of frozen stages: (N, K, h, w) for most networks, (N, h, w, K) or tokens (N, T, D) for some."""

    plain: NDArray[np.float16]
    """(N, ...) for every image, unchanged."""
    copies: Copies | None

    @property
    def views(self) -> int:
        """Number of views of each training image, the unchanged one included."""
        return 1 + (len(self.copies.views) if self.copies else 0)


def frozen_activations(
    backbone: Backbone,
    exported: Path | None,
    pixels: NDArray[np.uint8],
    *,
    spec: TrainSpec,
    frozen: int,
    train_rows: NDArray[np.integer],
    passes: int,
    cache: Cache,
    key: str,
) -> Generator[Event, None, Activations | None]:
    """The output of the first `frozen` stages for every row of `pixels` (N, S, S, 3), and for views of the training rows.

    None where the output is not kept, for a reason that a notice gives: it does not fit the cache, or the free memory of the device, or
    the recipe augments and wants a single view. Where `spec.views_kept` has an
    entry for `frozen`, that decides, without a notice: the number of views of each image, the unchanged one included; 0: nothing is
    kept.

    `exported` is the folder that `exported_backbone` gave, by the cache's own path of it, because its name is part of a key; only a CPU
    needs it. `key` names pixels and backbone, as for `features.kept_features`: embeddings that are not in the cache under it are
    computed in the same pass and kept. Views are drawn by the spec's seed and the image's number. `passes` is the number of epochs in which those stages stay frozen; there are at most
    max(2, passes) views. What is kept is computed in float32, as in the exported graph; `spec.precision` is that in which the
    frozen stages would be computed again.

    Raises:
        OverBudget, DiskFull: the cache or the disk has no room for it.
        ModelError: the backbone gives values that are not finite, or its graph lacks the stage.
    """
    run = _Run(backbone, exported, pixels, frozen, spec, cache, key)
    views = spec.views_kept.get(frozen)
    if views is None:
        views = yield from _decided(run, len(train_rows), passes)
    if not views:
        return None
    kept_before = len(pixels) if run.kept() else 0
    pace = Pace("features", len(pixels) + (views - 1) * len(train_rows), before=kept_before)
    plain = yield from run.plain(pace)
    copies = []
    for number in range(1, views):
        pictures = View(pixels, train_rows, spec.recipe.augmentation, number, spec.seed)
        copies.append((yield from run.copy(pictures, pace, len(pixels) + (number - 1) * len(train_rows))))
    return Activations(plain, Copies(train_rows, tuple(copies)) if copies else None)


def _decided(run: _Run, learned_from: int, passes: int) -> Generator[Event, None, int]:
    """How many views of each image fit where they are kept, 0 for none; a notice gives the reason."""
    recipe = run.spec.recipe
    views = 1 if recipe.augmentation == "none" else min(recipe.views, max(2, passes))
    if recipe.augmentation != "none" and views == 1:
        yield Notice(message="With a single view of each picture, the frozen stages are computed again in each epoch.")
        return 0
    room, place = run.room()
    plain, copy = run.bytes_an_image * len(run.pixels), run.bytes_an_image * learned_from
    fitting = min(views, 1 + int((room - plain) // max(1, copy)))
    if plain > room or (views > 1 and fitting == 1):
        yield Notice(
            message=(
                f"The frozen stages' output would take {(plain + copy * (views > 1)) / 1e9:.1f} GB, more than {place} "
                "has room for. It is computed again in each epoch instead, which is slower."
            )
        )
        return 0
    if fitting < views:
        yield Notice(message=f"There is room for {fitting} views of each picture instead of {views}.")
    elif views > 1:
        yield Notice(message=f"Training sees each picture in {views} views, which are drawn once and kept.")
    return fitting


class _Run:
    """The frozen stages of one backbone over the images of one data set."""

    def __init__(
        self,
        backbone: Backbone,
        exported: Path | None,
        pixels: NDArray[np.uint8],
        frozen: int,
        spec: TrainSpec,
        cache: Cache,
        key: str,
    ) -> None:
        self.pixels, self.spec, self.cache = pixels, spec, cache
        self._backbone, self._exported, self._frozen, self._key = backbone, exported, frozen, key
        self._output = EMBEDDING if frozen == len(backbone.stages) else stage_name(frozen - 1)
        self._plain_key = computed_key(key, self._output)

    def kept(self) -> bool:
        """Whether the cache has the output for the unchanged images."""
        present = self.cache.get("activations", self._plain_key)
        return present is not None and holds_array(np.float16, len(self.pixels))(present)

    @cached_property
    def bytes_an_image(self) -> int:
        """Bytes of one image's output as float16."""
        part = self._backbone.to(self.spec.device).eval().prefix(self._frozen)
        with torch.inference_mode():
            image = torch.from_numpy(np.array(self.pixels[:1])).to(self.spec.device)
            return 2 * int(part(self._backbone.normalise(image)).numel())

    def room(self) -> tuple[float, str]:
        """Bytes that the output may take, and the name of the place that has no more: the cache, or the memory that is free on the device.

        A file that is larger than the free memory of a processor would be read from the disk again in every epoch; what does not stay on
        a GPU is computed there about as fast as it is copied there.
        """
        free = None if self.spec.device == "cuda" else available_mb("cpu")
        places = {
            "the cache": self.cache.room() * LARGEST_SHARE,
            "the memory": float("inf") if free is None else free * 1e6 * MEMORY_SHARE,
            "the GPU": resident_bytes(torch.device(self.spec.device)),
        }
        place = min(places, key=lambda name: places[name])
        return places[place], place

    def plain(self, pace: Pace) -> Generator[Event, None, NDArray[np.float16]]:
        """The output for every image, unchanged; embeddings that are not in the cache are computed and kept in the same pass."""
        count = len(self.pixels)
        with ExitStack() as entries:
            entry = entries.enter_context(
                self.cache.entry(
                    "activations",
                    self._plain_key,
                    whole=holds_array(np.float16, count),
                    needed=count * self.bytes_an_image,
                )
            )
            if entry.path is None:
                wanted, filled = [Wanted(self._output, entry.temporary, np.float16)], [entry]
                features = self._features(entries) if self._output != EMBEDDING else None
                if features is not None and features.path is None:
                    wanted.append(Wanted(EMBEDDING, features.temporary, np.float32))
                    filled.append(features)
                yield from self._fill(wanted, self.pixels, pace, 0)
                for each in filled:
                    each.commit()
            return _mapped(entry.path)

    def _features(self, entries: ExitStack) -> Entry | None:
        """The cache's entry of the embeddings, held by `entries`; None where it has no room for them, which this run does not need."""
        count = len(self.pixels)
        with suppress(OverBudget, DiskFull):
            return entries.enter_context(
                self.cache.entry(
                    "features",
                    self._key,
                    whole=holds_array(np.float32, count),
                    needed=count * self._backbone.network.embedding_size * 4,
                )
            )
        return None

    def copy(self, pictures: View, pace: Pace, before: int) -> Generator[Event, None, NDArray[np.float16]]:
        """The output for one view of the training images."""
        rows = hashlib.sha256(np.ascontiguousarray(pictures.rows, dtype=np.int64).tobytes()).hexdigest()
        made = f"view {pictures.number} of seed {pictures.seed}, {VERSION}"
        key = computed_key(self._plain_key, pictures.level, made, rows)
        whole, needed = holds_array(np.float16, len(pictures)), len(pictures) * self.bytes_an_image
        with self.cache.entry("activations", key, whole=whole, needed=needed) as entry:
            if entry.path is None:
                yield from self._fill([Wanted(self._output, entry.temporary, np.float16)], pictures, pace, before)
                entry.commit()
            return _mapped(entry.path)

    def _fill(
        self, wanted: Sequence[Wanted], pictures: Pictures, pace: Pace, before: int
    ) -> Generator[Event, None, None]:
        device = self.spec.device
        if device == "cpu":
            assert self._exported is not None, "on a CPU the exported backbone is needed"
            graph = cut_graph(self._exported, [each.output for each in wanted], self.cache)
            yield from run_graph(graph, wanted, pictures, pace=pace, before=before)
        else:
            yield from run_eager(self._backbone, self._frozen, device, wanted, pictures, pace=pace, before=before)


def _mapped(path: Path | None) -> NDArray[np.float16]:
    assert path is not None
    loaded: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    return loaded
