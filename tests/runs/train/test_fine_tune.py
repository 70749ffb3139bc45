"""Every strategy as a run: which pictures its head learns from, what it says on the way, what it writes into its spec, and what its report and bundle say of it."""

import json
import shutil
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from tests.runs.conftest import SIZE, SMALL, epochs, notices, titles
from tests.runs.executors import InProcess
from tests.training.twin import finish, losses, smaller_batches
from tl_core.documents.bundle_info import NO_WEIGHTS
from tl_core.documents.events import Event, Notice
from tl_core.documents.options import Recipe, TrainingOptions
from tl_core.documents.report import Report
from tl_core.errors import ModelError, WeightsUnavailable
from tl_core.models.build import Backbone, build
from tl_core.models.graphs.edit import head_of
from tl_core.models.graphs.export import ONNX_NAME, backbone_key, exported_backbone
from tl_core.models.registry import network
from tl_core.runs.finished import summarise
from tl_core.runs.start.training_spec import setup_of
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.train import deliver as delivering
from tl_core.runs.train import find_head
from tl_core.runs.train import fine_tune as stepping
from tl_core.runs.train.deliver import deliver
from tl_core.runs.train.find_head import Learned, fitted_head
from tl_core.runs.train.fine_tune import built
from tl_core.runs.train.plan import Plan, prepare
from tl_core.runs.train_job import train_job
from tl_core.runs.worker import JOBS
from tl_core.serving.bundle import read_bundle
from tl_core.serving.predictor import Predictor
from tl_core.training.head.fitted import fit_logistic
from tl_core.training.loop.steps import Trainer
from tl_core.training.strategies.strategies import strategy

HERE = InProcess(JOBS)


@pytest.fixture
def trained(trained: Callable[..., RunFolder]) -> Callable[..., RunFolder]:
    """Trains on a processor, of a small network in one epoch unless the options say otherwise."""
    return lambda **options: trained(**{"backbone": SMALL, "epochs": 1, "device": "cpu", **options})


def _plan(pets: DatasetFolder, folder: Path, **options: object) -> Plan:
    """The plan of a run with those options, which nobody carries out."""
    run = RunFolder(folder / "run")
    run.write_spec(setup_of(TrainingOptions(**options), pets).spec)  # type: ignore[arg-type]
    return Plan(run)


def test_surgical_names_the_stage_it_found_and_moves_no_other(trained: Callable[..., RunFolder]) -> None:
    changed = {"stage_rate": 3e-3, "optimizer": "sgd", "ema": 0.5, "mixup": 0.2, "class_weights": True}
    run = trained(strategy="surgical", **changed, epochs=2)
    found = run.spec().learning_stages
    assert found is not None
    (stage,) = found
    moved = run.report().moved
    assert [row.learned for row in moved] == [number == stage for number in range(len(moved))]
    assert all(row.distance == 0 for number, row in enumerate(moved) if number != stage)
    (said,) = (message for message in notices(run) if "pull hardest" in message)
    assert f"at {moved[stage].name}," in said
    assert all(f"{row.name} " in said for row in moved)


CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device.")],
)
ON_ANOTHER_DEVICE = pytest.mark.parametrize("device", ["cpu:0", CUDA])
"""Torch takes `cpu:0` for the processor, and Graft takes it for another device than `cpu`."""


@dataclass
class Work:
    """A run in the middle of its work."""

    plan: Plan
    pixels: np.ndarray
    folder: Path

    def deliver(self, learned: Learned) -> tuple[Report, list[str]]:
        """The report on what was learned, and the notices of delivering it."""
        _, events = finish(deliver(self.plan, self.pixels, learned, self.folder))
        return self.plan.run.report(), [event.message for event in events if isinstance(event, Notice)]


