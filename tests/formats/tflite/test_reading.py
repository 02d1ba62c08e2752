"""Whole .tflite networks: what is refused and why, shapes made of shapes, ports, real files."""

import os
import re
import struct
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.tflite_files import TfliteFile

import ganglion as gg
from ganglion.errors import GanglionError, ModelError, TrustError, UnsupportedOp
from ganglion.formats.tflite import file as tflite_file
from ganglion.formats.tflite.read.control import RULES
from ganglion.formats.tflite.read.rows import ROWS
from ganglion.ops.evaluate import evaluate

MODELS = os.environ.get("GANGLION_MODELS")
REAL = ("ad01_fp32", "ad01_int8", "kws_ref_model", "kws_ref_model_float32", "pretrainedResnet",
        "pretrainedResnet_quant")


def read(data: bytes, folder: Path) -> ir.Model:
    (folder / "net.tflite").write_bytes(data)
    return gg.load(folder / "net.tflite")


def relu(**more: object) -> tuple[TfliteFile, int, int]:
    """A file with tensors x and y of [2, 3], no operator yet."""
    file = TfliteFile()
    return file, file.tensor([2, 3], name="x", **more), file.tensor([2, 3], name="y")  # type: ignore[arg-type]


def test_ports_keep_their_names_order_and_types(tmp_path: Path) -> None:
    file = TfliteFile()
    a, b = file.tensor([2], name="left"), file.tensor([2], "int32", name="right")
    s, c = file.tensor([2], name="sum"), file.tensor([2], name="number")
    file.op("CAST", [b], [c])
    file.op("ADD", [a, c], [s], ("AddOptions", {}))
    model = read(file.build([b, a], [s, c]), tmp_path)
    assert [(v.name, v.dtype) for v in model.graph.inputs] == [
        ("right", ir.DataType.INT32), ("left", ir.DataType.FLOAT)]
    found = evaluate(model, {"left": np.float32([1, 2]), "right": np.int32([3, 4])})
    assert list(found) == ["sum", "number"]
    np.testing.assert_array_equal(found["sum"], [4, 6])


def test_every_value_has_a_type_and_a_fixed_shape(tmp_path: Path) -> None:
    file, x, y = relu(signature=[-1, 3])
    file.op("EXP", [x], [y])
    model = read(file.build([x], [y]), tmp_path)
    values = [*model.graph.inputs, *(v for n in model.graph for v in n.outputs)]
    assert all(v.dtype is not None and v.shape is not None and v.shape.is_static()
               for v in values)
    assert model.opset_imports[""] == 21


def test_shapes_computed_from_shapes_are_constants(tmp_path: Path) -> None:
    """What a converter writes for Flatten with an open batch: SHAPE, STRIDED_SLICE, PACK."""
    file, x, _ = relu(signature=[-1, 3])
    shape, batch, new = file.tensor([2], "int32"), file.tensor([], "int32"), file.tensor(
        [2], "int32")
    zero, one, three = (file.constant(a) for a in (
        np.int32([0]), np.int32([1]), np.int32(3)))
    flat = file.tensor([1, 1], signature=[-1, -1])
    file.op("SHAPE", [x], [shape])
    file.op("STRIDED_SLICE", [shape, zero, one, one], [batch],
            ("StridedSliceOptions", {"shrink_axis_mask": 1}))
    file.op("PACK", [batch, three], [new], ("PackOptions", {"values_count": 2}))
    file.op("RESHAPE", [x, new], [flat])
    model = read(file.build([x], [flat]), tmp_path)
    assert model.graph.outputs[0].shape == ir.Shape([2, 3])
    assert {n.op_type for n in model.graph} <= {"Identity", "Reshape"}


