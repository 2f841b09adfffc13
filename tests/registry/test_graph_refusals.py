"""What a graph may not hold: each refused before any runtime sees the bytes. The graphs are written with the onnx package."""

import contextlib

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from gateway.registry import GraphRefused
from gateway.registry.onnx_graph import OPERATORS, OPSETS, read_graph
from gateway.registry.release import check_signature


@pytest.fixture
def shipped_graph(ckdepi) -> onnx.ModelProto:
    """Return the shipped eGFR graph to be spoilt."""
    return onnx.load_from_string(ckdepi.graph)


def branch(name: str) -> onnx.GraphProto:
    value = helper.make_tensor("v", TensorProto.DOUBLE, [1], [1.0])
    return helper.make_graph(
        [helper.make_node("Constant", [], ["out"], value=value)], name, [], [helper.make_tensor_value_info("out", TensorProto.DOUBLE, [1])]
    )


def add_if(model):
    model.graph.node.append(helper.make_node("If", ["is_male"], ["x"], then_branch=branch("a"), else_branch=branch("b")))


def add_loop(model):
    model.graph.node.append(helper.make_node("Loop", ["n", "c"], ["x"], body=branch("body")))


def add_scan(model):
    model.graph.node.append(helper.make_node("Scan", ["sex"], ["x"], body=branch("body"), num_scan_inputs=1))


def hide_graph_in_allowed_operator(model):
    model.graph.node.append(helper.make_node("Add", ["sex", "sex"], ["x"], body=branch("body")))


def hide_graphs_in_allowed_operator(model):
    node = helper.make_node("Add", ["sex", "sex"], ["x"])
    node.attribute.append(helper.make_attribute("bodies", [branch("a"), branch("b")]))
    model.graph.node.append(node)


def custom_domain(model):
    model.graph.node.append(helper.make_node("Add", ["sex", "sex"], ["x"], domain="com.example"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def microsoft_domain(model):
    model.graph.node.append(helper.make_node("Gelu", ["sex"], ["x"], domain="com.microsoft"))


def domain_not_imported(model):
    model.graph.node.append(helper.make_node("Scaler", ["sex"], ["x"], domain="ai.onnx.ml"))


def unlisted_operator(model):
    model.graph.node.append(helper.make_node("ConstantOfShape", ["sex"], ["x"]))


def random_operator(model):
    model.graph.node.append(helper.make_node("RandomNormal", [], ["x"], shape=[1]))


def unreleased_opset(model):
    model.opset_import[0].version = 99


def old_opset(model):
    model.opset_import[0].version = 7


def no_opset(model):
    del model.opset_import[:]


def opset_twice(model):
    model.opset_import.append(helper.make_opsetid("ai.onnx", 20))


def local_function(model):
    model.functions.append(
        helper.make_function("", "Add", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])], [helper.make_opsetid("", 20)])
    )


def training(model):
    model.training_info.add()


def sparse_constant(model):
    values, places = helper.make_tensor("s", TensorProto.DOUBLE, [1], [1.0]), helper.make_tensor("p", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [3]))


def external_constant(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")


def external_location_only(model):
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def external_in_attribute(model):
    tensor = numpy_helper.from_array(np.zeros(1), "c")
    tensor.external_data.add(key="location", value="secret")
    model.graph.node.append(helper.make_node("Constant", [], ["x"], value=tensor))


def sparse_attribute(model):
    values, places = helper.make_tensor("s", TensorProto.DOUBLE, [1], [1.0]), helper.make_tensor("p", TensorProto.INT64, [1], [0])
    model.graph.node.append(helper.make_node("Constant", [], ["x"], sparse_value=helper.make_sparse_tensor(values, places, [3])))


def runtime_options(model):
    model.metadata_props.add(key="ort_config", value='{"session_options": {}}')


def sequence_input(model):
    model.graph.input.append(helper.make_tensor_sequence_value_info("many", TensorProto.DOUBLE, ["N"]))


def complex_input(model):
    model.graph.input.append(helper.make_tensor_value_info("odd", TensorProto.COMPLEX128, ["N"]))


def input_twice(model):
    model.graph.input.append(model.graph.input[0])


def no_graph(model):
    model.ClearField("graph")


SPOILT = [
    add_if, add_loop, add_scan, hide_graph_in_allowed_operator, hide_graphs_in_allowed_operator, custom_domain, microsoft_domain,
    domain_not_imported, unlisted_operator, random_operator, unreleased_opset, old_opset, no_opset, opset_twice, local_function, training,
    sparse_constant, external_constant, external_location_only, external_in_attribute, sparse_attribute, runtime_options, sequence_input,
    complex_input, input_twice, no_graph,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_a_graph_with_something_that_may_not_run_is_refused(shipped_graph, spoil):
    """Control flow, nested graphs, functions, other domains, data outside the file, options for the runtime."""
    read_graph(shipped_graph.SerializeToString())
    spoil(shipped_graph)
    with pytest.raises(GraphRefused, match=r"model\.onnx"):
        read_graph(shipped_graph.SerializeToString())


def test_two_graphs_in_one_file_are_refused(ckdepi):
    """A parser that merges them and a reader that takes one of them would see different models."""
    with pytest.raises(GraphRefused):
        read_graph(ckdepi.graph + ckdepi.graph)


def test_a_reader_and_a_parser_cannot_disagree_on_a_node(shipped_graph):
    """An operator named twice (the last one wins in a parser) is refused."""
    node = shipped_graph.graph.node[0].SerializeToString() + helper.make_node("Loop", [], []).SerializeToString()
    raw = shipped_graph.graph.SerializeToString() + bytes([1 << 3 | 2, len(node)]) + node
    shipped_graph.ClearField("graph")
    size = len(raw)
    length = bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14])
    with pytest.raises(GraphRefused, match="one operator"):
        read_graph(shipped_graph.SerializeToString() + bytes([7 << 3 | 2]) + length + raw)


