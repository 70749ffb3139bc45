"""Rows of networks of timm that are in no table, made when a user asks for one by name. Needs torch and timm.

How such a network is taken apart into stages, tail and head is found by trying three ways, the finest first: tokens and blocks (vision
transformers), the network's own children one after the other (most convolutional networks), and two halves, features and pooling,
which every network of timm has. A way is used only if its parts hold every parameter exactly once and have the same output as the
network.
"""

import difflib
import math
import warnings
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Any, cast

import timm
import torch
from timm.models import get_arch_pretrained_cfgs
from torch import Tensor, nn

from tl_core import settings
from tl_core.documents.events import Event, StageStarted
from tl_core.errors import ModelError, UnknownName
from tl_core.models.build import Parts, take_apart
from tl_core.models.families.family import DEPTHWISE, FLATTEN, Auxiliary, Family, MapLayout, Stage
from tl_core.models.families.timm import OPTIONS
from tl_core.models.metadata.rows import counted, meta_network, weights_row
from tl_core.models.registry import Network, check_name, keep

SUGGESTIONS = 5

TOLERANCE = 1e-4
"""Largest difference from the network's own embedding, as a fraction of its largest value."""
CONTAINERS = ("stages", "blocks", "layers", "features", "body")
"""timm's names of the child that contains all stages of a network."""
Division = tuple[tuple[Stage, ...], tuple[str, ...]]
"""The stages and the tail."""


def describe_network(name: str) -> Generator[Event, None, Network]:
    """The row of timm's network `name`, which is also added to the store, where `registry.network` finds it.

    Raises:
        SpecError: `name` cannot be the name of a network.
        UnknownName: timm has no such network; the message lists similar names.
        ModelError: the network cannot be used here, or has no weights.
        DiskFull: no space is left.
    """
    yield StageStarted(stage="preparing", title=f"Looking at timm's {name}")
    network = describe(name)
    keep(network)
    return network


def describe(name: str) -> Network:
    """The row of timm's network `name`, which may name the default set of weights, as in `resnet26t.ra2_in1k`.

    It is made from timm's metadata and from the layout that `find_layout` finds. Raises as `describe_network`.
    """
    check_name(name)
    builder, _, wanted = name.partition(".")
    tags = _tags(builder, wanted)
    config = timm.get_pretrained_cfg(f"{builder}.{tags[0]}" if tags[0] else builder)
    size = config.input_size[-1]
    if tuple(config.input_size) != (3, size, size):
        raise ModelError(f"timm's {name} takes pictures of {config.input_size}, not squares in three colours.")
    family = _family(f"{builder}.{wanted}" if wanted else builder, builder, size, fixed=config.fixed_input_size)
    shown = f"{builder}.{tags[0]}" if wanted else builder
    try:
        with warnings.catch_warnings(action="ignore"):
            measured = counted(shown, family, size)
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        raise ModelError(f"timm's {name} cannot be measured here ({error}).") from error
    rows = []
    for tag in tags:
        try:
            rows.append(weights_row(builder, tag, sum(measured["stage_parameters"]), measured["embedding_size"]))
        except ModelError:
            if tag == wanted or len(tags) == 1:
                raise
    if not rows:
        raise ModelError(f"timm names no file of weights for {name} that can be read here.")
    return Network(
        name=name,
        builder=shown,
        family=family.name,
        source="timm",
        head=family.head,
        stages=family.stage_names,
        weights=tuple(rows),
        default_weights=rows[0].name,
        own_layout=family,
        **measured,
    )


def _tags(builder: str, wanted: str) -> list[str]:
    """timm's names of the sets of weights of `builder` that fit one network: `wanted`, else timm's default, first."""
    if not timm.is_model(builder):
        raise UnknownName(_no_such("network", builder, timm.list_models()))
    configs = {full.partition(".")[2]: config for full, config in get_arch_pretrained_cfgs(builder).items()}
    usable = [tag for tag, config in configs.items() if config.has_weights]
    if wanted and wanted not in configs:
        raise UnknownName(
            _no_such("set of weights", f"{builder}.{wanted}", [f"{builder}.{tag}" for tag in usable if tag])
        )
    if not usable or (wanted and wanted not in usable):
        raise ModelError(
            f"timm has no pretrained weights for {builder}{f'.{wanted}' if wanted else ''}, so there is nothing to transfer. "
            "Choose another network."
        )
    default = timm.get_pretrained_cfg(builder).tag or ""
    first = wanted or (default if default in usable else usable[0])
    # There is a position embedding for each patch of the image, so weights of another size belong to another network.
    size = configs[first].input_size if configs[first].fixed_input_size else None
    return [first, *(tag for tag in usable if tag != first and (size is None or configs[tag].input_size == size))]