@pytest.fixture
def work(pets: DatasetFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Work]:
    """Begins a run on the pets on a device that the spec may not know."""

    def begin(device: str, name: str = "lp_ft") -> Work:
        plan = _plan(pets, tmp_path, backbone=SMALL, strategy=name, image_size=SIZE, device="cpu", epochs=2)
        pixels, _ = finish(prepare(plan))
        plan.setup = plan.setup.changed(device=device)
        return Work(plan, pixels, tmp_path)

    monkeypatch.setattr(Plan, "take", lambda plan, setup: setattr(plan, "setup", setup))
    return begin


@ON_ANOTHER_DEVICE
def test_a_gpu_answers_the_held_out_pictures_itself_as_the_bundle_does_and_needs_no_exported_backbone(
    device: str, work: Callable[..., Work], monkeypatch: pytest.MonkeyPatch, pets: DatasetFolder
) -> None:
    doing = work(device, "gradual_unfreezing")
    shutil.rmtree(doing.plan.cache.root / "backbones")
    with monkeypatch.context() as patch:
        patch.setattr(stepping, "exported_backbone", None)
        patch.setattr(delivering, "embed_rows", None)
        patch.setattr(Predictor, "ask", None)
        learned, _ = finish(stepping.learn_stages(doing.plan, doing.pixels, doing.folder))
        report, said = doing.deliver(learned)
    assert not said
    key = backbone_key(doing.plan.network, doing.plan.weights.name, SIZE)
    assert [path.name for path in (doing.plan.cache.root / "backbones").iterdir()] == [f"{key}-structure.txt"]
    images = pets.manifest().images
    own = Predictor(doing.plan.run.bundle).predict([pets.image(images[answer.row]) for answer in report.answers])
    for answer, entry in zip(report.answers, own, strict=True):
        assert entry["label"] == report.classes[answer.predicted]
        assert entry["probability"] == pytest.approx(answer.probability, abs=1e-3)


def _learned(plan: Plan) -> Learned:
    """As if the network that the run begins with had been trained."""
    exported, _ = finish(exported_backbone(plan.network, plan.weights.name, SIZE, plan.cache))
    backbone, _ = finish(built(plan))
    tensors = {name: tensor.numpy() for name, tensor in backbone.tensors().items()}
    weight, bias = head_of(plan.network, tensors)
    return Learned(
        graph=exported / ONNX_NAME,
        weight=weight,
        bias=bias,
        tensors=tensors,
        trainable=1,
        total=1,
        features=None,
        backbone=backbone,
    )


@ON_ANOTHER_DEVICE
def test_where_a_gpu_answers_otherwise_than_the_bundle_the_report_is_about_the_bundle(
    device: str, work: Callable[..., Work]
) -> None:
    doing = work(device)
    learned = _learned(doing.plan)
    wanted, _ = doing.deliver(replace(learned, backbone=None))
    temperature = read_bundle(doing.plan.run.bundle).info.temperature
    other = build(doing.plan.network, weights=None, classes=3, seed=1)
    given, (said,) = doing.deliver(replace(learned, backbone=other))
    assert given == wanted
    assert read_bundle(doing.plan.run.bundle).info.temperature == temperature
    assert said.startswith("For some validation or test pictures the GPU and the exported network differ by ")


