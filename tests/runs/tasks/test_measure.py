"""A measurement asked as a job, and what a run's estimate makes of it."""

from __future__ import annotations

from tests.runs.conftest import SIZE
from tests.runs.executors import InProcess, by
from tl_core.documents.spec import TrainSpec
from tl_core.documents.tasks import Measurement, MeasureSpec
from tl_core.models.registry import network
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.tasks.ask import ask
from tl_core.runs.worker import JOBS
from tl_core.training.speed.estimate import Kept, estimate
from tl_core.training.speed.measure import known

LITE = network("efficientnet_lite0")


def test_a_measurement_is_a_job_whose_answer_every_workspace_finds(workspace: Workspace, backbones: None) -> None:
    spec = MeasureSpec(
        backbone=LITE.name,
        weights=LITE.default_weights,
        strategy="feature_extraction",
        image_size=SIZE,
        classes=4,
        device="cpu",
    )
    question = by(InProcess(JOBS), ask, workspace, spec)
    found = question.answer(Measurement)
    assert found is not None, question.log()
    assert found.frozen_seconds > 0
    assert known(spec, Store.default().cache) == found
    run = TrainSpec(name="", workspace="", dataset="", weights=LITE.default_weights, image_size=SIZE)
    few, many = (
        estimate(run, spec, images=images, measured=found, kept=Kept(pixels=False, features=False))
        for images in (100, 10_100)
    )
    assert few.measured
    assert many.low - few.low > 10_000 * found.frozen_seconds * 0.7, "each picture costs what was measured"
