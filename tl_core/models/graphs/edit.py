"""ONNX files without torch: what the tensors inside an exported backbone are called, graphs cut at them, a head put on top, and that
head as the tensors of the library's own files.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl_core.errors import ModelError
from tl_core.models.registry import Network

LARGEST_BYTES = 2_000_000_000
"""Largest size of the weights in one graph: an ONNX file has at most 2^31 bytes, and the graph itself needs some."""


def stage_name(number: int) -> str:
    """Name of the output of stage number `number` (0: the stem) inside an exported backbone."""
    return f"stage_{number}"


def too_large(network: Network) -> str | None:
    """A sentence for the user where the network's weights do not fit into one ONNX file; else None."""
    needed = 4 * network.backbone_parameters
    if needed <= LARGEST_BYTES:
        return None
    return (
        f"{network.name} is too large: its weights take {needed / 1e9:.1f} GB, and what a run gives is one ONNX file, which "
        f"holds {LARGEST_BYTES / 1e9:.0f} GB. Choose a smaller backbone."
    )


def cut(graph: Path, outputs: Sequence[str], into: Path) -> None:
    """Write to `into` the part of the exported backbone at `graph` that computes `outputs`.

    `outputs` are one or more of the names of stages (`stage_name`), `embedding` and `map`; the new graph returns them in that
    order. Its input is `images`, as before.

    Raises:
        ModelError: the graph has no tensor of such a name.
    """
    import onnx
    from onnx.utils import Extractor

    model = onnx.load(graph)
    arrays = {info.name: info for info in (*model.graph.value_info, *model.graph.output)}
    for also in model.metadata_props:
        if also.key in outputs and also.value in arrays:
            model.graph.node.append(onnx.helper.make_node("Identity", [also.value], [also.key], name=also.key))
            arrays[also.key] = model.graph.value_info.add()
            arrays[also.key].CopyFrom(arrays[also.value])
            arrays[also.key].name = also.key
    missing = [name for name in outputs if name not in arrays]
    if missing:
        raise ModelError(f"{graph.name} holds no {', '.join(missing)}: it is not a backbone that Graft exported.")
    part = Extractor(model).extract_model(["images"], list(outputs))
    into.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(part, into)


def attach_head(backbone_onnx: Path, weight: NDArray[np.float32], bias: NDArray[np.float32], out: Path) -> None:
    """Write the graph at `backbone_onnx` with a linear layer on its embedding to `out`.

    `weight` is (C, D) and `bias` (C,), both already divided by the temperature. Outputs: `logits` (N, C), `embedding`, `map`.

    Raises:
        ModelError: the head does not fit the graph's embedding, or has values that are not finite.
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
        raise ModelError("The head has values that are no numbers: training diverged. Try a lower learning rate.")
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


def holds_graph(*outputs: str) -> Callable[[Path], bool]:
    """A check for the cache's `whole`: whether a file is a readable ONNX graph with exactly these `outputs`."""

    def whole(path: Path) -> bool:
        import onnx

        try:
            graph = onnx.load(path).graph
        except Exception:  # noqa: BLE001 - the parser of a damaged file may raise anything
            return False
        return {output.name for output in graph.output} == set(outputs)

    return whole


def head_tensors(
    network: Network, weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """`weight` (C, D) and `bias` (C,) by the library's names and in its shapes, with auxiliary heads of zeros, which are never trained."""
    family = network.layout
    tensors = {
        f"{network.head}.weight": weight.reshape(*weight.shape, *family.head_trailing),
        f"{network.head}.bias": bias,
    }
    for auxiliary in family.auxiliary:
        tensors[f"{auxiliary.head}.weight"] = np.zeros((len(bias), auxiliary.features), np.float32)
        tensors[f"{auxiliary.head}.bias"] = np.zeros(len(bias), np.float32)
    return tensors


def head_of(
    network: Network, tensors: Mapping[str, NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The head's weight (C, D) and bias (C,) from the `tensors` of a whole network."""
    weight = tensors[f"{network.head}.weight"]
    return weight.reshape(weight.shape[:2]), tensors[f"{network.head}.bias"]
