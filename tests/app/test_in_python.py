"""The lines of Python that the Train page shows are those of the libraries, and the names are those of their networks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.app.conftest import Open, text
from tests.conftest import lend
from tl_core.models.registry import network, networks
from tl_core.runs.store.folders import DatasetFolder
from tl_core.training.strategies.strategies import learning_paths, strategy
from ui.train_page.form import load_lines, parameter_list, with_parameters


@pytest.mark.parametrize(
    ("name", "weights", "lines"),
    [
        (
            "resnet50",
            "IMAGENET1K_V2",
            "from torchvision.models import ResNet50_Weights, resnet50\n\n"
            "network = resnet50(weights=ResNet50_Weights.IMAGENET1K_V2)",
        ),
        (
            "vit_base_patch16_clip_224",
            "laion2b",
            'import timm\n\nnetwork = timm.create_model("vit_base_patch16_clip_224.laion2b", pretrained=True)',
        ),
        ("efficientnet_lite0", "IMAGENET1K", None),
    ],
)
def test_the_lines_that_load_the_weights_are_the_librarys(name: str, weights: str, lines: str | None) -> None:
    assert load_lines(network(name), weights) == lines


def test_torchvision_knows_what_the_lines_name() -> None:
    models = pytest.importorskip("torchvision").models
    for known in networks().values():
        if known.source == "torchvision":
            assert known.weights_class
            sets = getattr(models, known.weights_class)
            assert models.get_model_weights(known.builder) is sets
            assert all(row.name in sets.__members__ for row in known.weights)
        else:
            assert known.weights_class is None


def test_modules_without_parameters_are_left_out_where_the_parameters_are_known() -> None:
    resnet = network("resnet50")
    paths = learning_paths(resnet, strategy("partial_fine_tuning"), 1)
    assert "avgpool" in paths
    assert with_parameters(paths, {"layer4.0.conv1.weight": (), "fc.weight": ()}) == ["layer4", "fc"]


def test_parameters_are_listed_in_columns() -> None:
    assert parameter_list({"fc.weight": (5, 2048), "fc.bias": (5,)}) == "fc.weight  5 x 2048\nfc.bias    5"


def test_each_parameter_that_learns_is_listed_once_the_backbone_was_exported(
    open_page: Open, exported: Callable[[int], Path], store: Path, data: DatasetFolder
) -> None:
    train = "pages/2_Train.py"
    before = open_page(train, dataset=data.id)
    assert "once the backbone was exported" in text(before)
    assert "that may learn, by name" not in text(before)
    lend(exported(224), store / "cache")
    after = open_page(train, dataset=data.id)
    assert "The 2 tensors that may learn, by name" in text(after)
    assert "The solver fits only the parameters of these modules: `classifier`." in text(after)
    after.button(key="choose-partial_fine_tuning").click().run()
    said = text(after)
    assert "once the backbone was exported" not in said
    assert (
        "The optimizer gets only the parameters of these modules: `blocks.5`, `blocks.6`, `conv_head`, `bn2`, `classifier`."
        in said
    )