def test_an_output_may_be_an_input_or_a_constant(tmp_path: Path) -> None:
    file, x, _ = relu()
    c = file.constant(np.float32([7, 8]), name="c")
    model = read(file.build([x], [x, c]), tmp_path)
    first, second = evaluate(model, {"x": np.ones((2, 3), np.float32)}).values()
    np.testing.assert_array_equal(first, np.ones((2, 3)))
    np.testing.assert_array_equal(second, [7, 8])


def test_files_before_2020_keep_the_kind_of_operator_in_the_old_field(tmp_path: Path) -> None:
    file, x, y = relu()
    file.op("RELU", [x], [y])
    data = bytearray(file.build([x], [y]))
    model = tflite_file.Table.root(bytes(data))
    [code] = model.tables("operator_codes", "OperatorCode")
    place = code._field("builtin_code")
    assert place is not None
    struct.pack_into("<i", data, place[1], 0)
    assert "Relu" in {n.op_type for n in read(bytes(data), tmp_path).graph}


def test_an_unknown_operator_is_named_with_its_number_and_tensors(tmp_path: Path) -> None:
    file, x, y = relu()
    z = file.tensor([2, 3])
    file.op("RELU", [x], [z])
    file.op("CUMSUM", [z], [y])
    with pytest.raises(UnsupportedOp, match=r"operator 1 CUMSUM \('t2' to 'y'\).*CONV_2D"):
        read(file.build([x], [y]), tmp_path)


def test_all_operators_that_are_missing_are_named(tmp_path: Path) -> None:
    file, x, y = relu()
    z, w = file.tensor([2, 3]), file.tensor([2, 3])
    file.op("RFFT2D", [x], [z])
    file.op("CUSTOM 'Odd'", [z], [w])
    file.op("RFFT2D", [w], [y])
    with pytest.raises(UnsupportedOp,
                       match=r"RFFT2D \(2 operators\) and CUSTOM 'Odd' \(1 op"):
        read(file.build([x], [y]), tmp_path)


def test_a_custom_operator_is_named(tmp_path: Path) -> None:
    file, x, y = relu()
    file.custom = "Fancy"
    file.op("CUSTOM", [x], [y])
    with pytest.raises(UnsupportedOp, match="CUSTOM 'Fancy'"):
        read(file.build([x], [y]), tmp_path)


def test_an_operator_without_its_inputs_is_refused(tmp_path: Path) -> None:
    for name in ROWS:
        file, x, y = relu()
        file.op(name, [], [y])
        with pytest.raises(ModelError):
            read(file.build([x], [y]), tmp_path)
        file.operators[0] = (name, [-1] * 4, [y], None)
        with pytest.raises(ModelError):
            read(file.build([x], [y]), tmp_path)


def test_an_operator_that_reads_what_comes_later_is_refused(tmp_path: Path) -> None:
    file, x, y = relu()
    z = file.tensor([2, 3], name="z")
    file.op("ADD", [x, z], [y], ("AddOptions", {}))
    file.op("ADD", [x, y], [z], ("AddOptions", {}))
    with pytest.raises(ModelError, match="'z', which is neither an input"):
        read(file.build([x], [y]), tmp_path)


def test_a_tensor_written_twice_is_refused(tmp_path: Path) -> None:
    file, x, y = relu()
    file.op("RELU", [x], [y])
    file.op("RELU", [x], [y])
    with pytest.raises(ModelError, match="'y', which is an input, a constant or written already"):
        read(file.build([x], [y]), tmp_path)


def test_a_shape_that_the_operator_does_not_give_is_refused(tmp_path: Path) -> None:
    file, x, _ = relu()
    y = file.tensor([3, 2], name="y")
    file.op("RELU", [x], [y])
    with pytest.raises(ModelError, match=r"gives the shape \[2, 3\].*declared \[3, 2\]"):
        read(file.build([x], [y]), tmp_path)


