"""The families of torchvision's networks, one row each. Data only; `families.family` explains the fields.

Where the depth of a network changes its module paths, a small function writes the row.
"""

from tl_core.models.families.family import DEPTHWISE, FLATTEN, VIT_TOKENS, Auxiliary, Family, Speed, Stage, stages


def _features(*ranges: tuple[int, int]) -> tuple[tuple[str, ...], ...]:
    """The module paths `features.FIRST` to `features.LAST`, for each range."""
    return tuple(tuple(f"features.{index}" for index in range(first, last + 1)) for first, last in ranges)


def _numbered(first: str, rest: str, *modules: tuple[str, ...]) -> tuple[Stage, ...]:
    """Stages of `modules`: the first is called `first`, the others `rest`1, `rest`2 and so on."""
    names = [first, *(f"{rest}{number}" for number in range(1, len(modules)))]
    return tuple(Stage(name=name, modules=paths) for name, paths in zip(names, modules, strict=True))


def _vgg(name: str, convolutions: tuple[int, ...], norm: bool) -> Family:
    """A VGG with five blocks of so many `convolutions`, each followed by pooling."""
    blocks, index = [], 0
    for count in convolutions:
        end = index + count * (3 if norm else 2)
        blocks.append((index, end))
        index = end + 1
    return Family(
        name=name,
        architecture="vgg",
        source="torchvision",
        networks=(name,),
        stages=tuple(
            Stage(name=f"block{number}", modules=modules) for number, modules in enumerate(_features(*blocks), start=1)
        ),
        tail=("avgpool", FLATTEN, *(f"classifier.{index}" for index in range(6))),
        head="classifier.6",
        linear_on_pooled=False,
        channels_last=("cpu", "cuda"),
        batch_norm=norm,
    )


def _squeezenet(name: str, *ranges: tuple[int, int]) -> Family:
    """A SqueezeNet without the ReLU after its last convolution, so that the mean comes first and logits are linear in the embedding."""
    return Family(
        name=name,
        architecture="squeezenet",
        source="torchvision",
        networks=(name,),
        stages=_numbered("stem", "stage", *_features(*ranges)),
        tail=("classifier.0", "@mean"),
        head="classifier.1",
        head_trailing=(1, 1),
        linear_on_pooled=True,
        channels_last=("cpu",),
        batch_norm=False,
    )


def _mobilenet_v3(name: str, *ranges: tuple[int, int]) -> Family:
    return Family(
        name=name,
        architecture="mobilenet_v3",
        source="torchvision",
        networks=(name,),
        stages=_numbered("stem", "stage", *_features(*ranges)),
        tail=("avgpool", FLATTEN, "classifier.0", "classifier.1", "classifier.2"),
        head="classifier.3",
        linear_on_pooled=False,
        speed=Speed(forward=30.0, step=3.0, late_step=10.0),
        channels_last=("cpu", "cuda"),
    )


def _efficientnet(
    name: str, architecture: str, last: int, networks: tuple[str, ...], speed: Speed | None = None
) -> Family:
    """An EfficientNet; `last` is the number of its last stage of blocks, to which the last convolution belongs."""
    return Family(
        name=name,
        architecture=architecture,
        source="torchvision",
        networks=networks,
        stages=_numbered("stem", "stage", *_features(*((index, index) for index in range(last)), (last, last + 1))),
        tail=("avgpool", FLATTEN, "classifier.0"),
        head="classifier.1",
        linear_on_pooled=True,
        speed=speed,
        channels_last=("cpu", "cuda"),
    )


def _vit(layers: int, networks: tuple[str, ...]) -> Family:
    """A vision transformer; each encoder layer is a stage, so that each can have its own learning rate."""
    encoder: list[tuple[str, ...]] = [(f"encoder.layers.encoder_layer_{index}",) for index in range(layers)]
    encoder[-1] = (*encoder[-1], "encoder.ln")
    return Family(
        name=f"vit_{layers}",
        architecture="vit",
        source="torchvision",
        networks=networks,
        stages=_numbered("patches", "layer", ("conv_proj", VIT_TOKENS, "encoder.dropout"), *encoder),
        tail=("@class_token",),
        head="heads.head",
        linear_on_pooled=False,
        map_layout="tokens",
        prefix_tokens=1,
        transformer=True,
        batch_norm=False,
        size_option="image_size",
    )


