"""Files of weights: those that the libraries publish, with their history (old names, no counters, missing parts), and an operator's own of any
format; what could run code is refused; what does not fit is said in words.
"""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tests.models.conftest import result_of
from tl_core.errors import DownloadFailed
from tl_core.models.build import build, read_tensors
from tl_core.models.graphs.edit import head_of, head_tensors
from tl_core.models.registry import Network, network
from tl_core.models.weights.obtain import fetch


def published(row: Network) -> dict[str, Tensor]:
    return build(row, weights=None, classes=1000, seed=5).tensors()


def reloaded(row: Network, tensors: dict[str, Tensor], folder: Path, seed: int = 0) -> dict[str, Tensor]:
    torch.save(tensors, folder / "w.pth")
    backbone = build(row, weights=row.default_weights, weights_file=folder / "w.pth", classes=3, seed=seed)
    return backbone.tensors(head=False)


def same(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, wanted[name]) for name, value in given.items())


def test_densenets_files_are_older_than_its_names(tmp_path: Path) -> None:
    row = network("densenet121")
    own = published(row)
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2", name): value for name, value in own.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    old = {name: value for name, value in old.items() if not name.endswith("num_batches_tracked")}
    assert same(reloaded(row, old, tmp_path), own)


def test_files_without_batch_norms_counters_load(tmp_path: Path) -> None:
    row = network("shufflenet_v2_x0_5")
    own = published(row)
    old = {name: value for name, value in own.items() if not name.endswith("num_batches_tracked")}
    assert len(old) < len(own)
    assert same(reloaded(row, old, tmp_path), own)
    del old["conv1.1.running_mean"]
    with pytest.raises(DownloadFailed, match=r"conv1\.1\.running_mean is missing"):
        reloaded(row, old, tmp_path)


def test_parts_that_a_file_has_no_values_for_start_at_random(tmp_path: Path) -> None:
    """As VGG16's set of features only, in a smaller network."""
    row = network("mobilenet_v3_small")
    weights = row.weights[0].model_copy(update={"without": ("classifier",)})
    row = row.model_copy(update={"weights": (weights,)})
    own = published(row)
    hollow = {name: value * np.nan if name.startswith("classifier") else value for name, value in own.items()}
    for given in (hollow, {name: value for name, value in own.items() if not name.startswith("classifier")}):
        found = reloaded(row, given, tmp_path)
        assert same({name: value for name, value in found.items() if name.startswith("features")}, own)
        assert found["classifier.0.weight"].isfinite().all()
        assert not torch.equal(found["classifier.0.weight"], own["classifier.0.weight"])
        assert not torch.equal(
            found["classifier.0.weight"], reloaded(row, given, tmp_path, seed=1)["classifier.0.weight"]
        )


def test_auxiliary_classifiers_may_be_missing_and_are_zeros_for_the_new_classes(tmp_path: Path) -> None:
    row = network("googlenet")
    own = published(row)
    assert not own["aux1.fc2.weight"].any()
    bare = {name: value for name, value in own.items() if not name.startswith("aux")}
    found = reloaded(row, bare, tmp_path)
    assert same({name: value for name, value in found.items() if not name.startswith("aux")}, own)
    assert {"aux1.fc2.weight", "aux2.fc2.weight", "fc.weight"}.isdisjoint(found)


@pytest.mark.parametrize("name", ["mnasnet0_5", "squeezenet1_1", "googlenet"])
def test_a_fitted_head_completes_the_librarys_file(name: str) -> None:
    """What a run with frozen features puts together without torch is what the network itself would have written."""
    row = network(name)
    backbone = build(row, weights=None, classes=4, seed=2)
    whole = {key: value.numpy() for key, value in backbone.tensors().items()}
    weight, bias = head_of(row, whole)
    assert (weight.shape, bias.shape) == ((4, row.embedding_size), (4,))
    together = {
        **{key: value.numpy() for key, value in backbone.tensors(head=False).items()},
        **head_tensors(row, weight, bias),
    }
    assert together.keys() == whole.keys()
    assert all(np.array_equal(together[key], whole[key]) for key in whole)
    other = build(row, weights=None, classes=4, seed=3)
    other.load_tensors({key: torch.from_numpy(value) for key, value in together.items()})
    assert same(other.tensors(), backbone.tensors())
    del together[f"{row.head}.bias"]
    with pytest.raises(ValueError, match="bias is missing"):
        other.load_tensors({key: torch.from_numpy(value) for key, value in together.items()})


def test_inception_sees_the_colours_that_its_weights_saw() -> None:
    """The published transforms normalise by ImageNet's values, the weights saw 0.5 and 0.5: white is 1, black is -1."""
    backbone = build(network("inception_v3"), weights=None, classes=2)
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 1, 3)
    first = backbone.stages[0][1][0]
    assert torch.allclose(
        first(backbone.normalise(images)), torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1), atol=1e-5
    )


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

    for save in (torch.save, lambda what, file: file.write_bytes(pickle.dumps(what))):
        save({"features.0.weight": Trap()}, own / "squeezenet1_1.pth")
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
