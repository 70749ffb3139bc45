"""What a run leaves open until it runs, and what is made of it where it runs."""

import shutil
from pathlib import Path

import pytest

from tl_core.documents.events import Notice
from tl_core.documents.gpu_card import Card, Processor
from tl_core.documents.options import TrainingOptions
from tl_core.documents.spec import Expected
from tl_core.errors import DeviceError, SpecError
from tl_core.hardware import machine
from tl_core.runs.process import devices
from tl_core.runs.start.training_spec import setup_of
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store, new_token
from tl_core.runs.train import plan as planning
from tl_core.runs.train.plan import Plan, estimated, settled, with_estimate
from tl_core.training.strategies.strategies import Setup, strategy


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
    found = {"precision": "float32", "micro_batch": 4, "channels_last": True, "views_kept": {1: 0}}
    ran = first.model_copy(update=found)
    assert with_estimate(settled(Setup.of(ran), dataset), dataset).spec == ran
    elsewhere = ran.model_copy(update={"expected": first.expected.model_copy(update={"machine": "cuda: another one"})})
    again = with_estimate(settled(Setup.of(elsewhere), dataset), dataset).spec
    assert (again.precision, again.micro_batch) == ("float16", 32)
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
    monkeypatch.setattr(planning, "unusable_gpu", lambda: "The driver is too old.")
    monkeypatch.setattr(planning, "load_pixels", lambda *pictures, **size: iter(()))
    for device, said in (("auto", ["The driver is too old."]), ("cpu", [])):
        run = RunFolder(tmp_path / device)
        run.write_spec(setup_of(TrainingOptions(device=device), dataset).spec)
        events = list(planning.prepare(Plan(run)))
        assert [event.message for event in events if isinstance(event, Notice)] == said


@pytest.mark.parametrize(("trained_on", "said"), [("cuda: NVIDIA T4", True), ("cpu: another one, 8 cores", False)])
def test_a_run_that_is_finished_on_another_device_says_so(
    dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained_on: str, said: bool
) -> None:
    monkeypatch.setattr(devices, "detect_device", lambda: "cpu")
    monkeypatch.setattr(planning, "load_pixels", lambda *pictures, **size: iter(()))
    expected = Expected(machine=trained_on, seconds={}, memory_mb=1)
    was = {"expected": expected, "estimated_seconds": (1.0, 2.0), "precision": "float16"}
    run = RunFolder(tmp_path / "run")
    run.write_spec(setup_of(TrainingOptions(strategy="lp_ft"), dataset).changed(**was).spec)
    events = list(planning.prepare(Plan(run)))
    assert (
        any("another device (cuda: NVIDIA T4)" in event.message for event in events if isinstance(event, Notice))
        == said
    )
    assert (run.spec().device, run.spec().precision) == ("cpu", "float32")


def forget_what_it_took(run: RunFolder) -> None:
    run.write_spec(run.spec().model_copy(update={"expected": None}))


def former_run(like: RunFolder, number: int, slower: float, **changed: object) -> RunFolder:
    """A run like that one which took `slower` times as long as was expected, in every stage."""
    run = RunFolder(like.path.with_name(f"{number:016}"))
    shutil.copytree(like.path, run.path)
    seconds = {"preparing": 10.0, "features": 20.0, "training": 5.0, "export": 5.0, "evaluation": 5.0}
    expected = Expected.model_validate({"machine": machine("cpu"), "seconds": seconds, "memory_mb": 500.0, **changed})
    run.write_spec(like.spec().model_copy(update={"expected": expected}))
    taken = {stage: slower * value for stage, value in seconds.items()}
    more = {"seconds": {**taken, "total": sum(taken.values())}, "peak_memory_mb": 100.0 * slower}
    status = like.status().model_copy(update=more)
    status.write(run.path / "status.json")
    return run


