"""Where a run fails: judged by its cross-validated answers, else by those to the test, with clusters of its own embeddings, which are kept."""

import dataclasses

import numpy as np
import pytest

from tests.runs.conftest import SIZE, SMALL
from tests.runs.executors import InProcess, by
from tests.runs.tasks.conftest import CarryOut
from tests.training.twin import finish
from tl_core.data.pixel_arrays import load_pixels
from tl_core.data.split import assign
from tl_core.disk import remove
from tl_core.documents.tasks import RunSlices, SlicesSpec
from tl_core.errors import NotFound
from tl_core.evaluation import slice_search
from tl_core.runs.start import jobs
from tl_core.runs.store.budgets import expected_bytes
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.tasks.slices import run_embeddings
from tl_core.runs.tasks.subject import task_about
from tl_core.runs.train.plan import Plan
from tl_core.runs.train_job import train_job
from tl_core.serving.predictor import Predictor


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_search, "PERMUTATIONS", 499)


def test_wrong_answers_to_the_darkest_pictures_are_found_in_those_of_cross_validation(
    pets: DatasetFolder, pets_run: RunFolder, carry_out: CarryOut
) -> None:
    images = pets.manifest().images
    brightness = np.array([image.measured["brightness"] for image in images])
    truth = np.array([image.label for image in images])
    dark = np.sort(brightness.argsort(kind="stable")[:15])
    kept = pets_run.out_of_fold()
    said = truth.copy()
    said[dark] = (truth[dark] + 1) % 3
    nested = np.eye(3, dtype=np.float32)[said]
    dataclasses.replace(kept, nested=nested).write(pets_run.out_of_fold_file)

    found = carry_out(task_about(pets_run, SlicesSpec)).answer(RunSlices)
    assert (found.judged_by, found.images, found.accuracy) == ("cross_validated", 60, 0.75)
    first = found.findings[0]
    assert (first.kind, first.name, first.images, first.errors, first.elsewhere) == (
        "brightness",
        "dark pictures",
        15,
        15,
        1,
    )
    assert sorted(answer.row for answer in first.answers) == dark.tolist()
    assert {one.kind for one in found.slices} >= {"brightness", "cluster"}
    p_values = [one.p_value for one in found.slices]
    assert p_values == sorted(p_values)


def test_a_run_of_gradient_steps_is_judged_by_its_test_pictures(
    workspace: Workspace, pets: DatasetFolder, carry_out: CarryOut
) -> None:
    run = by(
        InProcess({"train": train_job}),
        jobs.submit_training,
        workspace,
        pets,
        backbone=SMALL,
        strategy="partial_fine_tuning",
        epochs=1,
        image_size=SIZE,
        device="cpu",
    )
    found = carry_out(task_about(run, SlicesSpec)).answer(RunSlices)
    assert (found.judged_by, found.images) == ("test", 9)
    assert found.slices == (), "nine pictures are too few to divide"
    assert len(run.embeddings().rows) == 60


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
