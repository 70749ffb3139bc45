"""Questions and their answers: a look into a backbone, a review of labels, a preview of augmentation, a learning rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from tests.conftest import lend
from tests.gpus import L4, T4
from tests.runs.conftest import SIZE, SMALL, Machine, forget
from tests.runs.executors import InProcess, by
from tests.training.helpers import finish
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.options import Recipe, TrainingOptions
from tl_core.documents.questions.about_backbones import (
    DescribeSpec,
    FeatureMaps,
    FeatureMapsSpec,
    Measurement,
    MeasureSpec,
)
from tl_core.documents.questions.about_pictures import LabelReview, LabelReviewSpec
from tl_core.documents.questions.before_training import PreviewSpec, RateCurve
from tl_core.documents.questions.kinds import QuestionSpec
from tl_core.documents.questions.question import Question
from tl_core.errors import DeviceError, SpecError
from tl_core.models.registry import network, networks
from tl_core.runs.judging import judge
from tl_core.runs.process.executor import known_device
from tl_core.runs.questions import label_review
from tl_core.runs.questions.answers import QUESTION_JOBS, describe_job, measure_job
from tl_core.runs.questions.ask import ask
from tl_core.runs.start import jobs
from tl_core.runs.start.training_spec import rate_question, spec_of
from tl_core.runs.store.folders import DatasetFolder, QuestionFolder, RunFolder
from tl_core.runs.store.store import Store, Workspace, new_token
from tl_core.runs.train.estimating import measure_question
from tl_core.runs.train.resolve import settled

HERE = InProcess(QUESTION_JOBS)


def _answered(question: QuestionFolder) -> QuestionFolder:
    list(jobs.follow(question))
    status = question.status()
    assert status.state == "succeeded", f"{status.failure}\n{question.log()}"
    return question


def test_a_backbone_is_looked_into(workspace: Workspace, pets: DatasetFolder) -> None:
    spec = FeatureMapsSpec(
        workspace=workspace.token,
        dataset=pets.id,
        row=1,
        backbone="efficientnet_lite0",
        weights=network("efficientnet_lite0").default_weights,
        image_size=SIZE,
    )
    question = _answered(by(HERE, ask, workspace, spec))
    look = question.answer(FeatureMaps)
    assert look is not None
    assert look.maps
    for file in (look.picture, look.filters, *(found.file for found in look.maps)):
        assert file is not None
        with Image.open(question.path / file) as picture:
            assert picture.width > 0
    with Image.open(question.path / look.picture) as picture:
        assert picture.size == (SIZE, SIZE)


def test_labels_are_reviewed_by_heads_that_have_not_seen_the_picture_or_by_what_a_run_kept_of_them(
    workspace: Workspace,
    pets: DatasetFolder,
    pets_run: RunFolder,
    store: Path,
    exported: Callable[[int], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lend(exported(224), store / "cache")
    manifest, spec, kept = (
        pets.manifest(),
        LabelReviewSpec(workspace=workspace.token, dataset=pets.id),
        pets_run.out_of_fold(),
    )
    pets_run.out_of_fold_file.unlink()
    found = _answered(ask(workspace, spec)).answer(LabelReview)
    assert found is not None
    assert found.accuracy == found.growth.accuracies[-1] > 0.8
    assert 0.8 * len(manifest.images) == pytest.approx(found.growth.sizes[-1], rel=0.1)
    assert all(manifest.images[one.row].label == one.label != one.suggested for one in found.suspects)

    asked: list[int] = []
    monkeypatch.setattr(label_review, "judge", lambda *given, **more: asked.append(1) or judge(*given, **more))
    labels = np.array([image.label for image in manifest.images])
    assert kept.nested is not None
    nested = kept.nested.copy()
    nested[5] = np.eye(3)[(labels[5] + 1) % 3]
    dataclasses.replace(kept, nested=nested).write(pets_run.out_of_fold_file)
    by_run, _ = finish(label_review.review(spec, pets, Store.default().cache))
    assert not asked, "the run has answered"
    assert by_run.accuracy == (nested.argmax(axis=1) == labels).mean()
    assert by_run.growth.sizes == found.growth.sizes
    assert (by_run.suspects[0].row, by_run.suspects[0].suggested) == (5, (labels[5] + 1) % 3)
    look = by_run.lookalikes[0]
    assert [labels[row] for row in look.of_label] == [labels[5]] * 3
    assert [labels[row] for row in look.of_suggested] == [by_run.suspects[0].suggested] * 3
    assert 5 not in look.of_label
    for unfit in ({"backbone": SMALL}, {"recipe": Recipe(class_weights=True)}, {"dataset": "0" * 16}):
        run = pets_run.spec()
        pets_run.write_spec(run.model_copy(update=unfit))
        finish(label_review.review(spec, pets, Store.default().cache))
        pets_run.write_spec(run)
    assert len(asked) == 3


def test_each_level_of_augmentation_is_shown(workspace: Workspace, pets: DatasetFolder) -> None:
    spec = PreviewSpec(workspace=workspace.token, dataset=pets.id, rows=(0, 13), copies=2, image_size=48)
    question = _answered(by(HERE, ask, workspace, spec))
    names = {path.name for path in question.path.glob("*.jpg")}
    assert names == {
        f"{level}-{row}-{copy}.jpg"
        for level in ("none", "light", "medium", "strong")
        for row in (0, 13)
        for copy in (0, 1)
    }
    copies = [(question.path / f"strong-0-{copy}.jpg").read_bytes() for copy in (0, 1)]
    assert copies[0] != copies[1]


def test_a_learning_rate_is_found_for_stages(workspace: Workspace, pets: DatasetFolder) -> None:
    options = TrainingOptions(backbone=SMALL, strategy="partial_fine_tuning", stages=1, image_size=SIZE, device="cpu")
    question = _answered(by(HERE, ask, workspace, rate_question(options, pets)))
    curve = question.answer(RateCurve)
    assert curve is not None
    assert len(curve.rates) == len(curve.losses) > 10
    assert curve.rates[0] < curve.suggested < 1
    assert not (question.path / "run").exists()


def test_a_measurement_computes_as_the_card_does_that_it_was_given(
    machine: Machine, workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[MeasureSpec] = []

    def measured(asked: MeasureSpec, cache: object) -> Generator[Event, None, Measurement]:
        seen.append(asked)
        raise DeviceError("Enough was seen.")
        yield

    monkeypatch.setattr("tl_core.training.speed.measure.measure", measured)
    machine({"GPU-1": L4, "GPU-2": T4})
    spec = measure_question(spec_of(TrainingOptions(device="cuda"), dataset), 2)
    assert spec.precision == "bfloat16", "the page expects the first card"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-2")
    forget()
    by(InProcess({"measure": measure_job}), ask, workspace, spec)
    assert [(asked.device, asked.precision) for asked in seen] == [("cuda", "float16")]


def test_a_rate_is_found_as_the_card_computes_that_the_test_was_given(
    machine: Machine, workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine({"GPU-1": L4, "GPU-2": T4})
    options = TrainingOptions(strategy="lp_ft", device="cuda")
    first = rate_question(options, dataset)
    assert first.train.precision == "bfloat16"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-2")
    forget()
    asked, other = (one.canonical(known_device) for one in (first, rate_question(options, dataset)))
    assert asked == other, "one question, whichever card was expected"
    assert settled(asked.train, dataset).precision == "float16"


def test_no_rate_is_found_for_auto(pets: DatasetFolder) -> None:
    with pytest.raises(SpecError, match="auto"):
        rate_question(TrainingOptions(strategy="auto"), pets)


@pytest.mark.parametrize("kind", get_args(QuestionSpec), ids=lambda kind: kind.__name__)
def test_every_kind_of_question_has_a_job_that_answers_it(kind: type[Question]) -> None:
    assert kind.model_fields["job"].default in QUESTION_JOBS
    assert len(QUESTION_JOBS) == len(get_args(QuestionSpec))


def test_a_network_that_was_added_by_name_is_listed_where_it_was_added_and_looked_up_anew_elsewhere(
    workspace: Workspace,
) -> None:
    here = InProcess({"describe": describe_job})
    other = Store.default().workspace(new_token())
    by(here, ask, workspace, DescribeSpec(network=SMALL))
    assert SMALL in workspace.backbones()
    assert not any(
        SMALL in table for table in (other.backbones(), networks(), Store.default().command_line_backbones())
    )
    assert network(SMALL).name == SMALL, "runs with it find it by its name"
    asked = by(here, ask, other, DescribeSpec(network=SMALL))
    assert [event.title for event in asked.events()[0] if isinstance(event, StageStarted)] == [
        f"Looking at timm's {SMALL}"
    ]
    assert SMALL in other.backbones()
