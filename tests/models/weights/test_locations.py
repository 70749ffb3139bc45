"""Where weights are looked for, in which order, and that asking for all networks reads each folder once."""

from pathlib import Path

import pytest

from tests.models.conftest import result_of
from tl_core.errors import SpecError
from tl_core.models.graphs.export import backbone_key
from tl_core.models.registry import network, networks
from tl_core.models.weights import locations as places
from tl_core.models.weights import obtain as weights
from tl_core.models.weights.locations import own_names, torch_folder
from tl_core.models.weights.obtain import available, fetch, here_now_sentence, where


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setenv("GRAFT_WEIGHTS_DIR", str(folder))
    return folder


def test_a_package_is_before_the_caches_and_they_before_the_operators_folder(own: Path) -> None:
    lite0, resnet = network("efficientnet_lite0"), network("resnet18")
    for row in (lite0, resnet):
        (own / f"{row.name}.safetensors").write_bytes(b"own")
    assert where(lite0) == "package"
    assert where(resnet) == "operator's folder"
    torch_folder().mkdir(parents=True)
    (torch_folder() / resnet.weights_row().file).touch()
    assert where(resnet) == "operator's folder", "an empty file is none"
    (torch_folder() / resnet.weights_row().file).write_bytes(b"torch")
    assert where(resnet) == "torch cache"


@pytest.mark.parametrize(
    ("name", "v1", "v2"),
    [
        ("resnet50.safetensors", False, True),
        ("resnet50.pth", False, True),
        ("resnet50.IMAGENET1K_V1.safetensors", True, False),
        ("resnet50-0676ba61.pth", True, False),
        ("resnet50-11ad3fa6.pth", False, True),
        ("resnet18.safetensors", False, False),
    ],
)
def test_names_in_the_operators_folder(own: Path, name: str, v1: bool, v2: bool) -> None:
    (own / name).write_bytes(b"x")
    row = network("resnet50")
    assert (available(row, "IMAGENET1K_V1"), available(row, "IMAGENET1K_V2")) == (v1, v2)


def test_no_two_sets_share_a_name_in_the_operators_folder() -> None:
    names = [name for row in networks().values() for known in row.weights for name in own_names(row, known)]
    assert len(names) == len(set(names))


def test_a_file_of_the_operators_own_has_a_key_of_its_own(own: Path) -> None:
    row = network("resnet18")
    before = backbone_key(row, None, 224)
    file = own / "resnet18.safetensors"
    file.write_bytes(b"one")
    first = backbone_key(row, None, 224)
    file.write_bytes(b"another")
    assert len({before, first, backbone_key(row, None, 224)}) == 3
    assert result_of(fetch(row)) == ([], file)
    file.unlink()
    assert backbone_key(row, None, 224) == before


def test_an_operators_folder_that_is_none_is_said(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_WEIGHTS_DIR", str(own / "nowhere"))
    with pytest.raises(SpecError, match=r"GRAFT_WEIGHTS_DIR.*nowhere"):
        available(network("resnet18"))


def test_one_sentence_says_what_works_now(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "resnet50.IMAGENET1K_V1.pth").write_bytes(b"x")
    said = here_now_sentence()
    assert said.count(".") == 1
    assert "efficientnet_lite0" in said
    assert "resnet50 (IMAGENET1K_V1)" in said
    monkeypatch.setattr(weights, "MOST_NAMED", 1)
    assert "resnet50" not in here_now_sentence()
    assert "more" in here_now_sentence()
    monkeypatch.setattr(weights, "networks", lambda: {"resnet18": network("resnet18")})
    assert here_now_sentence() == "No pretrained weights are on this machine; any backbone works from scratch."


def test_a_hub_address_that_climbs_out_of_the_cache_is_none() -> None:
    row = network("resnet18").weights_row()
    for path in ("graft/../resolve/main/a.safetensors", "graft/x/resolve/../a", "graft/x/resolve/main/../../a"):
        assert places.hub_file(row.model_copy(update={"url": f"https://huggingface.co/{path}"})) is None
    assert places.hub_file(row.model_copy(update={"url": "https://example.org/a/b/resolve/main/c"})) is None
