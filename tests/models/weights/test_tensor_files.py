"""Weights files of any format become tensors; what could run code is refused; what does not fit is said in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.models.conftest import result_of
from tl_core.errors import DownloadFailed
from tl_core.models.build import build
from tl_core.models.registry import network
from tl_core.models.weights.obtain import fetch
from tl_core.models.weights.tensor_files import read_tensors

ROW = network("squeezenet1_1")


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return build(ROW, weights=None, classes=1000, seed=5).tensors()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("GRAFT_WEIGHTS_DIR", str(tmp_path))
    return tmp_path


def loaded() -> dict[str, Tensor]:
    _, file = result_of(fetch(ROW))
    return build(ROW, weights=ROW.default_weights, weights_file=file, classes=3).tensors(head=False)


@pytest.mark.parametrize("form", ["safetensors", "state dict", "training program"])
def test_an_operators_file_becomes_the_backbone(own: Path, tensors: dict[str, Tensor], form: str) -> None:
    if form == "safetensors":
        save_file(tensors, own / "squeezenet1_1.safetensors")
    else:
        what = tensors if form == "state dict" else {"epoch": 3, "state_dict": tensors, "optimizer": {"lr": 0.1}}
        torch.save(what, own / "squeezenet1_1.pth")
    found = loaded()
    assert all(torch.equal(value, tensors[name]) for name, value in found.items())


def test_a_head_for_other_classes_is_no_hindrance(own: Path, tensors: dict[str, Tensor]) -> None:
    bare = {name: value for name, value in tensors.items() if not name.startswith(f"{ROW.head}.")}
    other = {**bare, f"{ROW.head}.weight": torch.zeros(5, 512, 1, 1), f"{ROW.head}.more": torch.zeros(1)}
    for given in (bare, other):
        save_file(given, own / "squeezenet1_1.safetensors")
        assert all(torch.equal(value, tensors[name]) for name, value in loaded().items())


def test_what_does_not_fit_is_said(own: Path, tensors: dict[str, Tensor]) -> None:
    name = "features.0.weight"
    for change, words in (
        ({name: torch.zeros(64, 3, 5, 5)}, rf"{name} is \(64, 3, 5, 5\), \(64, 3, 3, 3\) is needed"),
        ({"extra.weight": torch.zeros(2)}, "extra.weight is not one of its tensors"),
    ):
        save_file({**tensors, **change}, own / "squeezenet1_1.safetensors")
        with pytest.raises(DownloadFailed, match=f"does not fit squeezenet1_1: {words}"):
            loaded()
    save_file({other: value for other, value in tensors.items() if other != name}, own / "squeezenet1_1.safetensors")
    with pytest.raises(DownloadFailed, match=f"{name} is missing"):
        loaded()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_hostile_pickle_in_the_operators_folder_is_not_run(own: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (own / "sprung",)  # type: ignore[return-value]

    torch.save({"features.0.weight": Trap()}, own / "squeezenet1_1.pth")
    with pytest.raises(DownloadFailed, match=r"squeezenet1_1\.pth .*was not opened"):
        loaded()
    assert not (own / "sprung").exists()


@pytest.mark.parametrize("content", [b"", b'\x10\0\0\0\0\0\0\0{"x": 12345678}', b"{}", b"PK\x03\x04 no zip"])
def test_a_damaged_weights_file_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(DownloadFailed, match=r"w\.safetensors"):
        read_tensors(tmp_path / "w.safetensors")


def test_safetensors_are_never_taken_in_order(tmp_path: Path) -> None:
    """The embedded network's file names its tensors otherwise and counts on their order, which safetensors do not keep."""
    lite0 = network("efficientnet_lite0")
    own = build(lite0, weights=None, classes=1000, seed=5).tensors()
    save_file(own, tmp_path / "own.safetensors")
    built = build(lite0, weights="IMAGENET1K", weights_file=tmp_path / "own.safetensors", classes=2).tensors(head=False)
    assert all(torch.equal(value, own[name]) for name, value in built.items())
    save_file({f"other.{name}": value for name, value in own.items()}, tmp_path / "other.safetensors")
    with pytest.raises(DownloadFailed, match="does not fit"):
        build(lite0, weights="IMAGENET1K", weights_file=tmp_path / "other.safetensors", classes=2)


def test_a_file_without_tensors_is_refused_before_timm_takes_it_for_a_wish_to_download(tmp_path: Path) -> None:
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(DownloadFailed, match="does not hold a network's tensors"):
        read_tensors(tmp_path / "empty.safetensors")