def _no_such(what: str, name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=SUGGESTIONS, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"timm has no {what} called {name!r}.{hint}"


def _family(full_name: str, builder: str, size: int, *, fixed: bool) -> Family:
    """The layout of the real network; one that takes a `fixed` image size is first built for any size, where timm can do so."""
    architecture = timm.models.model_entrypoint(builder).__module__.rpartition(".")[2]
    options: dict[str, Any] = {"dynamic_img_size": True} if fixed else {}
    try:
        module = _network(full_name, architecture, size, options)
    except TypeError:
        options = {}
        module = _network(full_name, architecture, size, options)
    return find_layout(module, architecture, size, options)


def _network(full_name: str, architecture: str, size: int, options: dict[str, Any]) -> nn.Module:
    sketch = Family(
        name=architecture,
        source="timm",
        stages=(),
        tail=(),
        head="",
        linear_on_pooled=False,
        options=tuple({**dict(OPTIONS), **options}.items()),
    )
    with warnings.catch_warnings(action="ignore"):
        try:
            count = sum(p.numel() for p in meta_network(full_name, sketch, size).parameters())
        except (RuntimeError, NotImplementedError) as error:
            raise ModelError(f"timm's {full_name} cannot be measured here ({error}).") from error
        # Finding the layout takes memory for all of them, and runs the network.
        most = settings.current().network_millions
        if count > most * 1e6:
            raise ModelError(
                f"timm's {full_name} has {count / 1e6:,.0f} million parameters, and a network that is added here may have "
                f"{most:,}. Choose a smaller one."
            )
        return cast(nn.Module, timm.create_model(full_name, pretrained=False, **dict(sketch.options)))


def find_layout(module: nn.Module, architecture: str, image_size: int, options: dict[str, Any]) -> Family:
    """The finest layout that is right for timm's network `module`, which was built with `options`.

    Its parameters are changed and it is run on two random images of `image_size` pixels, so do not use it afterwards.
    `architecture` becomes the name of the family.

    Raises:
        ModelError: the network does not have the methods of timm's classifiers, or no embedding of one vector per image.
    """
    module = module.eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        x = torch.randn(2, 3, image_size, image_size)
        _enliven(module)
        try:
            features = module.forward_features(x)  # type: ignore[operator]
            embedding = module.forward_head(features, pre_logits=True)  # type: ignore[operator]
        except Exception as error:
            raise ModelError(f"timm's {architecture} does not run as a classifier here ({error}).") from error
        if not isinstance(embedding, Tensor) or embedding.ndim != 2:
            raise ModelError(
                f"timm's {architecture} has no embedding of one vector a picture, so it cannot get a head."
            )
        heads = _heads(module, embedding.shape[1])
        attention = any(name.rpartition(".")[2].startswith("attn") for name, _ in module.named_modules())
        frame = Family(
            name=architecture,
            source="timm",
            stages=(),
            tail=(),
            head=heads[0].head,
            linear_on_pooled=False,
            transformer=attention and _mostly_linear(module),
            batch_norm=any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules()),
            auxiliary=heads[1:],
            options=tuple({**dict(OPTIONS), **options}.items()),
        )
        for stages, tail in (
            *_by_tokens(module),
            *_by_children(module, x, features, heads),
            *_by_halves(module, heads),
        ):
            family = _measured(module, x, embedding, replace(frame, stages=stages, tail=tail))
            if family is not None:
                return family
    raise ModelError(f"timm's {architecture} cannot be taken apart into features and a head.")


def _enliven(module: nn.Module) -> None:
    """Give random values to parameters that are all equal at first: else a branch scaled by almost 0 could be left out unnoticed."""
    for parameter in module.parameters():
        if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
            if bool(parameter.flatten()[0] == 0):
                parameter.normal_(std=0.1)
            else:
                parameter.uniform_(0.5, 1.0)


