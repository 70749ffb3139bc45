"""Every ONNX file is made here: a backbone's features, what a cut leaves of it, a head on top of features.

Imports torch only where a network must be written anew; `exported_backbone` from the cache, `cut` and `attach_head` need none.
Knows nothing of runs or bundles.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl_core.data.cache import Cache
from tl_core.documents.events import Event, StageStarted
from tl_core.errors import ModelError
from tl_core.models.registry import Network
from tl_core.models.weights.obtain import fetch, identity

if TYPE_CHECKING:
    from tl_core.models.build import Backbone

ONNX_NAME = "backbone.onnx"
TENSORS_NAME = "backbone.safetensors"
STRUCTURE_NAME = "structure.txt"
FORMAT = 3
"""Part of the cache's key: raise it when what is exported changes, or graphs of before are served for ever."""
LARGEST_BYTES = 2_000_000_000
"""Weights of one graph: ONNX counts the bytes of a file in 31 bits, and the graph itself needs some."""


def stage_name(number: int) -> str:
    """What the output of stage number `number` (0: the stem) is called inside an exported backbone."""
    return f"stage_{number}"


def too_large(network: Network) -> str | None:
    """A sentence where the network's weights do not fit into one ONNX file, so that it can be no backbone here."""
    needed = 4 * network.backbone_parameters
    if needed <= LARGEST_BYTES:
        return None
    return (
        f"{network.name} is too large: its weights take {needed / 1e9:.1f} GB, and what a run gives is one ONNX file, which "
        f"holds {LARGEST_BYTES / 1e9:.0f} GB. Choose a smaller backbone."
    )


def export_backbone(backbone: Backbone, image_size: int, path: Path) -> None:
    """Write `backbone` without its head to the one file `path`, and check it against torch on random pictures.

    Input `images` uint8 (N, S, S, 3) RGB, N free; outputs `embedding` float32 (N, D) and `map` float32 (N, K, h, w).
    What each stage gives has a name inside the graph (`stage_name`), so that `cut` finds it.

    Raises:
        ModelError: ONNX Runtime answers differently from torch, or the network is too large for one file.
    """
    from tl_core.models.graphs.write import write_features

    problem = too_large(backbone.row)
    if problem:
        raise ModelError(problem)
    write_features(backbone, image_size, path)


def cut(graph: Path, outputs: Sequence[str], into: Path) -> None:
    """Write to `into` what of the exported backbone at `graph` is needed for `outputs`, and no more; needs no torch.

    `outputs` are names of stages (`stage_name`), `embedding` and `map`, together or alone; the new graph gives them in
    that order. The input stays `images`.

    Raises:
        ModelError: the graph has no tensor of such a name.
    """
    import onnx
    from onnx.utils import Extractor

    model = onnx.load(graph)
    known = {info.name: info for info in (*model.graph.value_info, *model.graph.output)}
    for also in model.metadata_props:
        if also.key in outputs and also.value in known:
            model.graph.node.append(onnx.helper.make_node("Identity", [also.value], [also.key], name=also.key))
            known[also.key] = model.graph.value_info.add()
            known[also.key].CopyFrom(known[also.value])
            known[also.key].name = also.key
    missing = [name for name in outputs if name not in known]
    if missing:
        raise ModelError(f"{graph.name} holds no {', '.join(missing)}: it is not a backbone that Graft exported.")
    part = Extractor(model).extract_model(["images"], list(outputs))
    into.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(part, into)


