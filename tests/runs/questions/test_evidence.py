"""Where the evidence in one picture lies, as a question about a run; a picture that somebody brought is not kept."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tl_core.documents.events import drive
from tl_core.documents.questions.finished_runs import BROUGHT, EvidenceSpec, PictureEvidence
from tl_core.errors import DataError
from tl_core.runs.questions.about_run import question_about
from tl_core.runs.questions.answers import QUESTION_JOBS
from tl_core.runs.store.folders import DatasetFolder, QuestionFolder, RunFolder
from tl_core.runs.store.store import Workspace
from tl_core.serving.bundle import read_bundle
from tl_core.serving.predictor import Predictor


def answer(workspace: Workspace, spec: EvidenceSpec) -> PictureEvidence:
    question = QuestionFolder(workspace.path / "tasks" / "0123456789abcdef")
    question.path.mkdir(parents=True, exist_ok=True)
    question.write_spec(spec)
    drive(QUESTION_JOBS["evidence"](question), lambda event: None)
    kept = {file.name for file in question.path.iterdir()}
    assert kept == {"spec.json", "result.json"}
    return PictureEvidence.read(question.result_file)


def test_a_picture_of_the_data_set(workspace: Workspace, pets: DatasetFolder, pets_run: RunFolder) -> None:
    spec = question_about(pets_run, EvidenceSpec, row=2, classes=(1, 0))
    found = answer(workspace, spec)
    assert [one.label for one in found.classes] == [1, 0]
    model = Predictor(read_bundle(pets_run.bundle))
    pixels = model.pixels(pets.image(pets.manifest().images[2]))
    # Its logits are linear in the map, so gradients must give what the app reads off the bundle, but for the mean over the positions.
    positions = np.array(found.classes[0].positions)
    exact = model.evidence(pixels)[1] / positions.size
    assert np.allclose(positions, exact, atol=0.02 * np.abs(exact).max())


def test_a_picture_that_somebody_brought_is_gone_afterwards(workspace: Workspace, pets_run: RunFolder) -> None:
    size = read_bundle(pets_run.bundle).info.image_size
    folder = workspace.staging()
    Image.new("RGB", (size, size), (200, 30, 30)).save(folder / BROUGHT)
    spec = question_about(pets_run, EvidenceSpec, brought=folder.name, classes=(0,))
    assert len(answer(workspace, spec).classes) == 1
    assert not folder.exists()
    with pytest.raises(DataError, match="Bring it again"):
        answer(workspace, spec)
