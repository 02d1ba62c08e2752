"""Laws of the ONNX front end: what it reads means the same, what it cannot read it names."""

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import ganglion as gg
from ganglion.errors import GanglionError, ModelError, TrustError, UnsupportedOp
from ganglion.formats.onnx.reader import load_onnx, save_onnx
from ganglion.ops.graph import GraphBuilder

Edit = Callable[[onnx.ModelProto], None]
F = TensorProto.FLOAT


def info(name: str, shape: list[int | str], kind: int = F) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def proto(nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto],
          outputs: list[onnx.ValueInfoProto], weights: dict[str, np.ndarray] | None = None,
          opset: int = 21, **more: object) -> onnx.ModelProto:
    tensors = [numpy_helper.from_array(a, n) for n, a in (weights or {}).items()]
    graph = helper.make_graph(nodes, "net", inputs, outputs, tensors)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset)],
                             **more)


def dense(dtype: type = np.float32) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return proto([helper.make_node("MatMul", ["x", "w"], ["h"], "dense"),
                  helper.make_node("Add", ["h", "b"], ["y"], "bias")],
                 [info("x", ["N", 3], kind)], [info("y", ["N", 4], kind)],
                 {"w": rng.normal(size=(3, 4)).astype(dtype), "b": np.ones(4, dtype)})


def load(model: onnx.ModelProto, tmp_path: Path) -> ir.Model:
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return load_onnx(path)


def same(model: ir.Model, original: onnx.ModelProto, feeds: dict[str, np.ndarray],
         atol: float = 1e-6) -> None:
    expected = ReferenceEvaluator(original).run(None, feeds)
    found = ReferenceEvaluator(ir.to_proto(model)).run(None, feeds)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=atol)


def test_loading_keeps_the_meaning_and_the_symbolic_batch(tmp_path: Path) -> None:
    model = load(dense(), tmp_path)
    assert [str(d) for d in model.graph.outputs[0].shape] == ["N", "4"]
    same(model, dense(), {"x": np.ones((5, 3), np.float32)})


def test_every_value_has_dtype_and_shape_even_behind_computed_shapes(tmp_path: Path) -> None:
    nodes = [helper.make_node("Shape", ["x"], ["s"]),
             helper.make_node("Gather", ["s", "zero"], ["n"]),
             helper.make_node("Concat", ["n", "rest"], ["target"], axis=0),
             helper.make_node("Reshape", ["x", "target"], ["r"]),
             helper.make_node("Relu", ["r"], ["y"])]
    model = load(proto(nodes, [info("x", ["N", 6])], [info("y", ["N", 2, 3])],
                       {"zero": np.array([0]), "rest": np.array([2, 3])}), tmp_path)
    for node in model.graph:
        for value in node.outputs:
            assert value.dtype is not None
            assert all(isinstance(d, int) or d.value for d in value.shape)


def test_saved_model_loads_as_it_was_with_its_marks(tmp_path: Path) -> None:
    g = GraphBuilder("net")
    w = g.constant(np.ones((3, 2), np.float32), "w")
    w.metadata_props["ganglion.trainable"] = "1"
    g.output("y", g.op("MatMul", g.input("x", ir.DataType.FLOAT, (1, 3)), w))
    model = g.model({"ganglion.note": "kept"})
    save_onnx(model, tmp_path / "a.onnx")
    again = load_onnx(tmp_path / "a.onnx")
    assert again.metadata_props["ganglion.note"] == "kept"
    assert again.graph.initializers["w"].metadata_props["ganglion.trainable"] == "1"
    save_onnx(again, tmp_path / "b.onnx")
    save_onnx(load_onnx(tmp_path / "b.onnx"), tmp_path / "c.onnx")
    assert (tmp_path / "b.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_widths_are_float32_inside_and_stay_themselves_outside(
        tmp_path: Path, dtype: type) -> None:
    model = load(dense(dtype), tmp_path)
    declared = ir.DataType.from_numpy(np.dtype(dtype))
    assert [v.dtype for v in (*model.graph.inputs, *model.graph.outputs)] == [declared] * 2
    floats = [v.dtype for n in model.graph if n.op_type != "Cast"
              for v in [*n.inputs, *n.outputs]]
    assert set(floats) == {ir.DataType.FLOAT}
    # The original's sums below 4 round to multiples of 2^-9 in float16, three times.
    same(model, dense(dtype), {"x": np.ones((2, 3), dtype)}, atol=3 * 2**-9)


