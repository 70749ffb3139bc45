"""timm: one small network of each layout, listed or added by name, with random weights; rows made from timm's own metadata."""

import copy
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.models.conftest import result_of
from tests.models.table import CHECKS, make, make_shallow, pictures
from tl_core.errors import DownloadFailed, ModelError, SpecError, UnknownName
from tl_core.models import registry
from tl_core.models.build import Backbone, build, library_network
from tl_core.models.families.family import Family
from tl_core.models.families.timm import LISTED
from tl_core.models.metadata.rows import trained_on
from tl_core.models.metadata.timm_network import describe, describe_network, find_layout
from tl_core.models.registry import Network, network, networks

TOKENS, ROPE, CONVNEXT, MOBILENET = (
    "deit_tiny_patch16_224",
    "eva02_tiny_patch14_336",
    "convnextv2_atto",
    "mobilenetv4_conv_small",
)
RESNET, HALVES = "resnet10t", "levit_128s"
CHOSEN = (TOKENS, ROPE, CONVNEXT, MOBILENET)

described = cache(describe)


def row_of(name: str) -> Network:
    return network(name) if name in CHOSEN else described(name)


@pytest.fixture(scope="module")
def backbones() -> Iterator[dict[str, Backbone]]:
    """Built once each, as they are asked for."""
    made: dict[str, Backbone] = {}
    yield made
    made.clear()


def backbone_of(backbones: dict[str, Backbone], name: str) -> Backbone:
    if name not in backbones:
        backbone = make(row_of(name))
        with torch.no_grad():
            for module in backbone.modules():
                # timm starts the last norm of a branch at zero, so that nothing before it would learn in the first step.
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.weight.fill_(1.0)
        backbones[name] = backbone
    return backbones[name]


@pytest.mark.parametrize("check", [word for word in CHECKS if word != "ONNX"])
@pytest.mark.parametrize("name", [*CHOSEN, RESNET])
def test_a_network_of_each_layout(name: str, check: str, backbones: dict[str, Backbone]) -> None:
    CHECKS[check](backbone_of(backbones, name))


@pytest.mark.parametrize("check", ["head", "stages", "cuts"])
def test_a_network_seen_as_two_halves(check: str, backbones: dict[str, Backbone]) -> None:
    """LeViT averages two heads, each with a norm of its own, where ours is one linear layer: it answers otherwise than the library."""
    CHECKS[check](backbone_of(backbones, HALVES))


