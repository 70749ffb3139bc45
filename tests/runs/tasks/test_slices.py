"""Where a run fails: judged by its cross-validated answers, else by those to the test, with clusters of its own embeddings."""

import dataclasses

import numpy as np
import pytest

from tests.runs.conftest import SIZE, SMALL
from tests.runs.executors import InProcess, by
from tests.runs.tasks.conftest import CarryOut
from tl_core.documents.tasks import RunSlices, SlicesSpec
from tl_core.evaluation import slice_search
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Workspace
from tl_core.runs.tasks.subject import task_about
from tl_core.runs.train_job import train_job


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
    assert found is not None
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
    assert found is not None
    assert (found.judged_by, found.images) == ("test", 9)
    assert found.slices == (), "nine pictures are too few to divide"
    assert len(run.embeddings().rows) == 60