def test_weight_beyond_float32_is_an_error_that_names_it(tmp_path: Path) -> None:
    model = dense(np.float64)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((3, 4), 1e300), "w"))
    with pytest.raises(ModelError, match=r"'w' holds 1e\+300"):
        load(model, tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_or_infinity_in_weights_is_an_error_that_names_the_tensor(tmp_path: Path,
                                                                      bad: float) -> None:
    model = dense()
    array = np.ones((3, 4), np.float32)
    array[1, 2] = bad
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, "w"))
    with pytest.raises(ModelError, match=r"'w' .*\[1, 2\]"):
        load(model, tmp_path)


def test_default_of_an_input_becomes_a_constant_but_state_stays_an_input(tmp_path: Path) -> None:
    model = dense()
    model.graph.input.append(info("b", [4]))
    assert [v.name for v in load(model, tmp_path).graph.inputs] == ["x"]
    helper.set_model_props(model, {"ganglion.bindings": '[["y", "b"]]'})
    assert [v.name for v in load(model, tmp_path).graph.inputs] == ["x", "b"]


def test_local_function_is_inlined(tmp_path: Path) -> None:
    body = [helper.make_node("Mul", ["a", "a"], ["sq"]), helper.make_node("Relu", ["sq"], ["b"])]
    function = helper.make_function("mine", "Square", ["a"], ["b"], body,
                                    [helper.make_opsetid("", 21)])
    model = proto([helper.make_node("Square", ["x"], ["h"], domain="mine"),
                   helper.make_node("Square", ["h"], ["y"], domain="mine")],
                  [info("x", [2])], [info("y", [2])], functions=[function])
    model.opset_import.append(helper.make_opsetid("mine", 1))
    loaded = load(model, tmp_path)
    assert [n.op_type for n in loaded.graph] == ["Mul", "Relu", "Mul", "Relu"]
    same(loaded, model, {"x": np.array([1, -2], np.float32)})


def bomb(levels: int) -> onnx.ModelProto:
    functions = []
    for k in range(levels):
        callee, domain = (f"f{k + 1}", "mine") if k + 1 < levels else ("Relu", "")
        body = [helper.make_node(callee, ["a"], ["c"], domain=domain),
                helper.make_node(callee, ["c"], ["b"], domain=domain)]
        functions.append(helper.make_function("mine", f"f{k}", ["a"], ["b"], body,
                                              [helper.make_opsetid("", 21),
                                               helper.make_opsetid("mine", 1)]))
    model = proto([helper.make_node("f0", ["x"], ["y"], domain="mine")],
                  [info("x", [2])], [info("y", [2])], functions=functions)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    return model


def test_functions_that_expand_without_end_are_refused_before_expanding(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="expand to"):
        load(bomb(60), tmp_path)


def test_function_that_calls_itself_is_refused(tmp_path: Path) -> None:
    model = bomb(2)
    model.functions[1].node[0].op_type, model.functions[1].node[0].domain = "f0", "mine"
    with pytest.raises(ModelError, match="calls itself"):
        load(model, tmp_path)


def test_subgraph_is_refused_by_node(tmp_path: Path) -> None:
    body = helper.make_graph([helper.make_node("Relu", ["r"], ["t"])], "body", [info("r", [])],
                             [info("t", [])])
    model = proto([helper.make_node("Choice", ["x"], ["y"], "choice", domain="mine", body=body)],
                  [info("x", [2])], [info("y", [2])])
    model.opset_import.append(helper.make_opsetid("mine", 1))
    with pytest.raises(UnsupportedOp, match=r"'choice' \(Choice\)"):
        load(model, tmp_path)


@pytest.mark.parametrize(("op", "domain"), [("Relux", ""), ("Attention", "com.microsoft"),
                                            ("Upsample", "")])
