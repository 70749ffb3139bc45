"""Writes backbones.json from the libraries' own metadata: `python -m tl_core.models.metadata.rows` (make registry).

Parameters, multiply-adds, shapes and image sizes are counted on torch's meta device without computing. Needs torch, torchvision and timm,
and takes several minutes. Which networks there are is in the table of families; the licences of
torchvision's weights, which its metadata lack, are here.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from tl_core.disk import write_atomically
from tl_core.errors import ModelError
from tl_core.models.build import Parts, library_network, take_apart
from tl_core.models.families.family import Family
from tl_core.models.families.timm import ACCURACIES, LISTED, Listed, Packaged
from tl_core.models.families.torchvision import TORCHVISION
from tl_core.models.registry import BACKBONES_FILE, FAMILIES, Backbones, Interpolation, Network, WeightsRow
from tl_core.models.weights.locations import HUB

TORCHVISION_LICENCES = {
    None: "BSD-3-Clause",
    "https://github.com/facebookresearch/SWAG/blob/main/LICENSE": "CC-BY-NC-4.0",
}
"""Licences by torchvision's metadata. Where these name none for the weights, it is the licence of the library."""

WITHOUT = {"VGG16_Weights.IMAGENET1K_FEATURES": ("classifier",)}
"""Modules that a set of weights has no values for; only torchvision's documentation says so."""

SWAG = "photos from Instagram by their hashtags, then ImageNet-1k"
"""What Meta's SWAG weights were trained on; only torchvision's documentation says so."""

HUB_FILE = "model.safetensors"
"""Name of timm's files on the hub where its metadata give none."""
TIMM_LICENCES = {
    None: "not stated",
    "unknown": "not stated",
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
}
"""timm's names of licences as SPDX names; others are used as they are."""
CAPTIONS = "pictures with captions"
DATA = {
    "in1k": "ImageNet-1k",
    "in12k": "ImageNet-12k",
    "in21k": "ImageNet-21k",
    "inw21k": "ImageNet-21k",
    "in22k": "ImageNet-22k",
    "lvd142m": "LVD-142M without labels",
    "lvd1689m": "LVD-1689M without labels",
    "sat493m": "SAT-493M without labels",
    "laion2b": f"LAION-2B, {CAPTIONS}",
    "laion400m": f"LAION-400M, {CAPTIONS}",
    "laiona": f"LAION-A, {CAPTIONS}",
    "openai": f"OpenAI's {CAPTIONS}",
    "datacompxl": f"DataComp-XL, {CAPTIONS}",
    "datacomp1b": f"DataComp-1B, {CAPTIONS}",
    "dfn2b": f"DFN-2B, {CAPTIONS}",
    "dfn5b": f"DFN-5B, {CAPTIONS}",
    "dfndr2b": f"DFNDR-2B, {CAPTIONS}",
    "webli": f"WebLI, {CAPTIONS}",
    "metaclip": f"MetaCLIP's {CAPTIONS}",
    "metaclip2": f"MetaCLIP's {CAPTIONS}",
    "merged2b": f"Merged-2B, {CAPTIONS}",
    "yfcc15m": f"YFCC-15M, {CAPTIONS}",
    "yfcc100m": "YFCC-100M",
    "cc12m": f"CC-12M, {CAPTIONS}",
    "jft": "JFT-300M",
    "ig1b": "Instagram-1B by hashtags",
    "swag": "photos from Instagram by their hashtags",
    "seer": "photos from Instagram without labels",
    "sa1b": "SA-1B",
    "m38m": "Merged-38M",
    "m30m": "Merged-30M",
}
"""Data sets by the words in timm's tags. A tag strings together what weights were trained on: `fcmae_ft_in22k_in1k` means ImageNet-1k
without labels, then ImageNet-22k, then ImageNet-1k."""
SELF_TAUGHT = ("fcmae", "mim", "mae", "dino", "ijepa")
"""Words in timm's tags for self-supervised training; where the tag names no data, it was done on ImageNet-1k."""


def collect() -> Backbones:
    """The whole table, made from the installed libraries; the default network first."""
    return Backbones(networks=(*timm_networks(), *torchvision_networks()))


