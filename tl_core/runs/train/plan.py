"""What every stage of one training run reads: the spec, the rows of the tables, the labels and splits of the pictures."""

from collections.abc import Generator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tl_core.data.cache import Cache
from tl_core.data.split import as_recorded, assign, group_keys, recorded, without_headline
from tl_core.documents.events import Event
from tl_core.documents.manifest import Manifest, Split, SplitRecord
from tl_core.documents.spec import TrainSpec
from tl_core.errors import NotFound
from tl_core.models.registry import Network, WeightsRow
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store
from tl_core.training.frozen.features import features_before, features_key, frozen_features
from tl_core.training.strategies.setup import Setup
from tl_core.training.strategies.strategies import Strategy


class Plan:
    """One training run: its spec and everything that is looked up by it. Nothing here takes time to compute."""

    def __init__(self, run: RunFolder) -> None:
        store = Store.default()
        self.run = run
        self.setup = Setup.of(run.spec())
        self.cache: Cache = store.cache
        self.dataset: DatasetFolder = store.workspace(self.spec.workspace).dataset(self.spec.dataset, self.spec.version)

    def take(self, setup: Setup) -> None:
        """Go on with `setup`, in which something was found out; the run's own spec is written again."""
        self.run.write_spec(setup.spec)
        self.setup = setup

    def note(self, **values: object) -> None:
        """Go on with `values` in the spec; the network and the strategy are no such values."""
        self.take(self.setup.changed(**values))

    @property
    def spec(self) -> TrainSpec:
        return self.setup.spec

    @property
    def network(self) -> Network:
        return self.setup.network

    @property
    def strategy(self) -> Strategy:
        """Raises UnknownName where `auto` was not resolved yet."""
        return self.setup.strategy

    @property
    def weights(self) -> WeightsRow:
        return self.setup.weights

    @cached_property
    def manifest(self) -> Manifest:
        return self.dataset.manifest()

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        return np.array([image.label for image in self.manifest.images], dtype=np.int64)

    @cached_property
    def splits(self) -> NDArray[np.str_]:
        """The split of each row: the one that the run began with, where it was kept."""
        try:
            kept = SplitRecord.read(self.run.split_file)
        except NotFound:
            return assign(self.manifest, self.spec.seed)
        return as_recorded(self.manifest, kept, self.spec.seed)

    def keep_split(self) -> None:
        """Keep the split with the run, so that it is the same where the run is finished by a later version. Raises DiskFull."""
        recorded(self.manifest, self.splits).write(self.run.split_file)

    @cached_property
    def groups(self) -> NDArray[np.intp]:
        """The group of each row, which no split or fold divides."""
        return group_keys(self.manifest)

    @cached_property
    def one_moment(self) -> tuple[str, ...]:
        """The classes for which no accuracy of this run is to be believed, see `without_headline`."""
        return without_headline(self.manifest)

    def rows(self, *splits: Split) -> NDArray[np.intp]:
        """The rows of the pictures in any of `splits`, in order."""
        return np.flatnonzero(np.isin(self.splits, splits))

    @property
    def classes(self) -> tuple[str, ...]:
        return self.manifest.classes

    def key(self) -> str:
        """The cache key of what is computed from these pictures with this backbone."""
        return features_key(self.manifest, self.network, self.weights.name, self.spec.image_size)

    def features(self, pixels: NDArray[np.uint8]) -> Generator[Event, None, NDArray[np.float32]]:
        """Embeddings (N, D) of `pixels` (N, S, S, 3) by the frozen backbone, from the cache where it has them. Raises as `frozen_features`."""
        weights, size = self.weights.name, self.spec.image_size
        before = features_before(self.manifest, self.network, weights, size)
        device, cache, key = self.spec.device, self.cache, self.key()
        return (
            yield from frozen_features(
                pixels, self.network, weights, device=device, cache=cache, key=key, before=before
            )
        )
