"""What an ONNX graph may hold: the rules for a bundle's graph, which may come from a stranger, and for every graph that Graft writes.

A graph holds numbers and operators of the ONNX standard, all in one file. What may stand in it is listed, so that anything else,
also what a later version of ONNX adds, is refused. The shape of every array must follow from the graph alone. It is inferred node
by node, and the first array that is too large ends the inference. Nothing of the graph is run.

A list of operators with one limit on memory for all would not do: the largest networks of the registry need gigabytes for their arrays,
so a graph of a few bytes could take as much. With the inferred shapes, the process that runs a stranger's graph gets what this graph
needs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tl_core.errors import BundleError

if TYPE_CHECKING:
    from onnx import ModelProto

MAX_NODES = 10_000
"""The most operators of a graph. The largest network in the table of backbones has 2,000."""
MAX_STRUCTURE = 8_000_000
"""The most bytes of a graph without its weights: 100 for each node are usual."""
MAX_RANK = 10
"""The most dimensions of an array. Shifted windows need six."""
MAX_ARRAY = 1 << 31
"""The most bytes of one array between two operators, for `BATCH` pictures."""
MAX_LIVE = 1 << 32
"""The most bytes of all arrays that are in memory at the same time."""
LIVE_A_BYTE = 640
"""The most bytes of them for each byte of the pictures. EfficientNet-B7 has 190."""
_LIVE_ANYWAY = 64_000_000
"""Bytes of arrays that are taken whatever the size of the pictures."""
OPSETS = range(13, 10_000)
"""Versions of the standard's operators; the installed ONNX may know fewer."""
BATCH = 8
"""Pictures in a batch. Larger batches are no faster on a CPU, and memory grows with them."""
_SMALL = 2 * MAX_RANK
"""The most elements of an array whose values may stand for a shape, or for what is added at both ends of each side."""
_DOMAINS = frozenset(["", "ai.onnx"])

