"""Graphs that could do harm: each changes the graph of the small bundle of these tests, and is refused with the words beside it."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Spoil = Callable[[onnx.ModelProto], object]
"""Changes a graph."""
node = helper.make_node
LARGE = 1 << 20


def adding(*nodes: onnx.NodeProto, first: bool = False, **constants: int | list[int] | list[list[int]]) -> Spoil:
    """Add constants of whole numbers, and operators, after the others or before them."""

    def spoil(model: onnx.ModelProto) -> None:
        tensors = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
        model.graph.initializer.extend(tensors)
        others = [] if not first else list(model.graph.node)
        if first:
            del model.graph.node[:]
        model.graph.node.extend([*nodes, *others])

    return spoil


def into_the_answer(last: str, *before: Spoil) -> Spoil:
    """After `before`, add the number `last` to the logits, so that it is computed."""

    def spoil(model: onnx.ModelProto) -> None:
        for change in before:
            change(model)
        next(each for each in model.graph.node if "logits" in each.output).output[0] = "before"
        model.graph.node.append(node("Add", ["before", last], ["logits"]))

    return spoil


def elsewhere(tensor: onnx.TensorProto, **places: str) -> onnx.TensorProto:
    """`tensor` with its values in another file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in places.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def external(model: onnx.ModelProto) -> None:
    tensor = next(item for item in model.graph.initializer if item.name == "head.weight")
    elsewhere(tensor, location="/etc/passwd", offset="0", length="36")


def sparse(values: onnx.TensorProto, places: list[int], size: int) -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(values, numpy_helper.from_array(np.array(places), "places"), [size])


def constant(value: Any, **of: Any) -> Spoil:
    return adding(node("Constant", [], ["hidden"], **(of or {"value": value})))


def tensor(value: Any, name: str = "values") -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value), name)


def own_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("evil", 1))
    model.graph.node[0].domain = "evil"


def words(model: onnx.ModelProto) -> None:
    next(each for each in model.graph.node if each.op_type == "Gemm").output[0] = "numbers"
    model.graph.node.append(node("Cast", ["numbers"], ["logits"], to=TensorProto.STRING))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING


