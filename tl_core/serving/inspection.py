"""Checks the files of a bundle, which may come from a stranger, before any of them is used.

The files are parsed as data: nothing in them is run, and no weights are loaded. The graph must have the inputs, outputs and
operators of an exported classifier, and agree with bundle.json.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tl_core.data.pixels import INTERPOLATIONS
from tl_core.documents.bundle_info import BundleInfo
from tl_core.errors import BundleError, UnknownName
from tl_core.models.registry import network
from tl_core.serving.bundle_files import INFO, ONNX, TENSORS

MAX_CLASSES = 10_000
SIZES = range(16, 1025)
"""Possible image sizes, in pixels."""

_ENDLESS = frozenset(["Loop", "If", "Scan", "SequenceMap"])
"""Operators that hold graphs of their own. No exported backbone has any, and a loop may never end."""
MAX_ELEMENTS = 1 << 29
"""The most elements of one array between two operators, for a batch of `_BATCH` pictures: 2 GB of float32."""
MAX_LIVE = 1 << 30
"""The most elements of all arrays that are in memory at the same time: 4 GB of float32."""
_BATCH = 8
_SMALL = 64
"""The most elements of a constant that may stand for a shape."""
_DOMAINS = frozenset(["", "ai.onnx"])


def check_info(info: BundleInfo) -> None:
    """Refuse a bundle.json that follows the schema, but whose values are impossible.

    Raises:
        BundleError: with all problems at once.
    """
    classes = len(info.classes)
    possible = {
        f"it names {classes} classes, 2 to {MAX_CLASSES:,} are possible": 2 <= classes <= MAX_CLASSES,
        "it names a class twice": len(set(info.classes)) == classes,
        f"its image size is {info.image_size}, {SIZES[0]} to {SIZES[-1]} are possible": info.image_size in SIZES,
        f"its interpolation is {info.interpolation[:40]!r}, known are {', '.join(INTERPOLATIONS)}": (
            info.interpolation in INTERPOLATIONS
        ),
        f"its temperature is {info.temperature}, which must be above 0": 0 < info.temperature < math.inf,
        f"its embedding size is {info.embedding_size}": info.embedding_size >= 1,
    }
    problems = [problem for problem, right in possible.items() if not right]
    if problems:
        raise BundleError(f"{INFO} cannot be true: {'; '.join(problems)}.")


def check_tensors(path: Path, info: BundleInfo) -> None:
    """Refuse a model.safetensors that cannot be parsed, or whose head does not fit the classes of `info`.

    Raises:
        BundleError: the message says what is wrong.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            names = set(tensors.keys())
            head = head_name(info)
            shape = tuple(tensors.get_slice(head).get_shape()) if head in names else ()
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{TENSORS} is damaged or no safetensors file; it was not used.") from error
    # The weight of a head that is a 1x1 convolution has two further dimensions, both 1.
    if head is not None and (shape[:2] != (len(info.classes), info.embedding_size) or set(shape[2:]) - {1}):
        found = f"is {shape}" if shape else "is missing"
        raise BundleError(
            f"{TENSORS} does not fit {INFO}: the head {head} {found}, "
            f"{(len(info.classes), info.embedding_size)} is needed."
        )


def head_name(info: BundleInfo) -> str | None:
    """The name of the head's weight in model.safetensors; None for a backbone that is not in the registry."""
    try:
        return f"{network(info.backbone).head}.weight"
    except UnknownName:
        return None


def check_graph(path: Path, info: BundleInfo) -> None:
    """Refuse a model.onnx that is not one self-contained graph of an exported classifier, or does not agree with `info`.

    Raises:
        BundleError: the message says what is wrong.
    """
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # a parser may raise anything on hostile bytes
        raise BundleError(f"{ONNX} is damaged or no ONNX file; it was not used.") from error
    _check_parts(model)
    _check_ends(model.graph, info)
    _check_sizes(model)


def _check_parts(model: Any) -> None:
    if model.functions or any(item.domain not in _DOMAINS for item in model.opset_import):
        raise BundleError(f"{ONNX} brings operators of its own; it was not used.")
    for tensor in _tensors(model.graph):
        if tensor.data_location == tensor.EXTERNAL or tensor.external_data:
            raise BundleError(
                f"{ONNX} wants to read another file of this machine for {tensor.name[:80]!r}; it was not used."
            )
    for node in model.graph.node:
        if node.domain not in _DOMAINS or node.op_type in _ENDLESS:
            raise BundleError(f"{ONNX} holds the operator {node.op_type[:40]!r}, which no bundle has; it was not used.")
    if not model.graph.node:
        raise BundleError(f"{ONNX} holds no graph.")


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g") or attribute.graphs:
                raise BundleError(f"{ONNX} holds a graph inside of {node.op_type[:40]!r}; it was not used.")


def _check_ends(graph: Any, info: BundleInfo) -> None:
    from onnx import TensorProto

    fixed = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in fixed]
    outputs = {value.name: value for value in graph.output}
    side = info.image_size
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
    if classes != (len(info.classes),):
        raise BundleError(
            f"{ONNX} does not fit {INFO}: it answers for {classes[0] if classes else 0} classes, "
            f"{INFO} names {len(info.classes)}."
        )
    if size != (info.embedding_size,) or len(_shape(outputs["map"])) != 4:
        raise BundleError(f"{ONNX} does not fit {INFO}: its embedding is {size}, {INFO} says {info.embedding_size}.")


def _check_sizes(model: Any) -> None:
    """Infer the shape of every array in the graph, so that a small file cannot take all memory."""
    import onnx
    from onnx import TensorProto, helper, shape_inference

    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    graph = light.graph
    graph.name = "shapes"
    graph.node.extend(model.graph.node)
    graph.input.append(model.graph.input[0])
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = _BATCH
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.INT64 and math.prod(tensor.dims) <= _SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    graph.output.extend(onnx.ValueInfoProto(name=output.name) for output in model.graph.output)
    try:
        inferred = shape_inference.infer_shapes(light, strict_mode=True, data_prop=True).graph
    except (shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise BundleError(f"{ONNX} holds a graph whose parts do not fit one another; it was not used.") from error
    sizes: dict[str, int] = {}
    for value in [*inferred.value_info, *inferred.output]:
        dimensions = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(item.HasField("dim_value") for item in dimensions):
            sizes[value.name] = math.prod(_shape(value))
    _check_memory(model.graph, sizes)


def _check_memory(graph: Any, sizes: dict[str, int]) -> None:
    """Refuse arrays that are too large, alone or together, or whose size is known only while the graph runs."""
    last_use = {name: step for step, node in enumerate(graph.node) for name in node.input}
    ends = {output.name for output in graph.output}
    going: dict[int, list[str]] = defaultdict(list)
    live = 0
    for step, node in enumerate(graph.node):
        for name in filter(None, node.output):
            size = sizes.get(name, MAX_LIVE + 1)
            live += size
            if size > MAX_ELEMENTS or live > MAX_LIVE:
                raise BundleError(
                    f"{ONNX} asks for more memory than any bundle needs (in {node.op_type[:40]!r}); it was not used."
                )
            if name not in ends:
                going[max(step, last_use.get(name, step))].append(name)
        live -= sum(sizes[name] for name in going.pop(step, ()))


def _shape(value: Any) -> tuple[int, ...]:
    """The shape, with 0 for a dimension that is not fixed."""
    return tuple(int(dimension.dim_value) for dimension in value.type.tensor_type.shape.dim)