@pytest.mark.parametrize("name", [ROPE, RESNET])
def test_the_exported_graph_answers_as_torch_does(name: str) -> None:
    CHECKS["ONNX"](make_shallow(row_of(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CHOSEN, RESNET, HALVES])
def test_the_exported_graph_of_a_whole_network_answers_as_torch_does(name: str, backbones: dict[str, Backbone]) -> None:
    CHECKS["ONNX"](backbone_of(backbones, name))


@pytest.mark.parametrize(
    "name",
    [TOKENS, MOBILENET, *(pytest.param(name, marks=pytest.mark.slow) for name in (ROPE, CONVNEXT, "convnextv2_tiny"))],
)
def test_the_table_of_families_says_what_is_found_by_looking(name: str) -> None:
    row = network(name)
    size = row.weights_row().input_size
    own = library_network(row.builder, row.layout, size)
    found = find_layout(own, row.family, size, dict(row.layout.options))
    assert found is not None
    if name == CONVNEXT:
        # Unlike the larger ones of its family, it has convolutions of size 1 in place of linear layers; only the estimate tells them apart.
        assert not found.linear_blocks
        found = replace(found, linear_blocks=True)
    assert in_parts(found) == in_parts(row.layout)


def in_parts(family: Family) -> tuple[object, ...]:
    return (
        family.stages,
        family.tail,
        family.head,
        family.map_layout,
        family.prefix_tokens,
        family.linear_on_pooled,
        family.transformer,
        family.linear_blocks,
    )


def test_how_networks_added_by_name_are_taken_apart() -> None:
    assert described(RESNET).stages == ("stem", "stage1", "stage2", "stage3", "stage4")
    assert described(HALVES).stages == ("body",)
    assert described(HALVES).layout.transformer
    assert not described(RESNET).layout.transformer
    assert [entry.head for entry in described(HALVES).layout.auxiliary] == ["head_dist"]


def test_blocks_that_add_almost_nothing_at_first_are_not_left_out() -> None:
    """Scaled by 1e-6 at the start, and given a shared bias: one after the other is not how they run, though it looks so."""
    own = timm.create_model("vit_relpos_small_patch16_224", num_classes=10, depth=2, embed_dim=64, num_heads=2)
    found = find_layout(own, "vision_transformer_relpos", 224, {})
    assert [stage.name for stage in found.stages] == ["body"]
    assert "blocks" in found.stages[0].modules[0]
    assert "blocks" not in found.tail[0]


@pytest.mark.parametrize("name", [ROPE, "vit_small_patch16_dinov3"])
def test_all_blocks_share_one_rotary_grid_and_answer_as_with_one_each(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = network(name)
    kind = type(make_shallow(row).module.rope)
    compute, computed = kind.get_embed, []

    def counted(rope: nn.Module, *given: object, **options: object) -> Tensor:
        computed.append(rope)
        return compute(rope, *given, **options)

    monkeypatch.setattr(kind, "get_embed", counted)
    backbone = make_shallow(row)
    images = backbone.normalise(pictures(row, 2))
    with torch.inference_mode():
        answers = backbone(images)
    assert computed == [backbone.module.rope]

    backbone.train()(images).sum().backward()
    assert len(computed) == 1, "a grid from inference mode serves gradient steps"

    other = copy.deepcopy(backbone).double().eval()
    other(images.double())
    assert computed[1:] == [other.module.rope], "a grid is that of its own network, device and type"

    backbone.eval()
    for rope in (None, partial(compute, backbone.module.rope)):
        if rope is not None:
            monkeypatch.setattr(backbone.module.rope, "get_embed", rope)
        with torch.no_grad():
            assert torch.equal(backbone(images), answers)


def test_positions_are_resampled_so_that_weights_of_another_size_load_unchanged() -> None:
    row = network("vit_small_patch14_dinov2")
    assert row.weights_row().input_size == 224
    with torch.device("meta"):
        own = library_network(row.builder, row.layout, 224)
    assert own.get_parameter("pos_embed").shape == (1, 1 + 37 * 37, 384)
    row.check_image_size(518)
    with pytest.raises(SpecError, match="multiples of 14, such as 224 or 238"):
        row.check_image_size(230)


@pytest.mark.parametrize("listed", [listed.name or listed.builder for listed in LISTED])
def test_every_field_of_a_chosen_row_is_filled(listed: str) -> None:
    check_filled(network(listed))


def check_filled(row: Network) -> None:
    assert row.source == "timm"
    assert row.parameters > 1e6
    assert row.gflops > 0.05
    for weights in row.weights:
        assert weights.url is None or weights.url.startswith("https://huggingface.co/")
        assert weights.url or weights.package
        assert weights.trained_on
        assert weights.licence
        assert len(weights.mean) == len(weights.std) == 3
        assert weights.download_bytes > 3 * row.backbone_parameters
        assert weights.input_size % row.size_step == 0


def test_a_network_added_by_name_is_kept_and_found_by_a_process_without_torch(store: Path) -> None:
    name = f"{RESNET}.c3_in1k"
    with pytest.raises(UnknownName):
        network(name)
    _, row = result_of(describe_network(name))
    check_filled(row)
    assert row.default_weights == "c3_in1k"
    assert network(name) == row == networks([name])[name]
    assert [file.name for file in (store / "networks").iterdir()] == [f"{name}.json"]
    program = (
        f"import sys; from tl_core.models.registry import network; print(network({name!r}).embedding_size);"
        "sys.exit(bool({'torch', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "512"), done.stderr
    backbone = build(network(name), weights=None, classes=3)
    with torch.no_grad():
        assert backbone(backbone.normalise(pictures(row, 1))).shape == (1, 3)
    registry.added_file(name).write_text("{", encoding="utf-8")
    assert name not in networks([name])


def test_a_network_larger_than_the_operator_allows_is_refused_before_it_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def built(*given: object) -> None:
        raise AssertionError("it has taken memory")

    monkeypatch.setattr("tl_core.models.metadata.timm_network.find_layout", built)
    with pytest.raises(ModelError, match=r"has 6,\d{3} million parameters, and a network .* may have 1,000\."):
        describe("vit_7b_patch16_dinov3")
    monkeypatch.setenv("GRAFT_PRESET", "space")
    with pytest.raises(ModelError, match=r"has 6\d\d million parameters, and a network .* may have 350\."):
        describe("convnextv2_huge")


def test_names_that_timm_does_not_have(store: Path) -> None:
    with pytest.raises(UnknownName, match=r"Did you mean .*resnet26t"):
        describe("resnet26tt")
    with pytest.raises(UnknownName, match=r"weights.*resnet26t\.ra2_in1k"):
        describe("resnet26t.ra3_in1k")
    with pytest.raises(ModelError, match="no pretrained weights"):
        describe("botnet50ts_256")
    for wrong in ("../secrets", "a/b", "resnet18.json/..", "", "Resnet18", "resnet18\n", "x" * 200):
        with pytest.raises(SpecError, match="cannot be the name"):
            describe(wrong)
        with pytest.raises(SpecError):
            registry.added_file(wrong)
    assert not store.exists()


def test_weights_are_read_by_name_and_the_rest_of_the_file_left(tmp_path: Path) -> None:
    row = network(TOKENS)
    source = build(row, weights=None, classes=1000, seed=3).tensors()
    extra = {"mask_token": torch.zeros(1, 1), "head.weight": torch.zeros(12, 192), "head.bias": torch.zeros(12)}
    loaded = load(row, {**source, **extra}, tmp_path)
    assert loaded["head.weight"].shape == (4, 192)
    assert all(torch.equal(loaded[name], value) for name, value in source.items() if not name.startswith("head."))
    with pytest.raises(DownloadFailed, match="does not hold its tensors"):
        load(row, {name: value for name, value in source.items() if "blocks.3" not in name}, tmp_path)


def test_weights_of_another_program_are_read_as_timm_reads_them(tmp_path: Path) -> None:
    """EVA's own files call the picture's tower `visual` and its layers otherwise; timm knows their names."""
    row = network(ROPE)
    source = build(row, weights=None, classes=1000, seed=3).tensors()
    foreign = {f"visual.{name}".replace("mlp.fc2", "mlp.w3"): value for name, value in source.items()}
    loaded = load(row, foreign, tmp_path)
    assert torch.equal(loaded["blocks.2.mlp.fc2.weight"], source["blocks.2.mlp.fc2.weight"])
    assert torch.equal(loaded["pos_embed"], source["pos_embed"])


def load(row: Network, tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    save_file(tensors, folder / "model.safetensors")
    return build(row, weights=row.default_weights, weights_file=folder / "model.safetensors", classes=4).tensors()


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("a1_in1k", "ImageNet-1k"),
        ("fcmae_ft_in22k_in1k", "ImageNet-1k without labels, then ImageNet-22k, then ImageNet-1k"),
        ("mim_in22k_ft_in1k", "ImageNet-22k without labels, then ImageNet-1k"),
        ("lvd142m", "LVD-142M without labels"),
        ("laion2b_ft_in12k_in1k", "LAION-2B, pictures with captions, then ImageNet-12k, then ImageNet-1k"),
        ("clip_ft_in1k", "what timm's tag calls 'clip', then ImageNet-1k"),
        ("dino", "ImageNet-1k without labels"),
        ("secret_sauce", "not stated by timm (its tag is secret_sauce)"),
        ("", "not stated by timm"),
    ],
)
def test_what_weights_learned_from_is_read_from_their_tag(tag: str, words: str) -> None:
    assert trained_on(tag) == words