def test_unknown_operator_is_named_with_what_exists(tmp_path: Path, op: str, domain: str) -> None:
    model = proto([helper.make_node("Relu", ["x"], ["y"], "odd")], [info("x", [2])],
                  [info("y", [2])])
    model.graph.node[0].op_type, model.graph.node[0].domain = op, domain
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
        with pytest.raises(UnsupportedOp, match=r"'odd'.*not supported: .*Relu"):
            load(model, tmp_path)
    else:
        with pytest.raises(ModelError, match=op):
            load(model, tmp_path)


def test_all_operators_that_are_missing_are_named_once_with_their_numbers(tmp_path: Path) -> None:
    nodes = [helper.make_node(op, [a], [b], b, domain=domain) for op, a, b, domain in (
        ("Odd", "x", "u", "own"), ("Relu", "u", "v", ""), ("Odd", "v", "w", "own"),
        ("Attention", "w", "y", "com.microsoft"))]
    model = proto(nodes, [info("x", [2])], [info("y", [2])])
    model.opset_import.extend(helper.make_opsetid(d, 1) for d in ("own", "com.microsoft"))
    with pytest.raises(UnsupportedOp,
                       match=r"own\.Odd \(2 nodes\) and com\.microsoft\.Attention \(1 node\) are"):
        load(model, tmp_path)


def test_declared_output_that_differs_is_an_error(tmp_path: Path) -> None:
    model = dense()
    model.graph.output[0].CopyFrom(info("y", ["N", 5]))
    with pytest.raises(ModelError):
        load(model, tmp_path)


