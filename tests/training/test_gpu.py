"""What only a CUDA device can show: `pytest -m gpu`. The logic itself is tested on the CPU elsewhere."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.training.tower import frozen_at_first, inputs_after, thaw, tower
from tests.training.twin import TRAIN, best_of, finish, losses, on_pixels, pictures, smaller_batches, spec, train, twin
from tl_core.evaluation.metrics import probabilities
from tl_core.models.build import build
from tl_core.models.graphs.from_torch import export_backbone
from tl_core.models.registry import network
from tl_core.models.weights.obtain import find
from tl_core.runs.train.deliver import AGREEMENT
from tl_core.training import device as device_module
from tl_core.training.frozen.eager import run_eager
from tl_core.training.frozen.onnx_runtime import EMBEDDING, Wanted, embed_rows
from tl_core.training.loop import steps
from tl_core.training.loop.fit import fit
from tl_core.training.loop.inputs import Inputs
from tl_core.training.loop.stages import stage_pulls
from tl_core.training.loop.steps import Trainer
from tl_core.training.strategies.strategies import strategies, strategy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no CUDA device here."),
]
SIZE = 224
DEVICE = "cuda"


@pytest.fixture
def little_memory() -> Iterator[None]:
    """A GPU on which 1 GiB more than now may be taken."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**30) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_lower_precision_learns_and_the_same_spec_gives_the_same_metrics(precision: str) -> None:
    curves = []
    for _ in range(2):
        backbone = twin()
        plan = spec(epochs=8, precision=precision, recipe={"learning_rate": 1e-2, "stage_rate": 1e-3})
        events = train(backbone, on_pixels(backbone, device=DEVICE, level="light"), plan, "full_fine_tuning")
        curves.append(losses(events))
        assert best_of(events).val_loss < curves[-1][0]
    assert curves[0] == curves[1]


def test_a_network_that_is_too_large_for_float16_goes_on_in_float32() -> None:
    curves, told = [], list[str]()
    for precision in ("float16", "float32"):
        backbone = twin()
        backbone.stages[0][1][0][0].register_forward_hook(lambda module, given, out: out * 1e20 / 1e20)
        plan = spec(epochs=3, precision=precision, recipe={"learning_rate": 1e-2, "stage_rate": 1e-3})
        inputs = on_pixels(backbone, device=DEVICE)
        events = train(backbone, inputs, plan, "full_fine_tuning", adapted=lambda _, precision: told.append(precision))
        curves.append(losses(events))
    assert told == ["float32"]
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)


def test_pixels_that_are_streamed_train_as_those_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    curves = []
    for share in (0.4, 0.0):
        monkeypatch.setattr(device_module, "RESIDENT_SHARE", share)
        backbone, plan = twin(), spec(epochs=3, recipe={"learning_rate": 1e-2, "stage_rate": 1e-3})
        inputs = on_pixels(backbone, device=DEVICE, level="light")
        curves.append(losses(train(backbone, inputs, plan, "full_fine_tuning")))
    assert curves[0] == curves[1]


def test_features_are_those_of_the_processor(tmp_path: Path) -> None:
    row = network("efficientnet_lite0")
    pixels = np.random.default_rng(0).integers(0, 256, (32, SIZE, SIZE, 3), dtype=np.uint8)
    found = {}
    for device in ("cpu", "cuda"):
        backbone = build(
            row, weights=row.default_weights, weights_file=find(row, row.default_weights).path, classes=None
        )
        finish(run_eager(backbone, 0, device, [Wanted(EMBEDDING, tmp_path / device, np.float32)], pixels))
        found[device] = np.load(tmp_path / device)
    assert np.abs(found["cpu"] - found["cuda"]).max() < 1e-3 * np.abs(found["cpu"]).max()


