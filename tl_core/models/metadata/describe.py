"""Rows of networks of timm that are in no table, made when a user asks for one by name. Needs torch and timm."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Generator
from typing import Any

import timm
from timm.models import get_arch_pretrained_cfgs
from torch import nn

from tl_core import settings
from tl_core.documents.events import Event, StageStarted
from tl_core.errors import ModelError, UnknownName
from tl_core.models.families.family import Family
from tl_core.models.families.timm import OPTIONS
from tl_core.models.metadata.counted import counted, meta_network
from tl_core.models.metadata.discovery import find_layout
from tl_core.models.metadata.timm_rows import weights_row
from tl_core.models.registry import Network, check_name, keep

SUGGESTIONS = 5


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

    It is made from timm's metadata and from the layout that `discovery` finds. Raises as `describe_network`.
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
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
    known = {full.partition(".")[2]: config for full, config in get_arch_pretrained_cfgs(builder).items()}
    usable = [tag for tag, config in known.items() if config.has_weights]
    if wanted and wanted not in known:
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
    size = known[first].input_size if known[first].fixed_input_size else None
    return [first, *(tag for tag in usable if tag != first and (size is None or known[tag].input_size == size))]


def _no_such(what: str, name: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=SUGGESTIONS, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"timm has no {what} called {name!r}.{hint}"


def _family(full_name: str, builder: str, size: int, *, fixed: bool) -> Family:
    """The layout of the real network; one that takes a `fixed` image size is first built for any size, where timm can do so."""
    architecture = timm.models.model_entrypoint(builder).__module__.rpartition(".")[2]
    choices: list[dict[str, Any]] = [{"dynamic_img_size": True}, {}] if fixed else [{}]
    for options in choices:
        try:
            module = _network(full_name, architecture, size, options)
        except TypeError:
            if options:
                continue
            raise
        return find_layout(module, architecture, size, options)
    raise AssertionError


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
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
        module: nn.Module = timm.create_model(full_name, pretrained=False, **dict(sketch.options))
    return module
