"""What an estimate counts as done already."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tl_core.documents.gpu_card import Processor
from tl_core.documents.spec import Expected
from tl_core.hardware import machine
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store, new_token
from tl_core.runs.train import estimating
from tl_core.runs.train.estimating import estimated, with_estimate
from tl_core.training.strategies.setup import Setup


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


def test_an_estimate_reads_a_run_that_has_ended_once(
    pets: DatasetFolder, pets_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    former_run(pets_run, 0, 4.0)
    estimated(Setup.of(pets_run.spec()), pets)
    made: list[object] = []
    monkeypatch.setattr(estimating, "Former", lambda *values: made.append(values))
    estimated(Setup.of(pets_run.spec()), pets)
    assert made == []


def test_the_export_of_the_backbone_counts_where_it_is_still_to_come(
    store: Path, pets: DatasetFolder, pets_run: RunFolder
) -> None:
    before = estimated(Setup.of(pets_run.spec()), pets)
    shutil.rmtree(store / "cache" / "backbones")
    after = estimated(Setup.of(pets_run.spec()), pets)
    assert "backbone" not in before.stages
    assert after.stages["backbone"] > 3
    assert after.low > before.low
