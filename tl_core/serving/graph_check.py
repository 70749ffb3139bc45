"""Checks the graph of a bundle, which may come from a stranger, before it is run.

The file is parsed as data: nothing in it is run. The graph must follow the rules of `models.graphs.rules`, have the inputs and
outputs of an exported classifier, and agree with bundle.json.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_core.errors import BundleError, memory_ran_out
from tl_core.models.graphs import rules
from tl_core.serving.bundle_files import INFO, ONNX


@dataclass(frozen=True)
class Ends:
    """What bundle.json says of the graph."""

    classes: int
    image_size: int
    """Pixels."""
    embedding_size: int


def check_graph(path: Path, ends: Ends) -> int:
    """Refuse a model.onnx that is not one self-contained graph of an exported classifier, or does not agree with `ends`.

    Returns the bytes of all arrays that are in memory at the same time, without weights, for `rules.BATCH` pictures.

    Raises:
        BundleError: the message says what is wrong.
    """
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # a parser may raise anything on hostile bytes
        if memory_ran_out(error):
            raise rules.too_much(ONNX) from error
        raise BundleError(f"{ONNX} is damaged or no ONNX file; it was not used.") from error
    _check_ends(model.graph, ends)
    return rules.check(model, ONNX, path.stat().st_size)


def _check_ends(graph: Any, ends: Ends) -> None:
    from onnx import TensorProto

    fixed = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in fixed]
    outputs = {value.name: value for value in graph.output}
    side = ends.image_size
    if [value.name for value in inputs] != ["images"]:
        raise BundleError(f"{ONNX} does not take the one input images; it was not used.")
    if inputs[0].type.tensor_type.elem_type != TensorProto.UINT8 or _shape(inputs[0])[1:] != (side, side, 3):
        raise BundleError(
            f"{ONNX} does not fit {INFO}: it takes pictures of shape {_shape(inputs[0])[1:]}, {INFO} says {(side, side, 3)}."
        )
    if set(outputs) != {"logits", "embedding", "map"}:
        raise BundleError(f"{ONNX} gives {', '.join(sorted(outputs))[:200]}; a bundle gives logits, embedding and map.")
    if any(output.type.tensor_type.elem_type != TensorProto.FLOAT for output in graph.output):
        raise BundleError(f"{ONNX} gives something else than numbers of 32 bits; it was not used.")
    classes, size = _shape(outputs["logits"])[1:], _shape(outputs["embedding"])[1:]
    if classes != (ends.classes,):
        raise BundleError(
            f"{ONNX} does not fit {INFO}: it answers for {classes[0] if classes else 0} classes, "
            f"{INFO} names {ends.classes}."
        )
    if size != (ends.embedding_size,) or len(_shape(outputs["map"])) != 4:
        raise BundleError(f"{ONNX} does not fit {INFO}: its embedding is {size}, {INFO} says {ends.embedding_size}.")


def _shape(value: Any) -> tuple[int, ...]:
    """The shape, with 0 for a dimension that is not fixed."""
    return tuple(int(dimension.dim_value) for dimension in value.type.tensor_type.shape.dim)