def external(tmp_path: Path, **entries: str) -> onnx.ModelProto:
    model = dense()
    tensor = model.graph.initializer[0]
    (tmp_path / "w.bin").write_bytes(b"\0" * 16 + tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "w.bin", "offset": "16", "length": "48", **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return model


def test_external_data_in_the_folder_is_read(tmp_path: Path) -> None:
    same(load(external(tmp_path), tmp_path), dense(), {"x": np.ones((1, 3), np.float32)})


@pytest.mark.parametrize("location", ["/etc/passwd", "../w.bin", "a/../../w.bin", "", "link",
                                      "C:\\w.bin", "..\\w.bin"])
def test_external_data_outside_the_folder_is_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(b"\0" * 64)
    (folder / "link").symlink_to(tmp_path / "w.bin")
    with pytest.raises(TrustError):
        load(external(folder, location=location), folder)


@pytest.mark.parametrize("entries", [{"offset": "17"}, {"length": "47"}, {"offset": "-1"},
                                     {"length": "9" * 40}, {"location": "missing"},
                                     {"location": "."}])
def test_external_data_that_does_not_fit_is_an_error(tmp_path: Path,
                                                     entries: dict[str, str]) -> None:
    with pytest.raises(GanglionError):
        load(external(tmp_path, **entries), tmp_path)


def negative(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].dims[0] = -3


def overflowing(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].dims[:] = [2**62, 4]


def wrapping(m: onnx.ModelProto) -> None:
    # In 64-bit arithmetic these dimensions multiply to 0.
    m.graph.initializer[0].dims[:] = [2**32, 2**32]


def short(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].raw_data = m.graph.initializer[0].raw_data[:-1]


def strange_type(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].data_type = 9999


def strings(m: onnx.ModelProto) -> None:
    m.graph.initializer[0].data_type = TensorProto.STRING


def negative_input(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -3


def huge_input(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2**40


def no_opset(m: onnx.ModelProto) -> None:
    del m.opset_import[:]


def cycle(m: onnx.ModelProto) -> None:
    m.graph.node[0].input[0] = "y"


def twice(m: onnx.ModelProto) -> None:
    m.graph.node[1].output[0] = "h"


def old(m: onnx.ModelProto) -> None:
    m.opset_import[0].version = 0


def future(m: onnx.ModelProto) -> None:
    m.opset_import[0].version = 4000


def sequence(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = F


def bad_bindings(m: onnx.ModelProto) -> None:
    helper.set_model_props(m, {"ganglion.bindings": "[1"})


@pytest.mark.parametrize("edit", [
    negative, overflowing, wrapping, short, strange_type, strings, negative_input, huge_input,
    no_opset, cycle, twice, old, future, sequence, bad_bindings])
def test_malformed_file_is_a_model_error(tmp_path: Path, edit: Edit) -> None:
    model = dense()
    edit(model)
    with pytest.raises(ModelError):
        load(model, tmp_path)


def test_absent_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.onnx"):
        load_onnx(tmp_path / "nothing.onnx")


HALVES = [(onnx.TensorProto.FLOAT16, np.dtype(np.float16)),
          (onnx.TensorProto.BFLOAT16, np.dtype(ml_dtypes.bfloat16))]
BETWEEN = np.array([0.1, -2.7182818, 1.00048828125, 1.0009765625, 2049, 65519.9, 65520, 1e-7,
                    2.9e-8, -1e-8, 0, -0.0, 3.3e38, 1e-40, np.inf, -np.inf, np.nan], np.float32)


@pytest.mark.parametrize(("kind", "dtype"), HALVES, ids=["float16", "bfloat16"])
def test_a_cast_to_a_half_rounds_and_an_output_of_that_type_comes_as_it(
        tmp_path: Path, kind: int, dtype: np.dtype[np.generic]) -> None:
    shape = list(BETWEEN.shape)
    model = load(proto([helper.make_node("Cast", ["x"], ["y"], to=kind),
                        helper.make_node("Cast", ["y"], ["z"], to=onnx.TensorProto.FLOAT)],
                       [info("x", shape)], [info("y", shape, kind), info("z", shape)], {}),
                 tmp_path)
    with np.errstate(all="ignore"):
        wanted = BETWEEN.astype(dtype)
    for isas in (("scalar",), None):
        y, z = gg.compile(model, isas=isas).session().run(BETWEEN)
        assert (y.dtype, z.dtype) == (dtype, np.float32)
        np.testing.assert_array_equal(y.astype(np.float64), wanted.astype(np.float64))
        np.testing.assert_array_equal(z, wanted.astype(np.float32))
        np.testing.assert_array_equal(np.signbit(z[:-1]), np.signbit(BETWEEN[:-1]))


@pytest.mark.parametrize(("kind", "dtype"), [*HALVES, (onnx.TensorProto.DOUBLE,
                                                       np.dtype(np.float64))],
                         ids=["float16", "bfloat16", "float64"])
def test_ports_of_other_widths_are_given_and_taken_as_declared_and_the_network_trains(
        tmp_path: Path, kind: int, dtype: np.dtype[np.generic]) -> None:
    rng = np.random.default_rng(3)
    w = rng.normal(size=(3, 2)).astype(dtype)
    model = load(proto([helper.make_node("MatMul", ["x", "w"], ["h"]),
                        helper.make_node("Relu", ["h"], ["y"])],
                       [info("x", ["N", 3], kind)], [info("y", ["N", 2], kind)], {"w": w}),
                 tmp_path)
    session = gg.compile(model).session()
    x = rng.normal(size=(1, 3)).astype(dtype)
    wanted = np.maximum(x.astype(np.float32) @ w.astype(np.float32), 0)
    for given in (x, x.astype(np.float64)):
        y = session.run(given)
        assert y.dtype == dtype
        np.testing.assert_allclose(y.astype(np.float32), wanted, rtol=2**-7 if dtype.itemsize == 2
                                   else 1e-6)
    rows = rng.normal(size=(16, 3)).astype(np.float32)
    trained, _ = gg.fit(model, rows, rows[:, :2], loss="mse", epochs=1)
    assert gg.quantize(trained, rows).graph.inputs[0].dtype == ir.DataType.FLOAT


def test_a_cast_like_a_half_rounds(tmp_path: Path) -> None:
    kind = onnx.TensorProto.FLOAT16
    model = load(proto([helper.make_node("CastLike", ["x", "like"], ["h"]),
                        helper.make_node("Cast", ["h"], ["y"], to=onnx.TensorProto.FLOAT)],
                       [info("x", [4]), info("like", [1], kind)], [info("y", [4])], {}), tmp_path)
    x = np.array([0.1, 1.00048828125, 2049, -3.3], np.float32)
    y = gg.compile(model).session().run(x, np.ones(1, np.float16))
    np.testing.assert_array_equal(y, x.astype(np.float16).astype(np.float32))
