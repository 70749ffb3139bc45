"""Which device a run gets on this machine, and how it computes there."""

import os
import sys
from pathlib import Path

import pytest

from tests.gpus import L4, T4, Driver, FakeGpu
from tests.runs.conftest import Machine, forget
from tl_core import locks
from tl_core.documents.gpu_card import Card
from tl_core.errors import DeviceError
from tl_core.runs.process import devices

P100 = {"capability": (6, 0), "precisions": []}


def imported(package: Path) -> list[str]:
    """Which cards PyTorch was imported for, as far as the environment says."""
    log = package / "imported"
    return sorted(log.read_text().splitlines()) if log.exists() else []


def test_a_card_is_tried_once_in_a_process_of_its_own_and_the_answer_is_kept(machine: Machine) -> None:
    package = machine({"GPU-1": T4, "GPU-2": L4})
    assert devices.detect_device() == "cuda"
    assert [card.uuid for card in devices.working_cards()] == ["GPU-1", "GPU-2"]
    assert imported(package) == ["GPU-1 PCI_BUS_ID", "GPU-2 PCI_BUS_ID"]
    first = devices.working_cards()[0]
    assert (first.name, first.capability, first.memory_mb) == ("Card 1", (7, 5), 16000.0)
    forget()
    assert devices.working_cards()[0] == first
    assert devices.unusable_gpu() is None
    assert len(imported(package)) == 2


@pytest.mark.parametrize("changed", ["boot", "driver", "torch"])
def test_a_start_of_the_machine_another_driver_or_another_pytorch_make_a_new_trial(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    package = machine({"GPU-1": T4})
    devices.detect_device()
    if changed == "boot":
        monkeypatch.setattr(devices, "boot_id", lambda: "another")
    elif changed == "driver":
        monkeypatch.setattr(sys.modules["pynvml"], "version", "590.1")
    else:
        (package / "version.py").write_text("__version__ = '2.14.0'\ncuda = '13.0'\n")
    forget()
    devices.detect_device()
    assert len(imported(package)) == 2


@pytest.mark.parametrize("has", ["no card", "no CUDA in PyTorch"])
def test_nothing_is_tried_where_the_driver_has_no_card_or_pytorch_was_built_without_cuda(
    machine: Machine, has: str
) -> None:
    package = machine({} if has == "no card" else {"GPU-1": T4}, cuda="13.0" if has == "no card" else None)
    assert devices.detect_device() != "cuda"
    assert imported(package) == []
    said = devices.unusable_gpu()
    assert said is None if has == "no card" else "was installed without CUDA" in str(said)


def test_a_driver_that_is_too_old_leaves_the_processor_and_one_sentence(machine: Machine) -> None:
    reason = "The NVIDIA driver on your system is too old (found version 12020)."
    old = Driver(FakeGpu("GPU-1", "Tesla T4"), version="535.104.05", cuda=12020)
    machine({"GPU-1": {"unseen": reason}}, driver=old)
    assert devices.resolve_device("auto") == devices.devices_here()[0] != "cuda"
    with pytest.raises(DeviceError) as refused:
        devices.resolve_device("cuda")
    said = refused.value.message
    assert said == devices.unusable_gpu()
    for words in ("PyTorch 2.13.0", "Tesla T4", "built for CUDA 13.0", "driver 535.104.05 is too old", "whl/cu126"):
        assert words in said


def test_a_card_for_which_pytorch_has_no_kernels_is_not_used(machine: Machine) -> None:
    machine({"GPU-1": P100})
    assert devices.detect_device() != "cuda"
    assert "older than what it was built for" in str(devices.unusable_gpu())


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ({"dies": True}, "ended with code 11"),
        ({"capability": (9, 0), "precisions": ["float32"], "wrong": ["float32"]}, "its results are wrong"),
        ({"unseen": "CUDA error: system not yet initialized"}, "system not yet initialized"),
    ],
)
def test_whatever_happens_when_a_card_is_tried_is_said_and_it_is_tried_again_after_an_hour(
    machine: Machine, store: Path, card: dict[str, object], said: str
) -> None:
    package = machine({"GPU-1": card})
    assert devices.detect_device() != "cuda"
    assert said in str(devices.unusable_gpu())
    forget()
    devices.detect_device()
    assert len(imported(package)) == 1
    os.utime(store / "gpus" / "GPU-1.json", (0, 0))
    forget()
    devices.detect_device()
    assert len(imported(package)) == 2


def test_a_card_whose_memory_others_have_counts_as_one_of_its_generation_and_is_tried_again(machine: Machine) -> None:
    package = machine({"GPU-1": {**L4, "full": True}})
    assert devices.precision_of("cuda") == "bfloat16"
    forget()
    devices.detect_device()
    assert len(imported(package)) == 2


def test_a_store_that_cannot_be_written_to_keeps_no_answer(machine: Machine, store: Path) -> None:
    machine({"GPU-1": T4})
    store.mkdir()
    (store / "gpus").write_text("a file where the folder should be")
    assert devices.detect_device() == "cuda"


def test_of_mixed_cards_those_that_work_are_used(machine: Machine) -> None:
    machine({"GPU-1": P100, "GPU-2": L4})
    assert [card.uuid for card in devices.working_cards()] == ["GPU-2"]
    assert devices.precision_of("cuda") == "bfloat16"
    assert devices.unusable_gpu() is None


def test_what_is_expected_of_mixed_cards_is_that_of_the_card_that_a_job_would_take(
    machine: Machine, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = {"GPU-1": P100, "GPU-2": {**L4, "memory": 24_000_000_000}, "GPU-3": T4}
    frees = (16.0, 20.0, 7.0)
    named = (FakeGpu(uuid, uuid.replace("GPU", "Card"), free) for uuid, free in zip(cards, frees, strict=True))
    machine(cards, driver=Driver(*named))
    (store / "queue" / "cuda").mkdir(parents=True)

    def expected() -> tuple[str, str, float | None]:
        return devices.machine_of("cuda"), devices.precision_of("cuda"), devices.room_mb("cuda")

    assert devices.cards_differ()
    assert expected() == ("cuda: Card-2", "bfloat16", 20_000.0)
    large, small = devices.working_cards()
    held = [locks.take(devices.place_of(large))]
    assert expected() == ("cuda: Card-3", "float16", 7_000.0)
    held.append(locks.take(devices.place_of(small)))
    assert expected() == ("cuda: Card-3", "float16", 16_000.0), "it waits until the job there has ended"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-2")
    forget()
    assert expected()[:2] == ("cuda: Card-2", "bfloat16"), "in a job it is the job's own"
    locks.release(taken for taken in held if taken is not None)


@pytest.mark.parametrize(
    ("capability", "works", "precision"),
    [
        ((9, 0), ("float32", "bfloat16"), "bfloat16"),
        ((8, 0), ("float32", "bfloat16"), "bfloat16"),
        ((8, 0), ("float32",), "float32"),
        ((7, 5), ("float32", "float16", "bfloat16"), "float16"),
        ((7, 0), ("float32", "float16"), "float16"),
        ((7, 5), ("float32", "bfloat16"), "float32"),
        ((6, 1), ("float32", "float16"), "float32"),
    ],
)
def test_a_gpu_computes_in_the_fastest_precision_that_it_has_in_hardware(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], works: tuple[str, ...], precision: str
) -> None:
    card = Card.model_validate({"uuid": "GPU-1", "capability": capability, "precisions": works})
    monkeypatch.setattr(devices, "working_cards", lambda: (card,))
    assert devices.precision_of("cuda") == precision