def test_the_shipped_graphs_are_read_as_the_onnx_package_reads_them(ckdepi, prevent_release):
    """Operators, inputs, outputs and number of nodes agree."""
    for release in (ckdepi, prevent_release):
        model, summary = onnx.load_from_string(release.graph), read_graph(release.graph)
        assert summary.operators == {(node.domain, node.op_type) for node in model.graph.node}
        assert summary.nodes == len(model.graph.node)
        for values, known in ((model.graph.input, summary.inputs), (model.graph.output, summary.outputs)):
            assert {value.name: len(value.type.tensor_type.shape.dim) for value in values} == {
                name: len(kind.dimensions) for name, kind in known.items()
            }
        assert summary.opsets == {"": 20}


def test_tree_ensembles_are_on_the_list_and_control_flow_is_not():
    """A gradient boosting model of a hospital may run; a loop may not."""
    assert {"TreeEnsembleRegressor", "TreeEnsembleClassifier"} <= OPERATORS["ai.onnx.ml"]
    assert OPERATORS[""].isdisjoint({"If", "Loop", "Scan", "ConstantOfShape", "Expand", "Range", "RandomUniform", "StringConcat"})
    assert OPERATORS.keys() == OPSETS.keys()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_the_bytes_are_the_answer_is_a_summary_or_a_refusal(ckdepi, data):
    """Cut off, changed in places, or made up: no other exception, no endless loop."""
    graph = bytearray(ckdepi.graph)
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(graph) - 1), st.integers(0, 255)), max_size=8)):
        graph[place] = value
    cut_off = st.integers(0, len(graph)).map(lambda end: bytes(graph[:end]))
    content = data.draw(st.one_of(st.just(bytes(graph)), cut_off, st.binary(max_size=80)))
    with contextlib.suppress(GraphRefused):
        assert read_graph(content).opsets


def wrong_element(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def wrong_rank(model):
    model.graph.input[0].type.tensor_type.shape.dim.add(dim_value=1)


def fixed_rows(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def another_input(model):
    model.graph.input.append(helper.make_tensor_value_info("height_cm", TensorProto.DOUBLE, ["N"]))


def fewer_inputs(model):
    del model.graph.input[0]


def another_output(model):
    model.graph.output.append(helper.make_tensor_value_info("ratio", TensorProto.DOUBLE, ["N"]))


def wide_output(model):
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2


def open_output(model):
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "M"


def number_as_applicable(model):
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.DOUBLE


@pytest.mark.parametrize(
    "change",
    [wrong_element, wrong_rank, fixed_rows, another_input, fewer_inputs, another_output, wide_output, open_output, number_as_applicable],
    ids=lambda change: change.__name__,
)
def test_a_signature_that_is_not_the_manifests_is_refused(ckdepi, shipped_graph, change):
    """Names, element types, ranks, columns."""
    check_signature(read_graph(ckdepi.graph), ckdepi.manifest)
    change(shipped_graph)
    with pytest.raises(GraphRefused):
        check_signature(read_graph(shipped_graph.SerializeToString()), ckdepi.manifest)
