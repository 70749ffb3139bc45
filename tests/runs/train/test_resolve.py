"""What a run leaves open until it runs, and what is made of it where it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tl_core.documents.events import Notice
from tl_core.documents.gpu_card import Card
from tl_core.documents.options import TrainingOptions
from tl_core.documents.spec import Expected
from tl_core.errors import DeviceError, SpecError
from tl_core.runs.process import devices
from tl_core.runs.start.training_spec import setup_of
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.train import resolve
from tl_core.runs.train.estimating import with_estimate
from tl_core.runs.train.plan import Plan
from tl_core.runs.train.resolve import settled
from tl_core.training.strategies.setup import Setup
from tl_core.training.strategies.strategies import strategy


def test_device_precision_and_batch_are_those_of_the_machine_that_runs_it(
    dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    card = Card(uuid="GPU-1", capability=(9, 0), precisions=("float32", "bfloat16"))
    monkeypatch.setattr(devices, "working_cards", lambda: (card,))
    waiting = setup_of(TrainingOptions(strategy="full_fine_tuning", batch_size=96), dataset)
    assert waiting.spec.device == "auto"
    for device in ("cpu", "cuda"):
        monkeypatch.setattr(devices, "detect_device", lambda device=device: device)
        spec = settled(waiting, dataset).spec
        found[spec.device] = (spec.precision, spec.batch_size, spec.micro_batch)
    assert found == {"cpu": ("float32", 96, 16), "cuda": ("bfloat16", 96, 96)}


def test_what_a_run_found_out_is_followed_when_its_spec_is_run_again_on_such_a_machine(
    dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card(uuid="GPU-1", capability=(7, 5), precisions=("float32", "float16"))
    monkeypatch.setattr(devices, "working_cards", lambda: (card,))
    monkeypatch.setattr(devices, "detect_device", lambda: "cuda")
    first = with_estimate(
        settled(setup_of(TrainingOptions(strategy="full_fine_tuning"), dataset), dataset), dataset
    ).spec
    assert (first.precision, first.micro_batch) == ("float16", 32)
    assert first.expected is not None
    found = {"precision": "float32", "micro_batch": 4, "channels_last": True, "views_kept": {1: 0}}
    ran = first.model_copy(update=found)
    assert with_estimate(settled(Setup.of(ran), dataset), dataset).spec == ran
    elsewhere = ran.model_copy(update={"expected": first.expected.model_copy(update={"machine": "cuda: another one"})})
    again = with_estimate(settled(Setup.of(elsewhere), dataset), dataset).spec
    assert (again.precision, again.micro_batch) == ("float16", 32)
    assert again.expected is not None
    assert again.expected.machine == first.expected.machine, "what this run finds out is that of this machine"


def test_a_device_that_is_not_on_the_machine_that_runs_it_is_refused_in_words(
    dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "detect_device", lambda: "cuda")
    asked = setup_of(TrainingOptions(device="cuda"), dataset)
    monkeypatch.setattr(devices, "detect_device", lambda: "cpu")
    with pytest.raises(DeviceError, match="no 'cuda' device here"):
        settled(asked, dataset)


def test_the_default_is_a_strategy_with_a_reason_and_its_own_recipe(
    dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = settled(setup_of(TrainingOptions(device="cpu"), dataset), dataset).spec
    assert (spec.strategy, spec.chosen_by) == ("feature_extraction", "default")
    assert spec.reason
    spec = settled(setup_of(TrainingOptions(device="cpu", solver="adam", epochs=3), dataset), dataset).spec
    assert (spec.strategy, spec.solver, spec.epochs) == ("feature_extraction", "adam", 3)


def test_the_estimate_is_written_once_when_the_run_starts(dataset: DatasetFolder) -> None:
    run = settled(setup_of(TrainingOptions(strategy="lp_ft", device="cpu"), dataset), dataset)
    spec = with_estimate(run, dataset).spec
    assert spec.estimated_seconds is not None
    assert 0 < spec.estimated_seconds[0] < spec.estimated_seconds[1]
    said = Setup.of(spec.model_copy(update={"estimated_seconds": (1.0, 2.0)}))
    assert with_estimate(settled(said, dataset), dataset) == said


def test_auto_waits_for_the_pictures_and_keeps_what_the_user_changed(dataset: DatasetFolder) -> None:
    options = TrainingOptions(strategy="auto", epochs=3, device="cpu", recipe={"weight_decay": 0.3, "ema": 0.9})
    waiting = settled(setup_of(options, dataset), dataset)
    spec = waiting.spec
    assert (spec.strategy, spec.chosen_by, spec.device, spec.estimated_seconds) == ("auto", "auto", "cpu", None)
    for name in ("partial_fine_tuning", "discriminative_lr"):
        found = waiting.trained_as(name, reason="Because.").spec
        assert (found.strategy, found.chosen_by, found.reason, found.epochs) == (name, "auto", "Because.", 3)
        assert found.recipe == strategy(name).recipe.changed({"weight_decay": 0.3, "ema": 0.9})
    own = setup_of(TrainingOptions(strategy="auto", device="cpu"), dataset).trained_as("lp_ft").spec
    assert (own.epochs, own.recipe) == (strategy("lp_ft").epochs, strategy("lp_ft").recipe)
    with pytest.raises(SpecError, match="transformer"):
        settled(waiting.trained_as("lora"), dataset)


def test_a_run_that_takes_the_processor_beside_a_gpu_says_why(
    dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "unusable_gpu", lambda: "The driver is too old.")
    monkeypatch.setattr(resolve, "load_pixels", lambda *pictures, **size: iter(()))
    for device, said in (("auto", ["The driver is too old."]), ("cpu", [])):
        run = RunFolder(tmp_path / device)
        run.write_spec(setup_of(TrainingOptions(device=device), dataset).spec)
        events = list(resolve.prepare(Plan(run)))
        assert [event.message for event in events if isinstance(event, Notice)] == said


@pytest.mark.parametrize(("trained_on", "said"), [("cuda: NVIDIA T4", True), ("cpu: another one, 8 cores", False)])
def test_a_run_that_is_finished_on_another_device_says_so(
    dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained_on: str, said: bool
) -> None:
    monkeypatch.setattr(devices, "detect_device", lambda: "cpu")
    monkeypatch.setattr(resolve, "load_pixels", lambda *pictures, **size: iter(()))
    expected = Expected(machine=trained_on, seconds={}, memory_mb=1)
    was = {"expected": expected, "estimated_seconds": (1.0, 2.0), "precision": "float16"}
    run = RunFolder(tmp_path / "run")
    run.write_spec(setup_of(TrainingOptions(strategy="lp_ft"), dataset).changed(**was).spec)
    events = list(resolve.prepare(Plan(run)))
    assert (
        any("another device (cuda: NVIDIA T4)" in event.message for event in events if isinstance(event, Notice))
        == said
    )
    assert (run.spec().device, run.spec().precision) == ("cpu", "float32")
