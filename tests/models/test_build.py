"""What building promises beside the table's parts (test_table.py): normalisation, seeds, weights files, names of tensors."""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from sklearn.datasets import load_sample_image

from tests.models.conftest import CLASSES
from tl_core.models.build import Backbone, build
from tl_core.models.families.adapters import part
from tl_core.models.graphs.edit import attach_head
from tl_core.models.graphs.from_torch import export_backbone
from tl_core.models.registry import network
from tl_core.models.weights.obtain import find

Maker = Callable[[str], Backbone]
SIZE = 64


def pictures(count: int = 3, size: int = SIZE) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def assert_same_answers(session: onnxruntime.InferenceSession, backbone: Backbone, images: torch.Tensor) -> None:
    logits, embedding, spatial = session.run(["logits", "embedding", "map"], {"images": images.numpy()})
    with torch.no_grad():
        x = backbone.normalise(images)
        expected = [backbone(x), backbone.embed(x), backbone.spatial(x)]
    for given, wanted in zip((logits, embedding, spatial), expected, strict=True):
        assert given.shape == tuple(wanted.shape)
        assert np.abs(given - wanted.numpy()).max() <= 1e-3 * wanted.abs().max()


def test_export_leaves_a_backbone_in_training_as_it_was(tmp_path: Path) -> None:
    backbone = build(network("resnet18"), weights=None, classes=2).train()
    backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    before = copy.deepcopy(backbone.state_dict())
    export_backbone(backbone, SIZE, tmp_path / "backbone.onnx")
    assert backbone.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


@pytest.mark.parametrize("adapter", ["@flatten", "@transform_input", "@vit_tokens", "@class_token"])
def test_a_layout_that_gives_layers_to_an_adapter_that_holds_none_is_refused(adapter: str) -> None:
    with pytest.raises(ValueError, match="'conv1,bn1' would be lost"):
        part(build(network("resnet18"), weights=None, classes=2).module, f"{adapter}:conv1,bn1")


def test_normalised_as_the_weights_say() -> None:
    from torchvision.models import ResNet18_Weights

    backbone = build(network("resnet18"), weights=None, classes=2)
    image = pictures(1, 224)
    preset = ResNet18_Weights.DEFAULT.transforms(resize_size=224, crop_size=224)
    assert torch.allclose(backbone.normalise(image), preset(image.permute(0, 3, 1, 2)), atol=1e-5)


def test_random_weights_take_pictures_like_those_of_the_set_that_is_named() -> None:
    with torch.device("meta"):
        default = build(network("vit_b_16"), weights=None, classes=2)
        large = build(network("vit_b_16"), weights=None, classes=2, like="IMAGENET1K_SWAG_E2E_V1")
        assert large(torch.empty(1, 3, 384, 384)).shape == default(torch.empty(1, 3, 224, 224)).shape == (1, 2)


def test_the_same_seed_gives_the_same_network_and_no_global_state_moves() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second, third = (build(network("resnet18"), weights=None, classes=3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    one, two, three = first.tensors(), second.tensors(), third.tensors()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["fc.weight"], three["fc.weight"])
    assert not torch.equal(one["conv1.weight"], three["conv1.weight"])


def test_tensors_load_into_the_librarys_own_network(random_backbone: Maker, tmp_path: Path) -> None:
    import torchvision
    from safetensors.torch import load_file as load_tensors
    from safetensors.torch import save_file

    backbone = random_backbone("mobilenet_v3_large")
    save_file(backbone.tensors(), tmp_path / "model.safetensors")
    plain = torchvision.models.mobilenet_v3_large(num_classes=CLASSES).eval()
    plain.load_state_dict(load_tensors(tmp_path / "model.safetensors"))
    with torch.no_grad():
        x = backbone.normalise(pictures(2))
        assert torch.allclose(plain(x), backbone(x), rtol=1e-4, atol=1e-5)


def test_the_embedded_weights_know_a_palace_and_a_daisy(lite0: tuple[object, Path], tmp_path: Path) -> None:
    """The photos that ship with scikit-learn, classes 698 and 985 of ImageNet, cropped as ImageNet's are."""
    row = network("efficientnet_lite0")
    file = find(row).path
    assert file is not None
    backbone = build(row, weights=row.default_weights, weights_file=file, classes=1000)
    *_, weight, bias = torch.load(file, weights_only=True).values()
    assert backbone.head is not None
    backbone.head.load_state_dict({"weight": weight, "bias": bias})
    attach_head(lite0[1] / "backbone.onnx", weight.numpy(), bias.numpy(), tmp_path / "imagenet.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "imagenet.onnx")
    photos = [
        Image.fromarray(load_sample_image(name)).resize((384, 256), Image.Resampling.BICUBIC).crop((80, 16, 304, 240))
        for name in ("china.jpg", "flower.jpg")
    ]
    images = torch.from_numpy(np.stack([np.asarray(photo) for photo in photos]))
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    assert logits.argmax(1).tolist() == [698, 985]
    assert_same_answers(session, backbone, images)


def test_the_tensors_beside_the_graph_lack_only_the_head(lite0: tuple[object, Path]) -> None:
    backbone = build(network("efficientnet_lite0"), weights=None, classes=2)
    stored = load_file(lite0[1] / "backbone.safetensors")
    assert backbone.tensors().keys() - stored.keys() == {"classifier.weight", "classifier.bias"}
    assert sum(value.size for name, value in stored.items() if name in dict(backbone.module.named_parameters())) == (
        network("efficientnet_lite0").backbone_parameters
    )