@pytest.fixture
def tf32() -> Iterator[None]:
    """A process in which float32 is computed as TF32 where nobody says otherwise."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize("name", ["resnet50", "convnext_tiny", "vit_b_16"])
def test_the_gpu_answers_pictures_as_the_exported_network_does(name: str, tf32: None, tmp_path: Path) -> None:
    row = network(name)
    backbone = build(row, weights=None, classes=None, seed=0)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (40, SIZE, SIZE, 3), dtype=np.uint8)
    export_backbone(backbone, SIZE, tmp_path / "graph.onnx")
    wanted = embed_rows(tmp_path / "graph.onnx", pixels, np.arange(len(pixels)))
    finish(run_eager(backbone, 0, DEVICE, [Wanted(EMBEDDING, tmp_path / "given.npy", np.float32)], pixels))
    head = generator.normal(size=(10, row.embedding_size)) * 3 / np.linalg.norm(wanted, axis=1).mean()
    given, expected = (probabilities(each @ head.T) for each in (np.load(tmp_path / "given.npy"), wanted))
    assert np.abs(given - expected).max() <= AGREEMENT


def test_pictures_are_answered_in_smaller_batches_where_the_gpu_is_full(tmp_path: Path, little_memory: None) -> None:
    row = network("efficientnet_lite0")
    backbone = build(row, weights=row.default_weights, weights_file=find(row, row.default_weights).path, classes=None)
    few = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3), dtype=np.uint8)
    for name, pixels in (("few", few), ("many", np.tile(few, (256, 1, 1, 1)))):
        finish(run_eager(backbone, 0, DEVICE, [Wanted(EMBEDDING, tmp_path / name, np.float32)], pixels))
    once, many = np.load(tmp_path / "few"), np.load(tmp_path / "many")
    assert len(many) == 2048
    assert np.abs(many - np.tile(once, (256, 1))).max() < 1e-3 * np.abs(once).max()


def test_a_full_gpu_halves_the_micro_batch_and_goes_on(little_memory: None) -> None:
    row = network("efficientnet_lite0")
    images = 256
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (images + 8, SIZE, SIZE, 3), dtype=np.uint8)
    labels = generator.integers(0, 2, images + 8)
    backbone = build(
        row, weights=row.default_weights, weights_file=find(row, row.default_weights).path, classes=2, seed=0
    )
    full = strategy("full_fine_tuning")
    inputs = Inputs.of_pixels(backbone, pixels, frozen=0, device=torch.device("cuda"), level="none")
    plan = spec(epochs=1, batch_size=images, micro_batch=images)
    rows, told = np.arange(images + 8), list[int]()
    _, events = finish(
        fit(
            backbone,
            inputs,
            labels,
            rows[:images],
            rows[images:],
            spec=plan,
            strategy=full,
            frozen=0,
            adapted=lambda micro_batch, precision: told.append(micro_batch),
        )
    )
    assert smaller_batches(events) == told != []


def test_a_gpu_that_is_full_while_weights_move_begins_the_epoch_again(monkeypatch: pytest.MonkeyPatch) -> None:
    real, curves, calls = steps.take_step, [], 0

    def shaken(*given: Any) -> None:
        nonlocal calls
        calls += 1
        real(*given)
        if calls == 3:
            # More than any GPU has.
            torch.empty(2**50, dtype=torch.uint8, device="cuda")

    for take_step, micro_batch in ((real, 4), (shaken, 8)):
        monkeypatch.setattr(steps, "take_step", take_step)
        backbone = twin()
        recipe: dict[str, object] = {"learning_rate": 1e-2, "stage_rate": 1e-3, "ema": 0.9}
        plan = spec(epochs=3, micro_batch=micro_batch, precision="bfloat16", recipe=recipe)
        events = train(backbone, on_pixels(backbone, device=DEVICE, level="light"), plan, "full_fine_tuning")
        curves.append(losses(events))
    assert smaller_batches(events) == [4]
    assert curves[1] == pytest.approx(curves[0], rel=1e-2)


def test_scoring_fills_the_gpu_and_gives_what_the_processor_gives(little_memory: None) -> None:
    row, full = network("efficientnet_lite0"), strategy("full_fine_tuning")
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (700, SIZE, SIZE, 3), dtype=np.uint8)
    labels, scored = generator.integers(0, 2, len(pixels)), {}
    for device in ("cuda", "cpu"):
        backbone = build(
            row, weights=row.default_weights, weights_file=find(row, row.default_weights).path, classes=2, seed=0
        )
        inputs = Inputs.of_pixels(backbone, pixels, frozen=0, device=torch.device(device), level="none")
        trainer = Trainer(backbone, inputs, labels, spec=spec(device=device), strategy=full, frozen=0)
        rows = np.arange(len(pixels) if device == "cuda" else 64)
        _, events = finish(trainer.evaluate(rows))
        if device == "cuda":
            assert trainer._scored.size > trainer.micro_batch
            assert trainer._scored.size == trainer._scored.largest, "the memory was full once"
            finish(trainer.evaluate(rows[:64]))
        assert (trainer.micro_batch, events) == (16, [])
        scored[device] = trainer.scores.loss
    assert scored["cuda"] == pytest.approx(scored["cpu"], abs=1e-2)


@pytest.mark.parametrize("name", [name for name, row in strategies().items() if row.takes_steps])
def test_every_strategy_trains_here_with_everything_that_a_recipe_has(name: str) -> None:
    row, curves = strategy(name), []
    changed = {"mixup": 0.4, "cutmix": 0.4, "ema": 0.5, "label_smoothing": 0.1, "class_weights": True, "patience": 9}
    plan = spec(epochs=4, stages=1, precision="bfloat16", learning_stages=(1,) if row.learns == "one" else None)
    plan = plan.model_copy(update={"recipe": row.recipe.changed(changed)})
    for _ in range(2):
        backbone = tower()
        frozen = frozen_at_first(backbone, name, plan)
        if row.learns == "one":
            pixels = inputs_after(backbone, 0, DEVICE)
            pulls, _ = finish(stage_pulls(backbone, pixels, pictures()[1], TRAIN, spec=plan, strategy=row))
            assert min(pulls) > 0
        inputs, join = inputs_after(backbone, frozen, DEVICE), partial(thaw, backbone, device=DEVICE)
        curves.append(losses(train(backbone, inputs, plan, name, frozen=frozen, thaw=join)))
    assert curves[0] == curves[1]
    assert all(np.isfinite(curves[0]))
