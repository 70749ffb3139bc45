"""The table agrees with the libraries and answers the questions that pages ask, without torch."""

import subprocess
import sys

import pytest

from tl_core.documents.options import DEFAULT_NETWORK
from tl_core.errors import SpecError, UnknownName
from tl_core.models.metadata import rows as metadata
from tl_core.models.registry import BACKBONES_FILE, Backbones, network, networks


@pytest.mark.slow
def test_the_file_is_what_the_libraries_say() -> None:
    assert Backbones.read(BACKBONES_FILE) == metadata.collect()


def test_torchvisions_weights_are_what_it_says() -> None:
    """What is measured of each network stands in test_table.py and, where it takes minutes, in the test above."""
    for row in networks().values():
        if row.source == "torchvision":
            assert (row.weights, row.default_weights) == metadata.torchvision_weights(row.builder)


def test_what_only_documentation_says_of_weights() -> None:
    rows = [weights for row in networks().values() if row.source == "torchvision" for weights in row.weights]
    swag = [weights for weights in rows if weights.licence == "CC-BY-NC-4.0"]
    assert len(swag) == 12
    assert all("SWAG" in weights.name for weights in swag)
    features = network("vgg16").weights_row("IMAGENET1K_FEATURES")
    assert (features.imagenet_accuracy, features.without) == (None, ("classifier",))


AUXILIARY = {"inception_v3": 3_326_696}
"""Parameters that torchvision counts and we do not; GoogLeNet's it does not count either."""
POSITIONS = {"squeezenet1_0": 13 * 13, "squeezenet1_1": 13 * 13}
"""Where the library's head runs before the mean, at every position; ours runs once."""


def test_torchvision_counts_the_same_parameters_and_operations() -> None:
    from torchvision.models import get_model_weights

    for row in networks().values():
        if row.source == "torchvision":
            meta = get_model_weights(row.builder)[row.default_weights].meta
            assert row.parameters + AUXILIARY.get(row.name, 0) == meta["num_params"]
            head = row.embedding_size * 1000 / 1e9 * (POSITIONS.get(row.name, 1) - 1)
            assert row.gflops + head == pytest.approx(meta["_ops"], rel=0.01, abs=0.0006), row.name


def test_everything_that_torchvision_ships_the_embedded_one_first() -> None:
    import torchvision
    from torchvision.models import list_models

    rows = [row for row in networks().values() if row.source == "torchvision"]
    assert next(iter(networks())) == DEFAULT_NETWORK
    assert sorted(row.name for row in rows) == list_models(module=torchvision.models)
    assert (len(rows), sum(len(row.weights) for row in rows)) == (80, 115)


@pytest.mark.parametrize("name", list(networks()))
def test_parameters_and_operations_of_a_network_are_the_sum_of_its_stages(name: str) -> None:
    row = network(name)
    bias = 0 if row.name != "maxvit_t" else 1000  # its own head has none
    assert row.backbone_parameters + row.head_parameters(1000) - bias == row.parameters
    assert sum(row.stage_gflops) + row.embedding_size * 1000 / 1e9 == pytest.approx(row.gflops, rel=0.001, abs=0.0005)
    assert len(row.stages) == len(row.stage_parameters) == len(row.stage_shapes) == len(row.layout.stages)
    assert row.stages == row.layout.stage_names
    assert row.weights_row().name == row.default_weights
    for weights in row.weights:
        assert weights.imagenet_accuracy is None or 0.5 < weights.imagenet_accuracy < 0.95
        assert bool(weights.url) != bool(weights.package)


def test_unknown_names_list_the_valid_ones() -> None:
    with pytest.raises(UnknownName, match=r"resnet51.*resnet50"):
        network("resnet51")
    with pytest.raises(UnknownName, match="nearest are: efficientnet_lite0"):
        network("Lite0")
    with pytest.raises(UnknownName, match="IMAGENET1K_V1, IMAGENET1K_V2"):
        network("resnet50").weights_row("V3")


@pytest.mark.parametrize(
    ("name", "smallest"), [("resnet18", 32), ("alexnet", 63), ("inception_v3", 75), ("squeezenet1_0", 21)]
)
def test_a_size_that_is_too_small_is_refused(name: str, smallest: int) -> None:
    network(name).check_image_size(smallest)
    with pytest.raises(SpecError, match=f"{smallest} pixels or more"):
        network(name).check_image_size(smallest - 1)


def test_a_network_of_one_size_takes_that_of_its_weights() -> None:
    row = network("vit_b_16")
    row.check_image_size(224)
    row.check_image_size(384, "IMAGENET1K_SWAG_E2E_V1")
    with pytest.raises(SpecError, match="224 pixels only, not 384"):
        row.check_image_size(384)
    with pytest.raises(SpecError, match="384 pixels only, not 224"):
        row.check_image_size(224, "IMAGENET1K_SWAG_E2E_V1")
    with pytest.raises(SpecError, match="224 pixels only"):
        network("maxvit_t").check_image_size(448)


def test_a_size_between_steps_is_refused() -> None:
    row = network("resnet18").model_copy(update={"size_step": 14, "smallest_size": 28})
    row.check_image_size(224)
    with pytest.raises(SpecError, match="multiples of 14, such as 224 or 238"):
        row.check_image_size(225)


def test_lists_and_locations_need_no_torch() -> None:
    program = (
        "import sys; from tl_core.models import registry; from tl_core.models.weights import obtain; from tl_core.models.graphs import export;"
        "print([obtain.availability(n) for n in registry.networks().values()]);"
        "sys.exit(bool({'torch', 'onnx', 'onnxruntime', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "here now" in done.stdout