def _heads(module: nn.Module, features: int) -> tuple[Auxiliary, ...]:
    """The classifiers with their paths, the main one first."""
    classifiers = module.get_classifier()  # type: ignore[operator]
    wanted = classifiers if isinstance(classifiers, tuple | list) else (classifiers,)
    paths = {id(part): path for path, part in module.named_modules()}
    return tuple(Auxiliary(head=paths[id(classifier)], features=features) for classifier in wanted)


def _mostly_linear(module: nn.Module) -> bool:
    """Whether more than half of the parameters are weights of linear layers."""
    layers = (part for part in module.modules() if isinstance(part, nn.Linear))
    return sum(part.weight.numel() for part in layers) > 0.5 * sum(p.numel() for p in module.parameters())


def _by_tokens(module: nn.Module) -> Iterator[Division]:
    """The layout of a vision transformer: `patch_embed`, `_pos_embed`, blocks, `norm`."""
    if not all(hasattr(module, name) for name in ("patch_embed", "_pos_embed", "norm_pre", "blocks", "norm")):
        return
    kind = "@rope_block:" if getattr(module, "rope", None) is not None else ""
    blocks = [f"blocks.{number}" for number in range(len(module.blocks))]  # type: ignore[arg-type]
    stem = [name for name, _ in module.named_parameters(recurse=False)]
    stem += [name for name in ("patch_embed", "rope", "norm_pre") if _holds(module, name)]
    pool = [name for name in ("attn_pool", "fc_norm") if _holds(module, name)]
    layers = [Stage(name=f"layer{number}", modules=(f"{kind}{path}",)) for number, path in enumerate(blocks, start=1)]
    layers[-1] = Stage(name=layers[-1].name, modules=(*layers[-1].modules, "norm"))
    yield (Stage(name="patches", modules=(f"@tokens:{','.join(stem)}",)), *layers), (_held("@pool", pool),)


def _by_children(module: nn.Module, x: Tensor, features: Tensor, heads: tuple[Auxiliary, ...]) -> Iterator[Division]:
    """The children one after the other, up to the one whose output is the network's features."""
    below_head = {heads[0].head.partition(".")[0]}
    children = [name for name, _ in module.named_children() if name not in below_head]
    y: Any = x
    for count, name in enumerate(children, start=1):
        try:
            y = module.get_submodule(name)(y)
        except Exception:  # noqa: BLE001 - a module that does not come next may raise anything
            return
        if isinstance(features, Tensor) and isinstance(y, Tensor) and _same(y, features):
            for containers in (CONTAINERS, ()):
                stages = _grouped(module, children[:count], containers)
                yield stages, (_held("@pool", _rest(module, stages, heads)),)
            return


def _by_halves(module: nn.Module, heads: tuple[Auxiliary, ...]) -> Iterator[Division]:
    """Features and pooling as the library divides them; the whole network as one part where the features are several tensors."""
    pooling = {name for name in ("head", "fc_norm", "attn_pool", "pre_logits", "head_drop") if _holds(module, name)}
    for late in (pooling, pooling | {"norm", "conv_head", "norm_head"}):
        body = [name for name in _rest(module, (), heads) if name.partition(".")[0] not in late]
        stages = (Stage(name="body", modules=(_held("@features", body),)),)
        yield stages, (_held("@pool", _rest(module, stages, heads)),)
    whole = (Stage(name="body", modules=(_held("@whole", _rest(module, (), heads)),)),)
    yield whole, (FLATTEN,)


def _grouped(module: nn.Module, children: list[str], containers: tuple[str, ...]) -> tuple[Stage, ...]:
    """Stages made of `children`, with the children of those in `containers` in their place.

    What comes before the first block is the stem. Each block begins a stage; other modules belong to the stage before them.
    """
    units: list[str] = []
    for name in children:
        child = module.get_submodule(name)
        if name in containers and isinstance(child, nn.Sequential) and len(child) > 1:
            units += [f"{name}.{inner}" for inner, _ in child.named_children()]
        else:
            units.append(name)
    sizes = [
        sum(isinstance(part, nn.Conv2d | nn.Linear) for part in module.get_submodule(unit).modules()) for unit in units
    ]
    block = 2 if max(sizes) > 1 else 1
    groups: list[list[str]] = [[]]
    for unit, layers in zip(units, sizes, strict=True):
        if layers >= block and (len(groups) > 1 or groups[0]):
            groups.append([])
        groups[-1].append(unit)
    names = ["stem", *(f"stage{number}" for number in range(1, len(groups)))]
    return tuple(Stage(name=name, modules=tuple(group)) for name, group in zip(names, groups, strict=True))


