"""The lines of Python that the Train page shows are those of the libraries."""

from __future__ import annotations

import pytest

from tl_core.models.registry import network, networks
from tl_core.training.strategies.strategies import strategy
from ui.train_page.in_python import head_line, learning_modules, load_call


@pytest.mark.parametrize(
    ("name", "weights", "call"),
    [
        ("resnet50", "IMAGENET1K_V2", 'torchvision.models.resnet50(weights="IMAGENET1K_V2")'),
        (
            "vit_base_patch16_clip_224",
            "laion2b",
            'timm.create_model("vit_base_patch16_clip_224.laion2b", pretrained=True)',
        ),
        ("efficientnet_lite0", "IMAGENET1K", None),
    ],
)
def test_the_call_that_loads_the_weights_is_the_librarys(name: str, weights: str, call: str | None) -> None:
    assert load_call(network(name), weights) == call


def test_every_set_of_torchvision_is_loaded_by_its_name() -> None:
    models = pytest.importorskip("torchvision").models
    for known in networks().values():
        if known.source == "torchvision":
            sets = models.get_model_weights(known.builder)
            assert all(row.name in sets.__members__ for row in known.weights if row.url)


def test_the_head_and_what_learns_have_the_names_of_the_librarys_network() -> None:
    resnet = network("resnet50")
    assert head_line(resnet, 5) == "`fc`, 2048 -> 5"
    assert learning_modules(resnet, strategy("feature_extraction"), 2) == ["fc"]
    assert learning_modules(resnet, strategy("partial_fine_tuning"), 2) == ["layer3", "layer4", "fc"]
    assert learning_modules(resnet, strategy("lp_ft"), 2)[:2] == ["conv1", "bn1"]