@pytest.mark.parametrize("declared", [[], [1, 4, 4, 1]])
def test_shapes_between_that_converters_left_as_they_were_are_computed_anew(
        declared: list[int], tmp_path: Path) -> None:
    """No shape at all, and the one row of a batch that blocks of pixels were dealt out to."""
    file = TfliteFile()
    x, y = file.tensor([1, 8, 8, 1]), file.tensor([1, 8, 8, 1])
    dealt, made = file.tensor(declared), file.tensor(declared)
    block, none = file.constant(np.int32([2, 2])), file.constant(np.zeros((2, 2), np.int32))
    file.op("SPACE_TO_BATCH_ND", [x, block, none], [dealt])
    file.op("RELU", [dealt], [made])
    file.op("BATCH_TO_SPACE_ND", [made, block, none], [y])
    model = read(file.build([x], [y]), tmp_path)
    given = np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype(np.float32)
    found, = evaluate(model, {str(model.graph.inputs[0].name): given}).values()
    np.testing.assert_array_equal(found, np.maximum(given, 0))


def test_the_scales_of_a_vector_lie_along_its_only_axis(tmp_path: Path) -> None:
    """Early converters wrote the axis of the weights."""
    file = TfliteFile()
    x, y = file.tensor([3], "int8", scale=[0.5, 1.0, 2.0], zero=[0, 0, 0], axis=3), file.tensor([3])
    file.op("DEQUANTIZE", [x], [y])
    model = read(file.build([x], [y]), tmp_path)
    found, = evaluate(model, {str(model.graph.inputs[0].name): np.int8([4, 4, 4])}).values()
    np.testing.assert_array_equal(found, [2, 4, 8])


@pytest.mark.parametrize(("shape", "text"), [
    ([2, 4], "holds 24 bytes, expected 32"), ([2, -3], "must not be negative"),
    ([2**30, 2**30, 2**30], "at most"), ([65536, 65536], "at most")])