def _holds(module: nn.Module, name: str) -> bool:
    """Whether the network has parameters at `name`."""
    child = getattr(module, name, None)
    return isinstance(child, nn.Module) and next(child.parameters(), None) is not None


def _held(adapter: str, paths: list[str]) -> str:
    return f"{adapter}:{','.join(paths)}" if paths else adapter


def _rest(module: nn.Module, stages: tuple[Stage, ...], heads: tuple[Auxiliary, ...]) -> list[str]:
    """The shortest paths that together hold all parameters outside stages and heads, in the network's order."""
    sketch = Family(name="", source="timm", stages=stages, tail=(), head="", linear_on_pooled=False)
    taken = {id(p) for _, stage in take_apart(module, sketch).stages for p in stage.parameters()}
    taken |= {id(p) for head in heads for p in module.get_submodule(head.head).parameters()}

    def paths(part: nn.Module, prefix: str) -> Iterator[str]:
        for name, parameter in part.named_parameters(recurse=False):
            if id(parameter) not in taken:
                yield f"{prefix}{name}"
        for name, child in part.named_children():
            parameters = [id(p) for p in child.parameters()]
            if parameters and not taken.intersection(parameters):
                yield f"{prefix}{name}"
            elif parameters:
                yield from paths(child, f"{prefix}{name}.")

    return list(paths(module, ""))


def _measured(module: nn.Module, x: Tensor, embedding: Tensor, family: Family) -> Family | None:
    """`family` with the fields that running it shows; None where the layout is wrong."""
    parts = take_apart(module, family)
    if not _complete(module, parts, family):
        return None
    try:
        last = x
        for _, stage in parts.stages:
            last = stage(last)
            if not isinstance(last, Tensor):
                return None
        pooled_output = parts.tail(last)
    except Exception:  # noqa: BLE001 - modules in a wrong order may raise anything
        return None
    if not _same(pooled_output, embedding):
        return None
    seen = _map_layout(module, last)
    if seen is None:
        return None
    layout, prefix, spatial = seen
    pooled = spatial.mean((2, 3))
    linear = pooled.shape == embedding.shape and _same(pooled, embedding)
    stages = nn.ModuleList(stage for _, stage in parts.stages)
    products = family.transformer or _mostly_linear(stages)
    depthwise = any(part.groups == part.in_channels > 1 for part in stages.modules() if isinstance(part, nn.Conv2d))
    return replace(
        family,
        map_layout=layout,
        prefix_tokens=prefix,
        linear_on_pooled=linear,
        linear_blocks=products and not family.transformer,
        speed=DEPTHWISE if depthwise and not products else None,
    )


def _complete(module: nn.Module, parts: Parts, family: Family) -> bool:
    """Whether stages and tail hold every parameter outside the heads exactly once."""
    held = [id(p) for _, stage in parts.stages for p in stage.parameters()]
    held += [id(p) for p in parts.tail.parameters()]
    heads = [family.head, *(auxiliary.head for auxiliary in family.auxiliary)]
    held += [id(p) for head in heads for p in module.get_submodule(head).parameters()]
    return len(held) == len(set(held)) and set(held) == {id(p) for p in module.parameters()}


def _map_layout(module: nn.Module, last: Tensor) -> tuple[MapLayout, int, Tensor] | None:
    """Layout of the last features, how many tokens belong to no position, and the map (N, K, h, w)."""
    if last.ndim == 4:
        channels = getattr(module, "num_features", last.shape[1])
        if last.shape[3] == channels != last.shape[1]:
            return "channels_last", 0, last.permute(0, 3, 1, 2)
        return "channels_first", 0, last
    if last.ndim != 3:
        return None
    prefix = cast(int, getattr(module, "num_prefix_tokens", 0))
    for count in (prefix, 0, 1, 2):
        side = math.isqrt(max(last.shape[1] - count, 0))
        if side and side * side == last.shape[1] - count:
            return "tokens", count, last[:, count:].transpose(1, 2).reshape(len(last), -1, side, side)
    return None


def _same(output: Tensor, wanted: Tensor) -> bool:
    if output.shape != wanted.shape:
        return False
    return float((output - wanted).abs().max()) <= TOLERANCE * max(float(wanted.abs().max()), 1e-6)