def doubled_words(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(tensor(np.array(["0123456789abcdef"], dtype=object), "step0"))
    adding(*chain("StringConcat", 25, twice=True))(model)


def chain(kind: str, steps: int, *, twice: bool = False, more: tuple[str, ...] = (), **attributes: Any) -> list[Any]:
    """`steps` operators one after the other, from the array `step0`, each given the one before once or `twice`, and `more`."""
    names = pairwise(f"step{number}" for number in range(steps + 1))
    return [node(kind, [before] * (1 + twice) + [*more], [after], **attributes) for before, after in names]


def optional_end(model: onnx.ModelProto) -> None:
    shape = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    model.graph.value_info.append(helper.make_value_info("maybe", helper.make_optional_type_proto(shape)))


def function(model: onnx.ModelProto) -> None:
    body = [node("Relu", ["x"], ["y"])]
    model.functions.append(helper.make_function("own", "Relu", ["x"], ["y"], body, [helper.make_opsetid("", 20)]))


def version(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 1


def output_type(number: int, **changes: int) -> Spoil:
    """Let output `number` declare other sides, by their places: `side1=4`."""

    def spoil(model: onnx.ModelProto) -> None:
        for side, value in changes.items():
            model.graph.output[number].type.tensor_type.shape.dim[int(side[-1])].dim_value = value

    return spoil


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def no_map(model: onnx.ModelProto) -> None:
    del model.graph.output[2]


def parts_that_do_not_fit(model: onnx.ModelProto) -> None:
    next(each for each in model.graph.node if each.op_type == "Gemm").input[1] = "axes"


def long_text(model: onnx.ModelProto) -> None:
    model.graph.doc_string = "x" * 9_000_000


def zeros(shape: str, name: str = "zeros") -> onnx.NodeProto:
    return node("ConstantOfShape", [shape], [name])


DOZEN = [f"zeros{number}" for number in range(12)]
AS_MANY_ROWS_AS_BRIGHT_PIXELS = [
    node("Reshape", ["images", "flat"], ["row"]),
    node("Cast", ["row"], ["bright"], to=TensorProto.BOOL),
    node("Compress", ["row", "bright"], ["some"]),
    node("Unsqueeze", ["some", "zero"], ["across"]),
    node("Unsqueeze", ["some", "one"], ["down"]),
    node("Mul", ["across", "down"], ["pairs"]),
]
A_SHAPE_OF_WHAT_IS_NOT_ZERO = [
    node("Shape", ["images"], ["sizes"]),
    node("Mul", ["sizes", "sizes"], ["larger"]),
    node("NonZero", ["larger"], ["where"]),
    node("Squeeze", ["where"], ["some"]),
    zeros("some"),
]
A_SHAPE_THAT_ROUNDS_TO_NOTHING = [
    node("Div", ["large", "one"], ["same"]),
    node("Sub", ["same", "less"], ["hundred"]),
    node("Mul", ["hundred", "times"], ["huge"]),
    zeros("huge"),
]
"""Nothing where it is computed with numbers of 53 bits."""
A_LONG_CONVOLUTION = [
    zeros("picture"),
    zeros("kernel", "weights"),
    node("Conv", ["zeros", "weights"], ["found"]),
    node("ReduceSum", ["found", "all"], ["sum"], keepdims=0),
]

GREEDY_INSIDE = into_the_answer(
    "sum", adding(zeros("many"), node("Einsum", ["zeros"] * 4, ["sum"], equation="a,b,a,b->"), many=[40_000])
)
"""An operator that needs 6 GB to work on, and gives one number."""
ENDLESS_INSIDE = into_the_answer(
    "sum",
    adding(*A_LONG_CONVOLUTION, picture=[1, 64, 300, 300], kernel=[1, 64, 150, 150], all=[0, 1, 2, 3]),
)
"""One operator that takes minutes."""
ENDLESS_TO_OPEN = adding(node("Einsum", ["scaled"] * 2, ["sum"], equation="......->"))
"""An operator whose shape ONNX infers without end."""

REFUSED: Mapping[str, tuple[Spoil, str]] = {
    "external": (external, "another file"),
    "external constant": (constant(elsewhere(tensor(np.zeros(3, np.float32)), location="../secret")), "another file"),
    "external and sparse": (
        constant(
            None, sparse_value=sparse(elsewhere(tensor(np.ones(4, np.float32)), location="../secret"), [0, 1, 2, 3], 64)
        ),
        "sparse tensor",
    ),
    "sparse": (
        lambda model: model.graph.sparse_initializer.append(sparse(tensor(np.ones(1, np.float32)), [0], 1 << 27)),
        "sparse initializer",
    ),
    "doubled words": (doubled_words, "no array of numbers|string data"),
    "words of an operator": (constant(None, value_string="0123456789abcdef"), "something else than numbers"),
    "list of words": (constant(None, value_strings=["a", "b"]), "strings"),
    "sequence": (adding(node("SequenceConstruct", ["scaled", "scaled"], ["list"])), "something else than numbers"),
    "optional end": (optional_end, "no array of numbers"),
    "complex numbers": (
        lambda model: model.graph.initializer.append(tensor(np.zeros(2, np.complex64))),
        "no array of numbers",
    ),
    "own operator": (own_operator, "operators of its own"),
    "function": (function, "operators of its own"),
    "unknown operator": (adding(node("Launch", ["scaled"], ["up"])), "do not fit"),
    "old operators": (version, "versions"),
    "two versions": (lambda model: model.opset_import.append(helper.make_opsetid("", 20)), "versions"),
    "training": (lambda model: model.training_info.add(), "training info"),
    "quantization": (
        lambda model: model.graph.quantization_annotation.add(tensor_name="scaled"),
        "quantization annotation",
    ),
    "endless": (
        adding(node("Loop", ["", "", "scaled"], ["x"], body=helper.make_graph([], "body", [], []))),
        "graph inside|Loop",
    ),
    "60,000 operators": (
        adding(node("Identity", ["scaled"], ["step0"]), *chain("Relu", 59_999)),
        "60,006 operators",
    ),
    # two bytes in the file for each, hundreds once it is parsed
    "empty operators": (adding(*[onnx.NodeProto()] * 1_500_000), "more memory|operators; up to"),
    "long text": (long_text, "without weights"),
    "many inputs": (adding(node("Sum", ["scaled"] * 1_200_000, ["sum"])), "without weights"),
    "shape without values": (
        lambda model: model.graph.initializer.append(
            TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=[LARGE, LARGE])
        ),
        "do not fill",
    ),
    "negative shape": (
        lambda model: model.graph.initializer.append(TensorProto(name="less", data_type=TensorProto.FLOAT, dims=[-1])),
        "impossible shape",
    ),
    "two of one name": (lambda model: model.graph.initializer.append(model.graph.initializer[0]), "two arrays"),
    "made twice": (lambda model: model.graph.node.append(model.graph.node[0]), "two arrays"),
    # whole numbers that a shape is computed from, twice as many in each step
    "doubled shapes": (
        adding(node("Shape", ["images"], ["step0"]), *chain("Concat", 26, twice=True, axis=0)),
        "more memory",
    ),
    "sides without end": (
        adding(node("Identity", ["images"], ["step0"]), *chain("Unsqueeze", 1000, more=("new",)), new=list(range(64))),
        "more memory",
    ),
    "more than its pictures": (adding(zeros("large"), large=[1 << 26]), "more memory"),
    "greedy": (adding(zeros("huge"), first=True, huge=[LARGE, LARGE]), "more memory"),
    "greedy in secret": (adding(*A_SHAPE_OF_WHAT_IS_NOT_ZERO, first=True), "more memory"),
    "greedy by what it sees": (
        adding(*AS_MANY_ROWS_AS_BRIGHT_PIXELS, first=True, flat=[-1], zero=[0], one=[1]),
        "more memory",
    ),
    "greedy by the dozen": (
        adding(*(zeros("large", name) for name in DOZEN), node("Sum", DOZEN, ["sum"]), large=[1 << 22]),
        "more memory",
    ),
    "greedy by a row": (
        adding(node("Gather", ["table", "second"], ["huge"]), zeros("huge"), table=[[1, 1], [LARGE, LARGE]], second=1),
        "more memory",
    ),
    "greedy by rounding": (
        adding(*A_SHAPE_THAT_ROUNDS_TO_NOTHING, large=[(1 << 60) + 100], one=[1], less=[1 << 60], times=[1 << 24]),
        "more memory",
    ),
    "words": (words, "numbers of 32 bits"),
    "other input": (
        lambda model: model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1])),
        "one input",
    ),
    "float input": (float_input, "one input|takes pictures"),
    "no map": (no_map, "logits, embedding and map"),
    "more classes": (output_type(0, side1=4), "4 classes"),
    "other map": (output_type(2, side3=9), "than it says"),
    "parts that do not fit": (parts_that_do_not_fit, "do not fit"),
}
"""What is refused before anything is run: how the graph is spoilt, and what is said of it."""