@ON_ANOTHER_DEVICE
@pytest.mark.parametrize(("asked_for", "times"), [("normalise", [8, 4, 2, 1]), ("to", [1])])
def test_where_a_gpu_has_no_memory_left_the_bundle_answers_the_held_out_pictures(
    device: str, asked_for: str, times: list[int], work: Callable[..., Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    doing = work(device)
    learned = _learned(doing.plan)
    wanted, _ = doing.deliver(replace(learned, backbone=None))
    tried: list[int] = []

    def full(backbone: Backbone, what: torch.Tensor | str) -> Backbone:
        tried.append(1 if isinstance(what, str) else len(what))
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Backbone, asked_for, full)
    given, (said,) = doing.deliver(learned)
    assert given == wanted
    assert tried[-len(times) :] == times
    assert said.startswith(
        "The GPU has not enough memory left to answer the validation and test pictures. So the exported classifier"
    )


@ON_ANOTHER_DEVICE
def test_a_picture_on_a_tie_has_the_answer_of_the_bundle(
    device: str, work: Callable[..., Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    doing, logits = work(device), Predictor.logits
    learned = _learned(doing.plan)
    tied = replace(learned, weight=np.zeros_like(learned.weight), bias=np.zeros_like(learned.bias))
    nearly = np.array([0.0, 0.0, 1e-4], dtype=np.float32)
    monkeypatch.setattr(Predictor, "logits", lambda *given: logits(*given) + nearly)
    report, said = doing.deliver(tied)
    assert not said
    assert len(report.answers) == 9
    # Of 9 validation and 9 test pictures, 16 are compared.
    assert [answer.predicted for answer in report.answers].count(2) >= 7


def test_the_pictures_nearest_to_a_tie_are_among_those_on_which_bundle_and_gpu_must_agree() -> None:
    near = [3, 5, 8, 13, 41, 55, 77, 90]
    logits = np.tile(np.array([4.0, 0.0, -1.0], dtype=np.float32), (100, 1))
    logits[near, 1] = 3.9
    found = delivering._compared(logits, ties=8)
    assert len(found) == len(set(found)) == 16
    assert set(near) <= set(found)
    assert {0, 99} <= set(found)
    assert sorted(delivering._compared(logits[:10], ties=8)) == list(range(10))
    assert sorted(delivering._compared(logits[:5], ties=8)) == list(range(5))
    assert len(delivering._compared(logits, ties=0)) == 8


def test_a_network_that_fits_no_bundle_is_refused_before_it_is_trained(pets: DatasetFolder, tmp_path: Path) -> None:
    plan = _plan(pets, tmp_path, backbone="vit_h_14", strategy="lp_ft")
    with pytest.raises(ModelError, match="vit_h_14 is too large"):
        next(stepping.train(plan, np.zeros((0, SIZE, SIZE, 3), dtype=np.uint8)))


def test_stages_join_one_by_one(trained: Callable[..., RunFolder]) -> None:
    run = trained(strategy="gradual_unfreezing", epochs=3)
    said = [message for message in notices(run) if message.startswith("From epoch")]
    assert [message.split(" on, ")[0] for message in said] == ["From epoch 2", "From epoch 3"]
    assert network(SMALL).stages[-1] in said[0]
    assert "stem" in said[1]
    assert epochs(run) == [0, 1, 2, 3]
    report = run.report()
    assert report.trainable_parameters == report.total_parameters
    assert all(row.learned for row in report.moved)


def test_from_scratch_uses_no_pretrained_weights(trained: Callable[..., RunFolder]) -> None:
    run = trained(strategy="from_scratch")
    info = json.loads((run.bundle / "bundle.json").read_text())
    assert (info["weights"], info["licence"]) == (NO_WEIGHTS, "none")
    assert summarise(run).weights == NO_WEIGHTS
    assert "it began with random weights" in (run.bundle / "MODEL_CARD.md").read_text()
    assert "Looking at every picture once" not in titles(run)


def test_from_scratch_takes_pictures_like_those_of_the_weights_that_were_chosen(
    pets: DatasetFolder, tmp_path: Path
) -> None:
    weights = "IMAGENET1K_SWAG_E2E_V1"
    plan = _plan(pets, tmp_path, backbone="vit_b_16", weights=weights, strategy="from_scratch")
    assert plan.weights.name == weights
    size = plan.spec.image_size
    with torch.device("meta"):
        backbone, _ = finish(built(plan))
        assert backbone(torch.empty(1, 3, size, size)).shape == (1, 3)


def test_what_was_saved_is_finished_without_the_pretrained_weights(
    pets: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, pixels = _plan(pets, tmp_path, strategy="lp_ft", image_size=SIZE), np.zeros((0, SIZE, SIZE, 3), np.uint8)
    saved = build(plan.network, weights=None, classes=3, seed=7).tensors()
    save_file(saved, plan.run.best)

    def gone(*_: object, **__: object) -> Generator[Event, None, Backbone]:
        raise WeightsUnavailable("The weights are not here.")
        yield

    monkeypatch.setattr(stepping, "pretrained", gone)
    with pytest.raises(WeightsUnavailable):
        finish(stepping.train(plan, pixels))
    plan.run.finish_file.touch()
    (backbone, moved), _ = finish(stepping.train(plan, pixels))
    assert all(torch.equal(tensor, saved[name]) for name, tensor in backbone.tensors().items())
    assert moved == ()


def test_a_head_trained_by_steps(trained: Callable[..., RunFolder]) -> None:
    run = trained(strategy="feature_extraction", solver="adam", epochs=5)
    assert epochs(run) == list(range(6))
    assert run.report().test.accuracy > 0.5
    assert run.report().moved == ()


def test_auto_becomes_a_strategy_and_says_why(trained: Callable[..., RunFolder]) -> None:
    run = trained(strategy="auto", epochs=2, label_smoothing=0.1)
    spec = run.spec()
    assert spec.chosen_by == "auto"
    row = strategy(spec.strategy)
    assert spec.reason
    assert any(spec.reason in message and row.title in message for message in notices(run))
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
    before, after = losses(first.events()[0]), losses(events)
    # The loss before the first step was computed with more pictures at once, which on some processors changes its last digits.
    assert before[0] == pytest.approx(after[0], rel=1e-6)
    assert before[1:] == after[1:]


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


FEATURES, LABELS = load_digits(return_X_y=True)
FEATURES, LABELS = FEATURES[:300].astype(np.float32), LABELS[:300].astype(np.int64)
SPLITS = np.array(["train", "train", "train", "val", "test"])[np.arange(300) // 10 % 5]


def _features(pixels: object) -> Generator[Event, None, np.ndarray]:
    return FEATURES
    yield


def _stand_in(name: str = "feature_extraction", groups: np.ndarray | None = None, own_splits: bool = False) -> Any:
    return SimpleNamespace(
        features=_features,
        spec=SimpleNamespace(solver="logistic", device="cpu", recipe=Recipe()),
        strategy=strategy(name),
        manifest=SimpleNamespace(own_splits=own_splits),
        network=None,
        weights=SimpleNamespace(name="ImageNet"),
        cache=None,
        labels=LABELS,
        classes=tuple("0123456789"),
        groups=np.arange(300) if groups is None else groups,
        one_moment=(),
        rows=lambda *splits: np.flatnonzero(np.isin(SPLITS, splits)),
    )


def _by_validation() -> np.ndarray:
    train, val = (np.flatnonzero(part == SPLITS) for part in ("train", "val"))
    return finish(fit_logistic(FEATURES, LABELS, train, val, classes=10))[0].weight


def _head(stand_in: Any) -> Any:
    return finish(fitted_head(stand_in, np.zeros(0, dtype=np.uint8)))[0]


def test_a_head_alone_is_cross_validated_over_all_that_is_not_the_test_and_a_split_of_our_own_as_a_whole() -> None:
    ours, theirs = _head(_stand_in()), _head(_stand_in(own_splits=True))
    assert np.array_equal(ours.out_of_fold.rows, np.flatnonzero(SPLITS != "test"))
    assert not np.array_equal(ours.head.weight, _by_validation())
    assert ours.out_of_fold.nested.shape == (300, 10)
    assert theirs.out_of_fold.nested is None
    assert theirs.out_of_fold.logits.shape == ours.out_of_fold.logits.shape


@pytest.mark.parametrize(
    ("stand_in", "in_memory"),
    [
        (_stand_in("lp_ft"), find_head.IN_MEMORY),
        (_stand_in(groups=np.where(LABELS == 3, 500, np.arange(300))), find_head.IN_MEMORY),
        (_stand_in(), 1000),
    ],
    ids=["what training starts from", "a class of one group", "features beyond the memory"],
)
def test_a_head_that_is_not_cross_validated_has_seen_no_validation_picture(
    stand_in: Any, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_head, "IN_MEMORY", in_memory)
    found = _head(stand_in)
    assert found.out_of_fold is None
    assert np.array_equal(found.head.weight, _by_validation())