def test_a_constant_that_does_not_fill_its_shape_is_refused(shape: list[int], text: str,
                                                            tmp_path: Path) -> None:
    file, x, y = relu()
    c = file.tensor(shape, data=np.zeros(6, np.float32))
    file.op("ADD", [x, c], [y], ("AddOptions", {}))
    with pytest.raises(ModelError, match=text):
        read(file.build([x], [y]), tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(bad: float, tmp_path: Path) -> None:
    file, x, y = relu()
    c = file.constant(np.float32([1, bad, 3]), name="w")
    file.op("ADD", [x, c], [y], ("AddOptions", {}))
    with pytest.raises(ModelError, match=r"'w' of shape \[3\] holds (nan|inf) at \[1\]"):
        read(file.build([x], [y]), tmp_path)


@pytest.mark.parametrize(("scale", "zero", "text"), [
    (0.0, 0, "positive"), (np.nan, 0, "positive"), (-1.0, 0, "positive"), (1.0, 300, "outside"),
    ([1.0, 2.0], [0, 0], "along axis 0")])
def test_a_quantisation_that_means_nothing_is_refused(
        scale: float | list[float], zero: int | list[int], text: str, tmp_path: Path) -> None:
    file = TfliteFile()
    x, y = file.tensor([3], "int8", scale=scale, zero=zero), file.tensor([3])
    file.op("DEQUANTIZE", [x], [y])
    with pytest.raises(ModelError, match=text):
        read(file.build([x], [y]), tmp_path)


def test_an_input_without_a_fixed_shape_is_refused(tmp_path: Path) -> None:
    file, x, y = relu(signature=[-1, -1])
    file.op("RELU", [x], [y])
    with pytest.raises(ModelError, match="input 'x' has no fixed shape"):
        read(file.build([x], [y]), tmp_path)


def test_many_tensors_of_one_buffer_are_refused(tmp_path: Path) -> None:
    """A small file must not ask for much memory."""
    file, x, y = relu()
    c = file.constant(np.ones(500_000, np.float32))
    others = [file.constant(np.ones(1, np.float32)) for _ in range(20)]
    file.op("RELU", [x], [y])
    data = bytearray(file.build([x], [y]))
    [graph] = tflite_file.Table.root(bytes(data)).tables("subgraphs", "SubGraph")
    tensors = graph.tables("tensors", "Tensor")
    for k in others:
        for field, number in (("buffer", c + 1), ("shape", 500_000)):
            found = tensors[k]._field(field)
            assert found is not None
            place = tensors[k]._vector(found[1], 4, field)[0] if field == "shape" else found[1]
            struct.pack_into("<I", data, place, number)
    with pytest.raises(TrustError, match="many tensors share one buffer"):
        read(bytes(data), tmp_path)


def test_another_format_and_another_version_are_refused(tmp_path: Path) -> None:
    file, x, y = relu()
    file.op("RELU", [x], [y])
    with pytest.raises(ModelError, match="schema version 2"):
        read(file.build([x], [y], version=2), tmp_path)
    with pytest.raises(ModelError, match="TFL3"):
        read(b"PK\3\4" * 9, tmp_path)


def test_lstm_parts_that_no_kernel_has_are_refused(tmp_path: Path) -> None:
    file = TfliteFile()
    x, y = file.tensor([1, 2, 3]), file.tensor([1, 2, 4])
    w = file.constant(np.ones((4, 3), np.float32))
    r = file.constant(np.ones((4, 4), np.float32))
    peephole = file.constant(np.ones(4, np.float32))
    options = ("UnidirectionalSequenceLSTMOptions", {"fused_activation_function": 4})
    file.op("UNIDIRECTIONAL_SEQUENCE_LSTM", [x, *[w] * 4, *[r] * 4, *[peephole] * 3], [y], options)
    with pytest.raises(UnsupportedOp, match="peepholes"):
        read(file.build([x], [y]), tmp_path)


@pytest.mark.skipif(MODELS is None, reason="GANGLION_MODELS names no folder of real networks")
@pytest.mark.parametrize("name", REAL)
def test_real_networks_compile_and_the_integer_ones_exactly(name: str) -> None:
    model = gg.load(Path(str(MODELS)) / f"{name}.tflite")
    assert [v.name for v in model.graph.initializers.values() if not v.uses()] == []
    built = gg.compile(model, samples=2)
    check = built.manifest["check"]
    assert isinstance(check, dict)
    assert check["status"] == "passed"
    integer = model.graph.inputs[0].dtype == ir.DataType.INT8
    assert check["exact"] == integer


def test_the_page_names_every_operator_that_is_read() -> None:
    page = (Path(__file__).parents[3] / "docs" / "tflite.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2] for line in page.splitlines() if line.count("|") == 3]
    others = {"ONNX", "LSTM", "GRU", "RNN"}
    custom = {f"CUSTOM {name!r}" for name in re.findall(r"`(\w+)`", " ".join(rows))}
    plain = re.sub(r"`\w+`", "", " ".join(rows))
    assert set(re.findall(r"[A-Z][A-Z0-9_]{2,}", plain)) - others | custom == {*ROWS, *RULES}


@pytest.mark.parametrize(("options", "size", "text"), [
    ([1, 2, 2, 3, 3, 0], 6, "only windows side by side"), ([1, 2, 2, 2, 2, 0], 5, "do not divide"),
    ([0, 2, 2, 2, 2, 0], 6, "no padding"), ([1, 2, 2], 6, "12 bytes of options")])
def test_windows_that_are_not_side_by_side_are_refused(options: list[int], size: int, text: str,
                                                       tmp_path: Path) -> None:
    file = TfliteFile()
    x, y, places = file.tensor([1, size, size, 1]), *(file.tensor([1, 3, 3, 1]) for _ in range(2))
    file.op("CUSTOM 'MaxPoolingWithArgmax2D'", [x], [y, places], np.int32(options).tobytes())
    with pytest.raises(GanglionError, match=text):
        read(file.build([x], [y, places]), tmp_path)
