"""Every strategy as a run: what it says on the way, what it writes into its spec, and what its report and bundle say of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.runs.conftest import SIZE, SMALL
from tests.runs.executors import InProcess, by
from tests.training.helpers import finish, smaller_batches
from tl_core.documents.bundle_info import NO_WEIGHTS
from tl_core.documents.events import EpochEnded, Event, Notice, StageStarted
from tl_core.documents.options import TrainingOptions
from tl_core.documents.spec import TrainSpec
from tl_core.errors import WeightsUnavailable
from tl_core.models.build import Backbone, build
from tl_core.models.registry import network
from tl_core.runs.start import jobs
from tl_core.runs.start.training_spec import spec_of
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Workspace
from tl_core.runs.summary import summarise
from tl_core.runs.train import fine_tune as stepping
from tl_core.runs.train.fine_tune import built
from tl_core.runs.train.plan import Plan
from tl_core.runs.train_job import train_job
from tl_core.runs.worker import JOBS
from tl_core.training.loop.steps import Trainer
from tl_core.training.strategies.strategies import strategy

HERE = InProcess(JOBS)


@pytest.fixture
def trained(workspace: Workspace, pets: DatasetFolder) -> Callable[..., RunFolder]:
    def train(**options: object) -> RunFolder:
        run = by(
            HERE,
            jobs.submit_training,
            workspace,
            pets,
            image_size=SIZE,
            device="cpu",
            **{"backbone": SMALL, "epochs": 1, **options},
        )
        status = run.status()
        assert status.state == "succeeded", f"{status.failure}\n{run.log()}"
        return run

    return train


def _notices(run: RunFolder) -> list[str]:
    return [event.message for event in run.events()[0] if isinstance(event, Notice)]


def _titles(run: RunFolder) -> list[str]:
    return [event.title for event in run.events()[0] if isinstance(event, StageStarted)]


def test_surgical_names_the_stage_it_found_and_moves_no_other(trained: Callable[..., RunFolder]) -> None:
    changed = {"stage_rate": 3e-3, "optimizer": "sgd", "ema": 0.5, "mixup": 0.2, "class_weights": True}
    run = trained(strategy="surgical", **changed, epochs=2)
    found = run.spec().learning_stages
    assert found is not None
    (stage,) = found
    moved = run.report().moved
    assert [row.learned for row in moved] == [number == stage for number in range(len(moved))]
    assert all(row.distance == 0 for number, row in enumerate(moved) if number != stage)
    (said,) = (message for message in _notices(run) if "pull hardest" in message)
    assert f"at {moved[stage].name}," in said
    assert all(f"{row.name} " in said for row in moved)


def test_stages_join_one_by_one(trained: Callable[..., RunFolder]) -> None:
    run = trained(strategy="gradual_unfreezing", epochs=3)
    said = [message for message in _notices(run) if message.startswith("From epoch")]
    assert [message.split(" on, ")[0] for message in said] == ["From epoch 2", "From epoch 3"]
    assert network(SMALL).stages[-1] in said[0]
    assert "stem" in said[1]
    assert [event.epoch for event in run.events()[0] if isinstance(event, EpochEnded)] == [0, 1, 2, 3]
    report = run.report()
    assert report.trainable_parameters == report.total_parameters
    assert all(row.learned for row in report.moved)


def test_from_scratch_uses_no_pretrained_weights(trained: Callable[..., RunFolder]) -> None:
    run = trained(strategy="from_scratch")
    info = json.loads((run.bundle / "bundle.json").read_text())
    assert (info["weights"], info["licence"]) == (NO_WEIGHTS, "none")
    assert summarise(run).weights == NO_WEIGHTS
    assert "from random weights" in (run.bundle / "MODEL_CARD.md").read_text()
    assert "Looking at every picture once" not in _titles(run)


def test_from_scratch_takes_pictures_like_those_of_the_weights_that_were_chosen(
    pets: DatasetFolder, tmp_path: Path
) -> None:
    chosen = TrainingOptions(backbone="vit_b_16", weights="IMAGENET1K_SWAG_E2E_V1", strategy="from_scratch")
    run = RunFolder(tmp_path / "run")
    run.write_spec(spec_of(chosen, pets))
    plan = Plan(run)
    assert plan.weights.name == chosen.weights
    size = plan.spec.image_size
    with torch.device("meta"):
        backbone, _ = finish(built(plan))
        assert backbone(torch.empty(1, 3, size, size)).shape == (1, 3)


def test_what_was_saved_is_finished_without_the_pretrained_weights(
    pets: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_spec(spec_of(TrainingOptions(strategy="lp_ft", image_size=SIZE), pets))
    plan, pixels = Plan(run), np.zeros((0, SIZE, SIZE, 3), dtype=np.uint8)
    saved = build(plan.network, weights=None, classes=3, seed=7).tensors()
    save_file(saved, run.best)

    def gone(*_: object, **__: object) -> Generator[Event, None, Backbone]:
        raise WeightsUnavailable("The weights are not here.")
        yield

    monkeypatch.setattr(stepping, "pretrained", gone)
    with pytest.raises(WeightsUnavailable):
        finish(stepping.train(plan, pixels))
    run.finish_file.touch()
    (backbone, moved), _ = finish(stepping.train(plan, pixels))
    assert all(torch.equal(tensor, saved[name]) for name, tensor in backbone.tensors().items())
    assert moved == ()


def test_a_head_trained_by_steps(trained: Callable[..., RunFolder]) -> None:
    run = trained(strategy="feature_extraction", solver="adam", epochs=5)
    epochs = [event for event in run.events()[0] if isinstance(event, EpochEnded)]
    assert [event.epoch for event in epochs] == list(range(6))
    assert run.report().test.accuracy > 0.5
    assert run.report().moved == ()


def test_auto_becomes_a_strategy_and_says_why(trained: Callable[..., RunFolder]) -> None:
    run = trained(strategy="auto", epochs=2, label_smoothing=0.1)
    spec = run.spec()
    assert spec.chosen_by == "auto"
    row = strategy(spec.strategy)
    assert spec.reason
    assert any(spec.reason in message and row.title in message for message in _notices(run))
    assert spec.epochs == 2
    assert spec.recipe == row.recipe.changed({"label_smoothing": 0.1})
    assert run.report().test.images > 0


def test_whether_the_frozen_stages_output_is_kept_stands_in_the_spec(
    trained: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trained(strategy="partial_fine_tuning", augmentation="none")
    ((frozen, views),) = first.spec().views_kept.items()
    assert views in (0, 1)
    asked: list[int | None] = []
    real = stepping.frozen_activations

    def noting(*given: object, **more: object) -> Generator[Event, None, object]:
        spec = more["spec"]
        assert isinstance(spec, TrainSpec)
        asked.append(spec.views_kept.get(frozen))
        more["spec"] = spec.model_copy(update={"views_kept": {frozen: 0}})
        return real(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(stepping, "frozen_activations", noting)
    again = trained(strategy="partial_fine_tuning", augmentation="none", seed=1)
    assert asked == [None]
    assert again.spec().views_kept == {frozen: 0}


def test_how_many_pictures_fit_the_memory_stands_in_the_spec_and_is_followed_when_it_is_run_again(
    trained: Callable[..., RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = Trainer._forward

    def little_memory(trainer: Trainer, images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        if len(images) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(trainer, images)

    monkeypatch.setattr(Trainer, "_forward", little_memory)
    first = trained(strategy="lp_ft")
    assert max(sizes) > 6
    found = first.spec()
    assert found.micro_batch == 4
    sizes.clear()
    again = RunFolder(tmp_path / "again")
    again.write_spec(found)
    _, events = finish(train_job(again))
    assert max(sizes) <= 4
    assert again.spec() == found
    assert smaller_batches(events) == []
    curves = [[one.val_loss for one in some if isinstance(one, EpochEnded)] for some in (first.events()[0], events)]
    assert curves[0] == curves[1]


def test_deleting_pictures_deletes_what_was_computed_from_them(
    trained: Callable[..., RunFolder], pets: DatasetFolder, store: Path
) -> None:
    trained(strategy="partial_fine_tuning", augmentation="none")
    kinds = ("pixels", "features", "activations")
    before = [path for kind in kinds for path in (store / "cache" / kind).glob("*-*") if pets.origins()[0] in path.name]
    assert {path.parent.name for path in before} >= {"pixels", "features"}
    pets.delete()
    assert not [path for path in before if path.exists()]
    assert any((store / "cache" / "backbones").iterdir())
