"""How the pictures of a data set lie to each other: a map of their frozen features, which are cached under the keys of training."""

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tl_core.data.split import group_keys
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.report import Lookalikes
from tl_core.documents.tasks import PictureMap, PictureMapSpec
from tl_core.errors import NotEnoughImages
from tl_core.evaluation.similar import lookalikes
from tl_core.runs.grouping import seen
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.tasks.subject import dataset_of

FEWEST = 4
"""The fewest pictures of a map."""
COMPONENTS = 50
"""Principal components that t-SNE is given, as its authors advise: the rest is mostly noise, and distances take less time."""
_PERPLEXITY = 30.0
_ITERATIONS = 500
"""Half of scikit-learn's: the map of 2,722 pictures changes little afterwards."""
MOST = 5_000
"""The most pictures of a map; of more, a sample is drawn. More dots hide each other, and their places take minutes."""


def answer(task: TaskFolder) -> Generator[Event, None, PictureMap]:
    """Arrange the images of the data set, or a sample of them, by their frozen features, and find the most similar ones of each.

    Raises:
        NotEnoughImages: there are too few images for a map.
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        OverBudget, DiskFull: the cache or the disk has no room.
    """
    spec = task.spec_as(PictureMapSpec)
    dataset = dataset_of(spec)
    manifest = dataset.manifest()
    if len(manifest.images) < FEWEST:
        raise NotEnoughImages(
            f"A map needs {FEWEST} pictures at least, and there are {len(manifest.images)}. Add some."
        )
    every = (yield from seen(dataset.path, manifest, spec.backbone)).features
    rows = np.sort(np.random.default_rng(0).permutation(len(manifest.images))[:MOST])
    features = np.asarray(every[rows])
    labels = np.array([image.label for image in manifest.images], dtype=np.int64)[rows]
    yield StageStarted(stage="groups", title=f"Arranging {len(rows):,} pictures")
    other, near = lookalikes(features, labels, group_keys(manifest)[rows])
    places = np.round(arranged(features).astype(np.float64), 3)
    return PictureMap(
        rows=tuple(rows.tolist()),
        x=tuple(places[:, 0].tolist()),
        y=tuple(places[:, 1].tolist()),
        other=tuple(other.tolist()),
        lookalikes=tuple(
            Lookalikes(
                of_label=tuple(rows[list(each.of_label)].tolist()),
                of_suggested=tuple(rows[list(each.of_suggested)].tolist()),
            )
            for each in near
        ),
    )


def arranged(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """A place (N, 2) for each of `features` (N, D): t-SNE (van der Maaten and Hinton 2008) of their principal components.

    It begins from the first two components and runs on one thread, so the same features give the same map. Near pictures are alike;
    distances between far ones say nothing. Takes about 4 seconds a thousand pictures; N is at least `FEWEST`.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    with threadpool_limits(1):
        components = PCA(min(COMPONENTS, *features.shape), random_state=0).fit_transform(features)
        perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, init="pca", max_iter=_ITERATIONS, random_state=0)
        return np.asarray(tsne.fit_transform(components), dtype=np.float32)
