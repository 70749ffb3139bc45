"""The families of timm's networks, one row each. Data only: see `tl_core.models.families.family` for what the fields mean.

A network of timm that is in no family gets its layout from `tl_core.models.metadata.discovery`, in the same words.
"""

from __future__ import annotations

from tl_core.models.families.family import Family, Stage, stages

OPTIONS: tuple[tuple[str, object], ...] = (("num_classes", 1000),)
"""With a head, also where the weights have none or another one: what a network has below it is the same."""
ANY_SIZE: tuple[tuple[str, object], ...] = (("dynamic_img_size", True), *OPTIONS)
"""Positions are resampled to the size of the pictures: the weights' own, of whatever size, load as they are."""


def _vit(
    name: str,
    networks: tuple[str, ...],
    *,
    stem: str,
    rope: bool = False,
    pool: str = "",
    prefix_tokens: int,
    linear_on_pooled: bool = False,
) -> Family:
    """Twelve blocks, a stage each, as layer-wise learning rates need it; the last norm belongs to the last.

    `stem` and `pool` name the parameters and modules that lie before and after the blocks.
    """
    kind = "@rope_block:" if rope else ""
    layers: list[tuple[str, ...]] = [(f"{kind}blocks.{number}",) for number in range(12)]
    layers[-1] = (*layers[-1], "norm")
    return Family(
        name=name,
        source="timm",
        networks=networks,
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


TIMM: tuple[Family, ...] = (
    Family(
        name="efficientnet_lite",
        source="timm",
        networks=("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2"),
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
        options=OPTIONS,
    ),
    Family(
        name="mobilenet_v4",
        source="timm",
        networks=("mobilenetv4_conv_small", "mobilenetv4_conv_medium"),
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
        options=OPTIONS,
    ),
    Family(
        name="convnext_v2",
        source="timm",
        networks=("convnextv2_atto", "convnextv2_nano", "convnextv2_tiny"),
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
        batch_norm=False,
        options=OPTIONS,
    ),
    _vit(
        "dinov2",
        ("vit_small_patch14_dinov2", "vit_base_patch14_dinov2"),
        stem="cls_token,pos_embed,patch_embed",
        prefix_tokens=1,
    ),
    _vit(
        "dinov3",
        ("vit_small_patch16_dinov3", "vit_base_patch16_dinov3"),
        stem="cls_token,reg_token,patch_embed",
        rope=True,
        prefix_tokens=5,
        linear_on_pooled=True,
    ),
    _vit(
        "clip",
        ("vit_base_patch32_clip_224", "vit_base_patch16_clip_224"),
        stem="cls_token,pos_embed,patch_embed,norm_pre",
        prefix_tokens=1,
    ),
    _vit(
        "siglip",
        ("vit_base_patch16_siglip_224",),
        stem="pos_embed,patch_embed",
        pool="attn_pool",
        prefix_tokens=0,
    ),
    _vit(
        "eva02",
        ("eva02_tiny_patch14_336", "eva02_small_patch14_336"),
        stem="cls_token,pos_embed,patch_embed",
        rope=True,
        pool="fc_norm",
        prefix_tokens=1,
    ),
    _vit(
        "deit",
        ("deit_tiny_patch16_224",),
        stem="cls_token,pos_embed,patch_embed",
        prefix_tokens=1,
    ),
)
