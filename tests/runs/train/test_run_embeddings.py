"""The embeddings of a run's pictures: kept by a run that has them, and computed once by the bundle of one that has not."""

import numpy as np
import pytest

from tests.runs.conftest import SIZE
from tests.training.helpers import finish
from tl_core.data.pixel_arrays import load_pixels
from tl_core.data.split import assign
from tl_core.disk import remove
from tl_core.errors import NotFound
from tl_core.runs.store.budgets import expected_bytes
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store
from tl_core.runs.tasks.slices import run_embeddings
from tl_core.runs.train.plan import Plan
from tl_core.serving.predictor import Predictor


def test_a_fitted_head_keeps_the_embeddings_of_all_parts_and_its_bundle_gives_the_same(
    pets: DatasetFolder, pets_run: RunFolder
) -> None:
    kept, predictor = pets_run.embeddings(), Predictor(pets_run.bundle)
    assert kept.rows.tolist() == np.flatnonzero(assign(pets.manifest(), 3) != "").tolist()
    pixels, _ = finish(
        load_pixels(
            pets.path,
            pets.manifest(),
            size=SIZE,
            interpolation=predictor.info.interpolation,
            cache=Store.default().cache,
        )
    )
    own = predictor.embeddings(np.asarray(pixels[kept.rows]))
    assert kept.vectors.shape == (60, predictor.info.embedding_size)
    assert np.allclose(kept.vectors, own, atol=2e-3)
    again, events = finish(run_embeddings(Plan(pets_run)))
    assert not events, "what is kept is not computed again"
    assert np.array_equal(again.vectors, kept.vectors)


@pytest.mark.parametrize("left", [None, b"noise"], ids=["none", "damaged"])
def test_a_run_without_embeddings_gets_those_of_its_bundle_once(pets_run: RunFolder, left: bytes | None) -> None:
    before = pets_run.embeddings()
    pets_run.embeddings_file.unlink()
    if left is not None:
        pets_run.embeddings_file.write_bytes(left)
    found, events = finish(run_embeddings(Plan(pets_run)))
    assert events
    assert found.rows.tolist() == before.rows.tolist()
    assert np.allclose(found.vectors, before.vectors, atol=2e-3)
    assert np.array_equal(pets_run.embeddings().vectors, found.vectors), "the next question finds them"


def test_a_run_that_is_deleted_meanwhile_leaves_no_folder(pets_run: RunFolder) -> None:
    pets_run.embeddings_file.unlink()
    asked = run_embeddings(Plan(pets_run))
    next(asked)
    remove(pets_run.path)
    with pytest.raises(NotFound, match="was deleted"):
        list(asked)
    assert not pets_run.path.exists()


def test_the_embeddings_count_in_what_a_run_is_expected_to_write(pets_run: RunFolder) -> None:
    spec, many = pets_run.spec(), 100_000
    size = Predictor(pets_run.bundle).info.embedding_size
    assert expected_bytes(spec, many) - expected_bytes(spec, 0) == 2 * size * many
    assert expected_bytes(spec, 60) > sum(file.stat().st_size for file in pets_run.bundle.iterdir())