def torchvision_networks() -> Iterator[Network]:
    """The rows of all networks of torchvision that are offered."""
    for family in TORCHVISION:
        for builder in family.networks:
            yield torchvision_network(builder, family)


def torchvision_network(builder: str, family: Family) -> Network:
    """The row of one network, for the image size of its default weights."""
    from torchvision.models import get_model_weights

    sets, default = torchvision_weights(builder)
    size = next(weights.input_size for weights in sets if weights.name == default)
    return Network(
        name=builder,
        builder=builder,
        family=family.name,
        source=family.source,
        head=family.head,
        stages=family.stage_names,
        weights=sets,
        default_weights=default,
        weights_class=get_model_weights(builder).__name__,
        **counted(builder, family, size),
    )


def torchvision_weights(builder: str) -> tuple[tuple[WeightsRow, ...], str]:
    """Every set of weights of a network, and the name of the library's default set."""
    from torchvision.models import get_model_weights

    enum = get_model_weights(builder)
    return tuple(_weights(member) for member in enum), str(enum.DEFAULT.name)


def _weights(member: Any) -> WeightsRow:
    preset = member.transforms()
    file = member.url.rsplit("/", 1)[1]
    digits = re.search(r"-([0-9a-f]{8,})\.pth$", file)
    if digits is None:
        raise ValueError(f"{file} carries no hash in its name.")
    accuracy = member.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    return WeightsRow(
        name=member.name,
        trained_on=SWAG if "SWAG" in member.name else "ImageNet-1k",
        url=member.url,
        package=None,
        file=file,
        sha256=digits[1],
        download_bytes=round(member.meta["_file_size"] * 2**20),
        tensors="named",
        input_size=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
        imagenet_accuracy=None if math.isnan(accuracy) else round(accuracy / 100, 5),
        without=WITHOUT.get(str(member), ()),
        licence=TORCHVISION_LICENCES[member.meta.get("license")],
    )


def write(table: Backbones, path: Path) -> None:
    """Write `table` to `path` as JSON with one network per line."""
    rows = ",\n".join(json.dumps(each.model_dump(mode="json"), ensure_ascii=False) for each in table.networks)
    write_atomically(path, f'{{"schema_version": {table.schema_version}, "networks": [\n{rows}\n]}}\n'.encode())


def timm_networks() -> Iterator[Network]:
    """The rows of all networks of timm that are offered."""
    for listed in LISTED:
        yield timm_network(listed, FAMILIES[listed.family])


def timm_network(listed: Listed, family: Family) -> Network:
    """The row of one network, for the image size at which it is offered."""
    size = listed.image_size or config_of(listed.builder, listed.tags[0] if listed.tags else "").input_size[-1]
    measured = counted(listed.builder, family, size)
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
    """timm's metadata of one set of weights; of the default set where `tag` is empty."""
    import timm

    return timm.get_pretrained_cfg(f"{builder}.{tag}" if tag else builder)


def weights_row(builder: str, tag: str, below: int, features: int, image_size: int | None = None) -> WeightsRow:
    """The set of weights `tag` of the network `builder`, which has `below` parameters without its head, whose input is `features` wide.

    Raises:
        ModelError: timm names no file with its tensors by name.
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
        # Four bytes per parameter; the server states the exact size.
        download_bytes=4 * (below + config.num_classes * (features + 1)),
        tensors="named",
        input_size=image_size or config.input_size[-1],
        mean=tuple(config.mean),
        std=tuple(config.std),
        interpolation=cast(Interpolation, config.interpolation),
        imagenet_accuracy=ACCURACIES.get(f"{builder}.{tag}"),
        licence=TIMM_LICENCES.get(config.license, config.license),
    )


def _source(builder: str, tag: str, config: Any) -> tuple[str, str]:
    """Address of the file, and the first digits of its hash where its name has them; the hub states the hash at download."""
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


def trained_on(tag: str | None) -> str:
    """What weights with timm's `tag` were trained on, in words and in order; or that timm does not state it."""
    before, _, after = (tag or "").partition("_ft_")
    first = _data(before)
    if any(word in SELF_TAUGHT for word in before.split("_")):
        learned = first or ["ImageNet-1k"]
        first = [f"{learned[0]} without labels", *learned[1:]]
    if before and after and not first:
        first = [f"what timm's tag calls {before!r}"]
    steps = [*first, *_data(after)]
    if steps:
        return ", then ".join(steps)
    return f"not stated by timm (its tag is {tag})" if tag else "not stated by timm"