def _swin(name: str, networks: tuple[str, ...]) -> Family:
    """A Swin transformer: features are channels last until after the norm; patch merging is the first module of a stage."""
    first, *middle, last = _features((0, 0), (1, 1), (2, 3), (4, 5), (6, 7))
    return Family(
        name=name,
        source="torchvision",
        networks=networks,
        stages=_numbered("patches", "stage", first, *middle, (*last, "norm")),
        tail=("permute", "avgpool", "flatten"),
        head="head",
        linear_on_pooled=True,
        map_layout="channels_last",
        transformer=True,
        batch_norm=False,
    )


TORCHVISION: tuple[Family, ...] = (
    Family(
        name="resnet",
        source="torchvision",
        networks=(
            *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
            *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2"),
        ),
        stages=stages(
            stem=("conv1", "bn1", "relu", "maxpool"),
            layer1=("layer1",),
            layer2=("layer2",),
            layer3=("layer3",),
            layer4=("layer4",),
        ),
        tail=("avgpool", FLATTEN),
        head="fc",
        linear_on_pooled=True,
        speed=Speed(forward=85.0, step=23.0, late_step=23.0),
        channels_last=("cpu", "cuda"),
    ),
    _mobilenet_v3("mobilenet_v3_large", (0, 0), (1, 1), (2, 3), (4, 6), (7, 10), (11, 12), (13, 16)),
    _mobilenet_v3("mobilenet_v3_small", (0, 0), (1, 1), (2, 3), (4, 6), (7, 8), (9, 12)),
    Family(
        name="convnext",
        source="torchvision",
        networks=("convnext_tiny", "convnext_small", "convnext_base", "convnext_large"),
        stages=_numbered("stem", "stage", *_features((0, 0), (1, 1), (2, 3), (4, 5), (6, 7))),
        tail=("avgpool", "classifier.0", "classifier.1"),
        head="classifier.2",
        linear_on_pooled=False,
        pooled_norm="classifier.0",
        linear_blocks=True,
        speed=Speed(forward=53.0, step=15.0, late_step=15.0),
        batch_norm=False,
    ),
    Family(
        name="alexnet",
        source="torchvision",
        networks=("alexnet",),
        stages=tuple(
            Stage(name=f"conv{number}", modules=modules)
            for number, modules in enumerate(_features((0, 2), (3, 5), (6, 7), (8, 9), (10, 12)), start=1)
        ),
        tail=("avgpool", FLATTEN, *(f"classifier.{index}" for index in range(6))),
        head="classifier.6",
        linear_on_pooled=False,
        batch_norm=False,
    ),
    *(
        _vgg(name + suffix, convolutions, bool(suffix))
        for name, convolutions in (
            ("vgg11", (1, 1, 2, 2, 2)),
            ("vgg13", (2, 2, 2, 2, 2)),
            ("vgg16", (2, 2, 3, 3, 3)),
            ("vgg19", (2, 2, 4, 4, 4)),
        )
        for suffix in ("", "_bn")
    ),
    _squeezenet("squeezenet1_0", (0, 2), (3, 5), (6, 10), (11, 12)),
    _squeezenet("squeezenet1_1", (0, 2), (3, 4), (5, 7), (8, 12)),
    Family(
        name="densenet",
        source="torchvision",
        networks=("densenet121", "densenet161", "densenet169", "densenet201"),
        stages=_numbered(
            "stem",
            "block",
            ("features.conv0", "features.norm0", "features.relu0", "features.pool0"),
            ("features.denseblock1",),
            ("features.transition1", "features.denseblock2"),
            ("features.transition2", "features.denseblock3"),
            ("features.transition3", "features.denseblock4", "features.norm5", "@relu"),
        ),
        tail=("@mean",),
        head="classifier",
        linear_on_pooled=True,
        channels_last=("cpu", "cuda"),
        old_names=((r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2"),),
    ),
    Family(
        name="googlenet",
        source="torchvision",
        networks=("googlenet",),
        stages=stages(
            stem=("@transform_input", "conv1", "maxpool1", "conv2", "conv3"),
            inception3=("maxpool2", "inception3a", "inception3b"),
            inception4=("maxpool3", *(f"inception4{letter}" for letter in "abcde")),
            inception5=("maxpool4", "inception5a", "inception5b"),
        ),
        tail=("avgpool", FLATTEN, "dropout"),
        head="fc",
        linear_on_pooled=True,
        channels_last=("cpu",),
        auxiliary=(Auxiliary(head="aux1.fc2", features=1024), Auxiliary(head="aux2.fc2", features=1024)),
        options=(("aux_logits", True), ("init_weights", False)),
    ),
    Family(
        name="inception_v3",
        source="torchvision",
        networks=("inception_v3",),
        stages=stages(
            stem=(
                *("@transform_input", "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1"),
                *("Conv2d_3b_1x1", "Conv2d_4a_3x3"),
            ),
            mixed5=("maxpool2", "Mixed_5b", "Mixed_5c", "Mixed_5d"),
            mixed6=tuple(f"Mixed_6{letter}" for letter in "abcde"),
            mixed7=("Mixed_7a", "Mixed_7b", "Mixed_7c"),
        ),
        tail=("avgpool", "dropout", FLATTEN),
        head="fc",
        linear_on_pooled=True,
        channels_last=("cpu", "cuda"),
        map_places=(37, 32),
        auxiliary=(Auxiliary(head="AuxLogits.fc", features=768),),
        options=(("aux_logits", True), ("init_weights", False)),
    ),
    Family(
        name="mobilenet_v2",
        source="torchvision",
        networks=("mobilenet_v2",),
        stages=_numbered(
            "stem", "stage", *_features((0, 0), (1, 1), (2, 3), (4, 6), (7, 10), (11, 13), (14, 16), (17, 18))
        ),
        tail=("@mean", "classifier.0"),
        head="classifier.1",
        linear_on_pooled=True,
        speed=DEPTHWISE,
        channels_last=("cpu", "cuda"),
    ),
    Family(
        name="mnasnet",
        source="torchvision",
        networks=("mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"),
        stages=_numbered(
            "stem",
            "stage",
            tuple(f"layers.{index}" for index in range(8)),
            *((f"layers.{index}",) for index in range(8, 13)),
            tuple(f"layers.{index}" for index in range(13, 17)),
        ),
        tail=("@mean", "classifier.0"),
        head="classifier.1",
        linear_on_pooled=True,
        speed=DEPTHWISE,
        channels_last=("cpu", "cuda"),
    ),
    Family(
        name="shufflenet_v2",
        source="torchvision",
        networks=("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
        stages=stages(stem=("conv1", "maxpool"), stage2=("stage2",), stage3=("stage3",), stage4=("stage4", "conv5")),
        tail=("@mean",),
        head="fc",
        linear_on_pooled=True,
        speed=DEPTHWISE,
        channels_last=("cpu",),
    ),
    _efficientnet(
        "efficientnet", "efficientnet", 7, tuple(f"efficientnet_b{number}" for number in range(8)), DEPTHWISE
    ),
    _efficientnet("efficientnet_v2_s", "efficientnet_v2", 6, ("efficientnet_v2_s",)),
    _efficientnet("efficientnet_v2", "efficientnet_v2", 7, ("efficientnet_v2_m", "efficientnet_v2_l")),
    Family(
        name="regnet",
        source="torchvision",
        networks=(
            *(f"regnet_x_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")),
            *(f"regnet_y_{size}" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf", "128gf")),
        ),
        stages=_numbered("stem", "block", ("stem",), *((f"trunk_output.block{number}",) for number in range(1, 5))),
        tail=("avgpool", FLATTEN),
        head="fc",
        linear_on_pooled=True,
        channels_last=("cpu",),
    ),
    _vit(12, ("vit_b_16", "vit_b_32")),
    _vit(24, ("vit_l_16", "vit_l_32")),
    _vit(32, ("vit_h_14",)),
    _swin("swin", ("swin_t", "swin_s", "swin_b")),
    _swin("swin_v2", ("swin_v2_t", "swin_v2_s", "swin_v2_b")),
    Family(
        name="maxvit",
        source="torchvision",
        networks=("maxvit_t",),
        stages=_numbered("stem", "block", ("stem",), *((f"blocks.{index}",) for index in range(4))),
        tail=tuple(f"classifier.{index}" for index in range(5)),
        head="classifier.5",
        linear_on_pooled=False,
        transformer=True,
    ),
)