def test_an_estimate_does_not_tell_that_somebody_else_has_the_same_pictures(
    store: Path, pets: DatasetFolder, pets_run: RunFolder
) -> None:
    forget_what_it_took(pets_run)
    own = estimated(Setup.of(pets_run.spec()), pets)
    other = Store.default().workspace(new_token())
    theirs = DatasetFolder(other.path / "datasets" / pets.id)
    shutil.copytree(pets.path, theirs.path)
    spec = pets_run.spec().model_copy(update={"workspace": other.token})
    told = estimated(Setup.of(spec), theirs)
    assert told.high > own.high

    run = RunFolder(other.path / "runs" / pets_run.id)
    shutil.copytree(pets_run.path, run.path)
    run.write_spec(spec)
    assert estimated(Setup.of(spec), theirs) == own, "the workspace has computed it itself"
    shutil.rmtree(run.path)

    for kind in ("pixels", "features"):
        shutil.rmtree(store / "cache" / kind)
    assert estimated(Setup.of(spec), theirs) == told
    assert estimated(Setup.of(pets_run.spec()), pets) == told


def test_a_former_run_on_a_network_that_is_no_longer_known_does_not_keep_others_from_an_estimate(
    pets: DatasetFolder, pets_run: RunFolder
) -> None:
    spec = pets_run.spec()
    known = estimated(Setup.of(spec), pets)
    former = RunFolder(pets_run.path.with_name("f" * 16))
    shutil.copytree(pets_run.path, former.path)
    former.write_spec(spec.model_copy(update={"backbone": "resnet99"}))
    assert estimated(Setup.of(spec), pets) == known


def test_an_estimate_learns_from_the_latest_runs_of_this_machine(pets: DatasetFolder, pets_run: RunFolder) -> None:
    forget_what_it_took(pets_run)
    spec = pets_run.spec()
    table = estimated(Setup.of(spec), pets)
    for number, slower in enumerate((4.0, 4.0, 200.0)):
        former_run(pets_run, number, slower)
    former_run(pets_run, 3, 0.3, machine="cuda: Another")
    found = estimated(Setup.of(spec), pets)
    assert found.high / table.high == pytest.approx(4, rel=0.01), (
        "the median; one odd run and other machines do not count"
    )
    assert found.low / table.low == pytest.approx(4, rel=0.01)
    assert found.memory_mb / table.memory_mb == pytest.approx(0.8, rel=0.01)
    noted = with_estimate(Setup.of(spec), pets).spec.expected
    assert noted
    assert sum(noted.seconds.values()) < found.low, "what is noted is the sum before it was scaled"


def test_before_a_first_run_the_estimate_goes_by_how_fast_the_device_was_when_it_was_timed(
    store: Path, pets: DatasetFolder, pets_run: RunFolder
) -> None:
    forget_what_it_took(pets_run)
    spec = pets_run.spec()

    def high(here: str, slowness: float) -> float:
        Processor(machine=here, slowness=slowness).write(store / "processor.json")
        return estimated(Setup.of(spec), pets).high

    usual = high(machine("cpu"), 1.0)
    assert high(machine("cpu"), 5.0) == pytest.approx(5 * usual)
    assert high(machine("cpu"), 1e6) == pytest.approx(16 * usual)
    assert high("cpu: Another, 64 cores", 5.0) == usual
    former_run(pets_run, 0, 2.0)
    assert high(machine("cpu"), 5.0) == pytest.approx(2 * usual, rel=0.01), "what runs took tells more"


def test_the_export_of_the_backbone_counts_where_it_is_still_to_come(
    store: Path, pets: DatasetFolder, pets_run: RunFolder
) -> None:
    before = estimated(Setup.of(pets_run.spec()), pets)
    shutil.rmtree(store / "cache" / "backbones")
    after = estimated(Setup.of(pets_run.spec()), pets)
    assert "backbone" not in before.stages
    assert after.stages["backbone"] > 3
    assert after.low > before.low