def _data(words: str) -> list[str]:
    # Older tags join two: in22ft1k.
    spelled = re.sub(r"\bin(\d+)k?ft(\d+)k\b", r"in\1k_in\2k", words.replace("_", " ")).replace("_", " ")
    return [DATA[word] for word in spelled.split() if word in DATA]


if __name__ == "__main__":
    write(collect(), BACKBONES_FILE)


IMAGENET_CLASSES = 1000
STEPS = (1, 2, 4, 7, 8, 14, 16, 28, 32)
"""Steps between image sizes that are tried, in pixels; a network that takes none of them takes one size only."""


class _EmptyOnMeta(TorchFunctionMode):
    """Creates parameters without memory. `torch.device("meta")` would also affect RegNet's computation of its own widths."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def meta_network(builder: str, family: Family, image_size: int, **options: Any) -> nn.Module:
    """The library's network without values, in eval mode: it takes no memory and is made in milliseconds."""
    with _EmptyOnMeta():
        module = library_network(builder, family, image_size, **options)
    return module.to("meta").eval()


def counted(builder: str, family: Family, image_size: int) -> dict[str, Any]:
    """The fields of a `Network` that can be counted, for images of `image_size` pixels."""
    # Without gradients, since the hooks of the counter do not work on views of parameters.
    module = meta_network(builder, family, image_size).requires_grad_(False)
    parts = take_apart(module, family)
    x = torch.empty(1, 3, image_size, image_size, device="meta")
    gflops, shapes = [], []
    for _, stage in parts.stages:
        x, operations = _run(stage, x)
        gflops.append(operations)
        shapes.append(tuple(x.shape[1:]))
    spatial = _map_shape(family, shapes[-1])
    x, operations = _run(parts.tail, x)
    gflops[-1] += operations
    head = module.get_submodule(family.head)
    counts = [_parameters(stage) for _, stage in parts.stages]
    counts[-1] += _parameters(parts.tail)
    return {
        # A head of several layers is replaced by one layer.
        "parameters": sum(counts)
        + (_parameters(head) if hasattr(head, "weight") else (x.shape[1] + 1) * IMAGENET_CLASSES),
        "gflops": round(sum(gflops) + x.shape[1] * IMAGENET_CLASSES / 1e9, 4),
        "embedding_size": x.shape[1],
        "stage_parameters": tuple(counts),
        "stage_gflops": tuple(round(value, 4) for value in gflops),
        "stage_shapes": tuple(shapes),
        "map_shape": spatial,
        **_image_sizes(parts, image_size, spatial[1]),
    }


def _run(part: nn.Module, x: Tensor) -> tuple[Tensor, float]:
    """The output of `part`, and its multiply-adds in 10^9."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        x = part(x)
    return x, counter.get_total_flops() / 2e9


def _parameters(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


def _map_shape(family: Family, shape: tuple[int, ...]) -> tuple[int, int, int]:
    if family.map_layout == "channels_first":
        return shape[0], shape[1], shape[2]
    if family.map_layout == "channels_last":
        return shape[2], shape[0], shape[1]
    side = round((shape[0] - family.prefix_tokens) ** 0.5)
    return shape[1], side, side


def _image_sizes(parts: Parts, image_size: int, side: int) -> dict[str, Any]:
    """Which image sizes the network takes, found by trying; `side` is that of the last map at `image_size`."""

    def takes(size: int) -> bool:
        x = torch.empty(1, 3, size, size, device="meta")
        try:
            with torch.no_grad():
                for _, stage in parts.stages:
                    x = stage(x)
                parts.tail(x)
        except Exception:  # noqa: BLE001 - layers may refuse a size with any error
            return False
        return True

    step = next((step for step in STEPS if takes(image_size + step) and takes(image_size - step)), None)
    if step is None:
        return {"smallest_size": image_size, "size_step": 1, "fixed_size": True}
    low, high = -(-round(image_size / side) // step), image_size // step
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if takes(middle * step) else (middle + 1, high)
    return {"smallest_size": low * step, "size_step": step, "fixed_size": False}