def attach_head(backbone_onnx: Path, weight: NDArray[np.float32], bias: NDArray[np.float32], out: Path) -> None:
    """Write the graph at `backbone_onnx` with a linear layer on its embedding to `out`; needs no torch.

    `weight` is (C, D) and `bias` (C,), the temperature already divided in. Outputs: `logits` (N, C), `embedding`, `map`.

    Raises:
        ModelError: the head does not fit the graph's embedding, or holds what is no number.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(backbone_onnx)
    outputs = {output.name: output for output in model.graph.output}
    if set(outputs) != {"embedding", "map"}:
        raise ModelError(f"{backbone_onnx.name} is not an exported backbone: it gives {', '.join(outputs)}.")
    size = outputs["embedding"].type.tensor_type.shape.dim[1].dim_value
    classes = weight.shape[0]
    if weight.shape != (classes, size) or bias.shape != (classes,):
        raise ModelError(
            f"A head of shape {weight.shape} with a bias of shape {bias.shape} does not fit an embedding of {size}."
        )
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ModelError("The head holds values that are no numbers: training went astray. Try a lower learning rate.")
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.ascontiguousarray(weight, dtype=np.float32), "head.weight"),
            numpy_helper.from_array(np.ascontiguousarray(bias, dtype=np.float32), "head.bias"),
        ]
    )
    model.graph.node.append(
        helper.make_node("Gemm", ["embedding", "head.weight", "head.bias"], ["logits"], name="head", transB=1)
    )
    batch = outputs["embedding"].type.tensor_type.shape.dim[0].dim_param or "N"
    del model.graph.output[:]
    model.graph.output.extend(
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes]),
            outputs["embedding"],
            outputs["map"],
        ]
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out)


def exported_backbone(
    network: Network, weights: str | None, image_size: int, cache: Cache
) -> Generator[Event, None, Path]:
    """A folder with `backbone.onnx`, `backbone.safetensors` (its tensors, head left out) and `structure.txt` (the printed network).

    From the cache where it is there.

    Otherwise the weights are fetched and the graph written: 5 to 15 s, with torch.

    Raises:
        UnknownName: the network has no such set of weights.
        SpecError: the image size is too small for the network.
        WeightsUnavailable, DownloadFailed: as `models.weights.fetch`.
        DiskFull: no space is left.
        ModelError: ONNX Runtime answers differently from torch, or the network is too large for one file.
    """
    row = network.weights_row(weights)
    network.check_image_size(image_size, row.name)
    problem = too_large(network)
    if problem:
        raise ModelError(problem)
    with cache.entry("backbones", backbone_key(network, row.name, image_size), whole=_whole) as entry:
        if entry.path is not None:
            return entry.path
        file = yield from fetch(network, row.name)
        yield StageStarted(stage="preparing", title=f"Preparing {network.name} for this image size, once")
        _fill(network, row.name, file, image_size, entry.temporary)
        return entry.commit()


def backbone_key(network: Network, weights: str | None, image_size: int) -> str:
    """Names the exported backbone by what it is made from; also good for keys of whatever is computed with it.

    Raises:
        UnknownName: the network has no such set of weights.
        SpecError: GRAFT_WEIGHTS_DIR names no folder.
    """
    row = network.weights_row(weights)
    made_from = [FORMAT, network.builder, identity(network, row.name), row.mean, row.std, image_size]
    digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]
    return f"{network.name}-{row.name}-{image_size}-{digest}"


def holds_graph(*outputs: str) -> Callable[[Path], bool]:
    """For a cache's `whole`: whether a file is an ONNX graph that can be read and gives `outputs`."""

    def whole(path: Path) -> bool:
        import onnx

        try:
            graph = onnx.load(path).graph
        except Exception:  # noqa: BLE001 - the parser of a damaged file may raise anything
            return False
        return {output.name for output in graph.output} == set(outputs)

    return whole


def _whole(folder: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / TENSORS_NAME, framework="numpy"):
            pass
        if not (folder / STRUCTURE_NAME).stat().st_size:
            return False
    except (SafetensorError, OSError):
        return False
    return holds_graph("embedding", "map")(folder / ONNX_NAME)


def _fill(network: Network, weights: str, file: Path, image_size: int, folder: Path) -> None:
    from safetensors.torch import save_file

    from tl_core.models.build import build
    from tl_core.models.graphs.structure import structure

    backbone = build(network, weights=weights, weights_file=file, classes=None)
    folder.mkdir(parents=True)
    (folder / STRUCTURE_NAME).write_text(structure(backbone, image_size), encoding="utf-8")
    export_backbone(backbone, image_size, folder / ONNX_NAME)
    save_file(backbone.tensors(head=False), folder / TENSORS_NAME)
