"""Graphs that could do harm: each changes the graph of the small bundle of these tests, and is refused with the words beside it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def numbers(model: onnx.ModelProto, **constants: int | list[int] | list[list[int]]) -> None:
    """Add constants of whole numbers."""
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()
    )


def into_the_answer(model: onnx.ModelProto, last: str) -> None:
    """Add the number `last` to the logits, so that it is computed."""
    next(node for node in model.graph.node if "logits" in node.output).output[0] = "before"
    model.graph.node.append(helper.make_node("Add", ["before", last], ["logits"]))


def external(model: onnx.ModelProto) -> None:
    tensor = next(item for item in model.graph.initializer if item.name == "head.weight")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "/etc/passwd", "offset": "0", "length": "36"}.items():
        tensor.external_data.add(key=key, value=value)


def external_constant(model: onnx.ModelProto) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "hidden")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["hidden"], value=tensor))


def own_operator(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("evil", 1))
    model.graph.node[0].domain = "evil"


def endless(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", "", "scaled"], ["x"], body=body))


def greedy(model: onnx.ModelProto) -> None:
    numbers(model, huge=[1 << 20, 1 << 20])
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["huge"], ["zeros"]))


def greedy_in_secret(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Shape", ["images"], ["sizes"]))
    model.graph.node.insert(1, helper.make_node("Mul", ["sizes", "sizes"], ["larger"]))
    model.graph.node.insert(2, helper.make_node("NonZero", ["larger"], ["where"]))
    model.graph.node.insert(3, helper.make_node("Squeeze", ["where"], ["some"]))
    model.graph.node.insert(4, helper.make_node("ConstantOfShape", ["some"], ["zeros"]))


def greedy_by_a_row(model: onnx.ModelProto) -> None:
    """A shape that is the second row of a table."""
    numbers(model, table=[[1, 1], [1 << 20, 1 << 20]], second=1)
    model.graph.node.append(helper.make_node("Gather", ["table", "second"], ["huge"]))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["huge"], ["zeros"]))


def greedy_by_rounding(model: onnx.ModelProto) -> None:
    """A shape that is nothing where it is computed with numbers of 53 bits."""
    numbers(model, large=[(1 << 60) + 100], one=[1], less=[1 << 60], times=[1 << 24])
    model.graph.node.append(helper.make_node("Div", ["large", "one"], ["same"]))
    model.graph.node.append(helper.make_node("Sub", ["same", "less"], ["hundred"]))
    model.graph.node.append(helper.make_node("Mul", ["hundred", "times"], ["huge"]))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["huge"], ["zeros"]))


def greedy_by_what_it_sees(model: onnx.ModelProto) -> None:
    """As many rows as the picture has bright pixels, and a table of all pairs of them."""
    numbers(model, flat=[-1], zero=[0], one=[1])
    nodes = [
        helper.make_node("Reshape", ["images", "flat"], ["row"]),
        helper.make_node("Cast", ["row"], ["bright"], to=TensorProto.BOOL),
        helper.make_node("Compress", ["row", "bright"], ["some"]),
        helper.make_node("Unsqueeze", ["some", "zero"], ["across"]),
        helper.make_node("Unsqueeze", ["some", "one"], ["down"]),
        helper.make_node("Mul", ["across", "down"], ["pairs"]),
    ]
    for place, node in enumerate(nodes):
        model.graph.node.insert(place, node)


def greedy_by_the_dozen(model: onnx.ModelProto) -> None:
    numbers(model, large=[1 << 22])
    names = [f"zeros{number}" for number in range(12)]
    for name in names:
        model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["large"], [name]))
    model.graph.node.append(helper.make_node("Sum", names, ["sum"]))


def words(model: onnx.ModelProto) -> None:
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    gemm.output[0] = "numbers"
    model.graph.node.append(helper.make_node("Cast", ["numbers"], ["logits"], to=TensorProto.STRING))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.STRING


def other_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def float_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def no_map(model: onnx.ModelProto) -> None:
    del model.graph.output[2]


def more_classes(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 4


def parts_that_do_not_fit(model: onnx.ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Gemm").input[1] = "axes"


def external_and_sparse(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(4, np.float32), "values")
    values.ClearField("raw_data")
    values.data_location = TensorProto.EXTERNAL
    values.external_data.add(key="location", value="../secret")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.arange(4), "where"), [64])
    model.graph.node.append(helper.make_node("Constant", [], ["hidden"], sparse_value=sparse))


def sparse(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "values")
    places = numpy_helper.from_array(np.zeros(1, np.int64), "places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [1 << 27]))


def doubled_words(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.array(["0123456789abcdef"], dtype=object), "word0"))
    for step in range(25):
        model.graph.node.append(helper.make_node("StringConcat", [f"word{step}"] * 2, [f"word{step + 1}"]))


def words_of_an_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["word"], value_string="0123456789abcdef"))


def list_of_words(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["word"], value_strings=["a", "b"]))


def sequence(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("SequenceConstruct", ["scaled", "scaled"], ["list"]))


def optional_end(model: onnx.ModelProto) -> None:
    shape = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    model.graph.value_info.append(helper.make_value_info("maybe", helper.make_optional_type_proto(shape)))


def complex_numbers(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.complex64), "complex"))


def sixty_thousand_operators(model: onnx.ModelProto) -> None:
    steps = ["scaled", *(f"step{number}" for number in range(60_000))]
    model.graph.node.extend(helper.make_node("Relu", [before], [after]) for before, after in pairwise(steps))


def empty_operators(model: onnx.ModelProto) -> None:
    """Two bytes in the file for each, hundreds once it is parsed."""
    model.graph.node.extend([onnx.NodeProto()] * 1_500_000)


def long_text(model: onnx.ModelProto) -> None:
    model.graph.doc_string = "x" * 9_000_000


def many_inputs(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Sum", ["scaled"] * 1_200_000, ["sum"]))


def shape_without_values(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=[1 << 20, 1 << 20]))


def negative_shape(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(TensorProto(name="less", data_type=TensorProto.FLOAT, dims=[-1]))


def two_of_one_name(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def made_twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(model.graph.node[0])


def doubled_shapes(model: onnx.ModelProto) -> None:
    """Whole numbers that a shape is computed from, twice as many in each step."""
    model.graph.node.append(helper.make_node("Shape", ["images"], ["sides0"]))
    for step in range(26):
        model.graph.node.append(helper.make_node("Concat", [f"sides{step}"] * 2, [f"sides{step + 1}"], axis=0))


def sides_without_end(model: onnx.ModelProto) -> None:
    numbers(model, new=list(range(64)))
    model.graph.node.append(helper.make_node("Identity", ["images"], ["array0"]))
    for step in range(1000):
        model.graph.node.append(helper.make_node("Unsqueeze", [f"array{step}", "new"], [f"array{step + 1}"]))


def more_than_its_pictures(model: onnx.ModelProto) -> None:
    numbers(model, large=[1 << 26])
    model.graph.node.append(helper.make_node("ConstantOfShape", ["large"], ["zeros"]))


def other_map(model: onnx.ModelProto) -> None:
    model.graph.output[2].type.tensor_type.shape.dim[3].dim_value = 9


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Launch", ["scaled"], ["up"]))


def old_operators(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 1


def two_versions(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("", 20))


def training(model: onnx.ModelProto) -> None:
    model.training_info.add()


def function(model: onnx.ModelProto) -> None:
    body = [helper.make_node("Relu", ["x"], ["y"])]
    model.functions.append(helper.make_function("own", "Relu", ["x"], ["y"], body, [helper.make_opsetid("", 20)]))


def quantization(model: onnx.ModelProto) -> None:
    model.graph.quantization_annotation.add(tensor_name="scaled")


def greedy_inside(model: onnx.ModelProto) -> None:
    """An operator that needs 6 GB to work on, and gives one number."""
    numbers(model, many=[40_000])
    model.graph.node.append(helper.make_node("ConstantOfShape", ["many"], ["zeros"]))
    model.graph.node.append(helper.make_node("Einsum", ["zeros"] * 4, ["sum"], equation="a,b,a,b->"))
    into_the_answer(model, "sum")


def endless_inside(model: onnx.ModelProto) -> None:
    """One operator that takes minutes."""
    numbers(model, picture=[1, 64, 300, 300], kernel=[1, 64, 150, 150], all=[0, 1, 2, 3])
    model.graph.node.append(helper.make_node("ConstantOfShape", ["picture"], ["zeros"]))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["kernel"], ["weights"]))
    model.graph.node.append(helper.make_node("Conv", ["zeros", "weights"], ["found"]))
    model.graph.node.append(helper.make_node("ReduceSum", ["found", "all"], ["sum"], keepdims=0))
    into_the_answer(model, "sum")


def endless_to_open(model: onnx.ModelProto) -> None:
    """An operator whose shape ONNX infers without end."""
    model.graph.node.append(helper.make_node("Einsum", ["scaled"] * 2, ["sum"], equation="......->"))


REFUSED: dict[Callable[[onnx.ModelProto], None], str] = {
    external: "another file",
    external_constant: "another file",
    external_and_sparse: "sparse tensor",
    sparse: "sparse initializer",
    doubled_words: "no array of numbers|string data",
    words_of_an_operator: "something else than numbers",
    list_of_words: "strings",
    sequence: "something else than numbers",
    optional_end: "no array of numbers",
    complex_numbers: "no array of numbers",
    own_operator: "operators of its own",
    function: "operators of its own",
    unknown_operator: "do not fit",
    old_operators: "versions",
    two_versions: "versions",
    training: "training info",
    quantization: "quantization annotation",
    endless: "graph inside|Loop",
    sixty_thousand_operators: "60,006 operators",
    empty_operators: "more memory|operators; up to",
    long_text: "without weights",
    many_inputs: "without weights",
    shape_without_values: "do not fill",
    negative_shape: "impossible shape",
    two_of_one_name: "two arrays",
    made_twice: "two arrays",
    doubled_shapes: "more memory",
    sides_without_end: "more memory",
    more_than_its_pictures: "more memory",
    greedy: "more memory",
    greedy_in_secret: "more memory",
    greedy_by_what_it_sees: "more memory",
    greedy_by_the_dozen: "more memory",
    greedy_by_a_row: "more memory",
    greedy_by_rounding: "more memory",
    words: "numbers of 32 bits",
    other_input: "one input",
    float_input: "one input|takes pictures",
    no_map: "logits, embedding and map",
    more_classes: "4 classes",
    other_map: "than it says",
    parts_that_do_not_fit: "do not fit",
}
"""What is refused before anything is run, by what is in it."""