_NOTES = ("name", "doc_string", "metadata_props")
_MADE_BY = ("ir_version", "opset_import", "producer_name", "producer_version", "domain", "model_version")
_NUMBERS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")
_MAY_HOLD: Mapping[str, frozenset[str]] = {
    "ModelProto": frozenset([*_MADE_BY, *_NOTES, "graph"]),
    "GraphProto": frozenset([*_NOTES, "node", "initializer", "input", "output", "value_info"]),
    "NodeProto": frozenset([*_NOTES, "input", "output", "op_type", "domain", "attribute"]),
    "AttributeProto": frozenset([*_NOTES, "type", "f", "i", "s", "t", "floats", "ints"]),
    "TensorProto": frozenset([*_NOTES, *_NUMBERS, "dims", "data_type", "data_location"]),
}
"""The fields of each message of an ONNX file that may be filled."""
_BYTES: Mapping[str, int] = {
    **{"FLOAT": 4, "DOUBLE": 8, "FLOAT16": 2, "BFLOAT16": 2, "BOOL": 1},
    **{f"{sign}INT{bits}": bits // 8 for sign in ("", "U") for bits in (8, 16, 32, 64)},
}
"""Bytes of an element, for each type of numbers that an array may have."""

Values = Sequence[NDArray[Any]]
_FOLDED: Mapping[str, Callable[[Values, Mapping[str, Any]], NDArray[Any]]] = {
    "Constant": lambda _, attributes: _value(*attributes.values()),
    "Identity": lambda inputs, _: inputs[0],
    "Cast": lambda inputs, _: inputs[0],
    "Squeeze": lambda inputs, _: inputs[0],
    "Unsqueeze": lambda inputs, _: inputs[0],
    "Reshape": lambda inputs, _: inputs[0],
    "Expand": lambda inputs, _: inputs[0],
    "Add": lambda inputs, _: np.add(*inputs),
    "Sub": lambda inputs, _: np.subtract(*inputs),
    "Mul": lambda inputs, _: np.multiply(*inputs),
    "Div": lambda inputs, _: (inputs[0] - np.fmod(*inputs)) // inputs[1],
    "Concat": lambda inputs, _: np.concatenate(inputs),
    "Gather": lambda inputs, attributes: np.take(inputs[0], inputs[1], attributes.get("axis", 0)),
    "Slice": lambda inputs, _: inputs[0][
        int(inputs[1][0]) : int(inputs[2][0]) : int(inputs[4][0]) if len(inputs) > 4 else 1
    ],
}
"""How the few whole numbers that a shape is computed from go through an operator. Of what is given, constants may have more than one
dimension."""


def check(model: ModelProto, name: str, size: int) -> int:
    """Refuse a graph that breaks the rules; `name` is the file's, for the message, and `size` its number of bytes.

    Returns the bytes of all arrays that are in memory at the same time, without weights, for `BATCH` pictures.

    Raises:
        BundleError: the message says what is wrong.
    """
    _check_parts(model, name, size)
    arrays = _Arrays(model, name)
    pictures = arrays.picture_bytes
    for node in model.graph.node:
        arrays.infer(node)
    for output in model.graph.output:
        arrays.check_declared(output)
    return _check_memory(model.graph, arrays.sizes, min(MAX_LIVE, _LIVE_ANYWAY + LIVE_A_BYTE * pictures), name)


def too_much(name: str, operator: str = "") -> BundleError:
    """The error for a graph, in the file `name`, that takes too much memory, in `operator` if that is known."""
    where = f" (in {operator[:40]!r})" if operator else ""
    return BundleError(f"{name} asks for more memory than any bundle needs{where}; it was not used.")


def _check_parts(model: ModelProto, name: str, size: int) -> None:
    """Refuse what no graph of a classifier needs, at the least cost first."""
    graph = model.graph
    if model.functions or any(item.domain not in _DOMAINS for item in model.opset_import):
        raise BundleError(f"{name} brings operators of its own; it was not used.")
    versions = [item.version for item in model.opset_import]
    if len(versions) != 1 or versions[0] not in OPSETS:
        raise BundleError(
            f"{name} names the versions {versions[:5]} of ONNX's operators; one from {OPSETS[0]} on is needed."
        )
    if not graph.node:
        raise BundleError(f"{name} holds no graph.")
    if len(graph.node) > MAX_NODES:
        raise BundleError(f"{name} holds {len(graph.node):,} operators; up to {MAX_NODES:,} are read.")
    _only_known(model, name, "the model")
    _only_known(graph, name, "the graph")
    structure = size
    for tensor in graph.initializer:
        structure -= _check_tensor(tensor, name)
    for node in graph.node:
        if node.domain not in _DOMAINS:
            raise BundleError(f"{name} holds the operator {node.op_type[:40]!r}, which no bundle has; it was not used.")
        _only_known(node, name, node.op_type)
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                raise BundleError(f"{name} holds a graph inside of {node.op_type[:40]!r}; it was not used.")
            _only_known(attribute, name, node.op_type)
            if attribute.HasField("t"):
                structure -= _check_tensor(attribute.t, name)
    if structure > MAX_STRUCTURE:
        raise BundleError(
            f"{name} holds a graph of {structure:,} bytes without weights; up to {MAX_STRUCTURE:,} are read."
        )
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.WhichOneof("value") not in ("tensor_type", None):
            raise BundleError(f"{name} holds {value.name[:40]!r}, which is no array of numbers; it was not used.")


def _only_known(message: Any, name: str, where: str) -> None:
    for field, _ in message.ListFields():
        if field.name not in _MAY_HOLD[message.DESCRIPTOR.name]:
            raise BundleError(
                f"{name} holds {field.name.replace('_', ' ')} in {where[:40]!r}, which no bundle has; it was not used."
            )


def _check_tensor(tensor: Any, name: str) -> int:
    """The bytes of a constant, which must be stored whole in the file."""
    from onnx import TensorProto

    constant = f"{name} holds the constant {tensor.name[:40]!r}"
    if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
        raise BundleError(
            f"{name} wants to read another file of this machine for {tensor.name[:80]!r}; it was not used."
        )
    _only_known(tensor, name, tensor.name)
    size = _BYTES.get(_type_name(tensor.data_type))
    if size is None:
        raise BundleError(f"{constant}, which is no array of numbers; it was not used.")
    if len(tensor.dims) > MAX_RANK or any(side < 0 for side in tensor.dims):
        raise BundleError(f"{constant} of an impossible shape; it was not used.")
    elements = math.prod(tensor.dims)
    raw, *lists = (len(getattr(tensor, field)) for field in _NUMBERS)
    if (raw, sum(lists)) not in ((elements * size, 0), (0, elements)):
        raise BundleError(f"{constant}, whose values do not fill its shape; it was not used.")
    return elements * size if raw else 0


class _Arrays:
    """The types of the arrays of a graph, inferred one operator after the other."""

    def __init__(self, model: ModelProto, name: str) -> None:
        from onnx import numpy_helper
        from onnx.helper import make_tensor_type_proto

        self._name = name
        self._opsets = list(model.opset_import)
        self._ir_version = model.ir_version
        self._types: dict[str, Any] = {}
        self._small_values: dict[str, NDArray[Any]] = {}
        """The values of small arrays, which may stand for a shape."""
        self.sizes: dict[str, int] = {}
        """The bytes of each array, without constants."""
        for tensor in model.graph.initializer:
            self._add(tensor.name, make_tensor_type_proto(tensor.data_type, tensor.dims))
            if math.prod(tensor.dims) <= _SMALL:
                self._small_values[tensor.name] = numpy_helper.to_array(tensor)
        for value in model.graph.input:
            if value.name not in self._types:
                self._add(value.name, _for_a_batch(value.type))
                self.sizes[value.name] = self._bytes(value.name, "input")
        self.picture_bytes = sum(self.sizes.values())

    def infer(self, node: Any) -> None:
        """Find the types of the operator's outputs."""
        from onnx import TypeProto, defs, numpy_helper
        from onnx.shape_inference import infer_node_outputs

        taken = [each for each in node.input if each]
        try:
            made = infer_node_outputs(
                defs.get_schema(node.op_type, self._opsets[0].version, ""),
                node,
                {each: self._types[each] for each in taken},
                {
                    each: numpy_helper.from_array(self._small_values[each], each)
                    for each in taken
                    if each in self._small_values
                },
                opset_imports=self._opsets,
                ir_version=self._ir_version,
            )
        except MemoryError:
            raise
        except Exception as error:  # the parts of a hostile graph may let it raise anything
            raise BundleError(
                f"{self._name} holds a graph whose parts do not fit one another; it was not used."
            ) from error
        for output in filter(None, node.output):
            self._add(output, made.get(output, TypeProto()))
            self.sizes[output] = self._bytes(output, node.op_type)
        values = self._values(node, taken)
        if values is not None:
            self._small_values[node.output[0]] = values

    def check_declared(self, output: Any) -> None:
        """Refuse an output of the graph of another type than it declares; its first side may be anything."""
        declared = output.type.tensor_type
        inferred = self._types.get(output.name, output.type.__class__()).tensor_type
        sides = list(zip(declared.shape.dim, inferred.shape.dim, strict=False))[1:]
        if (
            declared.elem_type != inferred.elem_type
            or len(declared.shape.dim) != len(inferred.shape.dim)
            or any(side.HasField("dim_value") and side.dim_value != other.dim_value for side, other in sides)
        ):
            raise BundleError(
                f"{self._name} gives something else for {output.name[:40]!r} than it says; it was not used."
            )

    def _add(self, array: str, made: Any) -> None:
        if array in self._types:
            raise BundleError(f"{self._name} holds two arrays called {array[:40]!r}; it was not used.")
        self._types[array] = made

    def _bytes(self, array: str, operator: str) -> int:
        made = self._types[array].tensor_type
        size = _BYTES.get(_type_name(made.elem_type))
        if size is None:
            raise BundleError(
                f"{self._name} holds something else than numbers (in {operator[:40]!r}); it was not used."
            )
        sides = [side.dim_value if side.HasField("dim_value") else -1 for side in made.shape.dim]
        fixed = made.HasField("shape") and min(sides, default=0) >= 0
        if not fixed or len(sides) > MAX_RANK or math.prod(sides) * size > MAX_ARRAY:
            raise too_much(self._name, operator)
        return math.prod(sides) * size

    def _values(self, node: Any, taken: Sequence[str]) -> NDArray[Any] | None:
        """The values of the operator's output, where they are a few whole numbers that follow from the shapes alone."""
        from onnx import TensorProto
        from onnx.helper import get_attribute_value

        made = self._types[node.output[0]].tensor_type
        shape = tuple(side.dim_value for side in made.shape.dim)
        if made.elem_type != TensorProto.INT64 or len(shape) > 1 or math.prod(shape) > _SMALL:
            return None
        attributes = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "Shape":
            sides = [side.dim_value for side in self._types[taken[0]].tensor_type.shape.dim]
            return np.array(sides[attributes.get("start", 0) : attributes.get("end")], dtype=np.int64)
        if node.op_type not in _FOLDED or any(each not in self._small_values for each in taken):
            return None
        try:
            values = _FOLDED[node.op_type]([self._small_values[each] for each in taken], attributes)
            fitting = values.reshape(shape) if values.size == math.prod(shape) else np.broadcast_to(values, shape)
            return fitting.astype(np.int64)
        except (ValueError, IndexError, TypeError, OverflowError):
            return None


def _for_a_batch(declared: Any) -> Any:
    """The type of an input with `BATCH` as its first side."""
    made = declared.__class__()
    made.CopyFrom(declared)
    if made.tensor_type.shape.dim:
        made.tensor_type.shape.dim[0].dim_value = BATCH
    return made


def _value(stored: Any) -> NDArray[Any]:
    from onnx import TensorProto, numpy_helper

    return numpy_helper.to_array(stored) if isinstance(stored, TensorProto) else np.asarray(stored)


def _check_memory(graph: Any, sizes: Mapping[str, int], most: int, name: str) -> int:
    """The bytes of arrays that are in memory at the same time, at most `most`."""
    last_use = {each: step for step, node in enumerate(graph.node) for each in node.input}
    ends = {output.name for output in graph.output}
    going: dict[int, list[str]] = defaultdict(list)
    live = peak = 0
    for step, node in enumerate(graph.node):
        for each in filter(None, node.output):
            live += sizes[each]
            if live > most:
                raise too_much(name, node.op_type)
            if each not in ends:
                going[max(step, last_use.get(each, step))].append(each)
        peak = max(peak, live)
        live -= sum(sizes[each] for each in going.pop(step, ()))
    return peak


def _type_name(number: int) -> str:
    from onnx import TensorProto

    return TensorProto.DataType.Name(number) if number in TensorProto.DataType.values() else ""
