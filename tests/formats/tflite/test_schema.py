"""The checked reader: its rows are the schema's, and nothing is read outside the file."""

import struct

import pytest
import tflite
from tests.support.tflite_files import TfliteFile, camel

from ganglion.errors import ModelError
from ganglion.formats.tflite.schema import ROWS, VECTORS, Table, fields

SLOTS = {"i8": "Int8", "u8": "Uint8", "bool": "Bool", "i32": "Int32", "u32": "Uint32",
         "u64": "Uint64", "f32": "Float32"}


class Recorder:
    """Stands in for a flatbuffers.Builder and notes which slot a builder function writes."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, float]] = []

    def __getattr__(self, name: str) -> object:
        def note(slot: int, value: object, default: float) -> None:
            self.calls.append((name, slot, default))
        return note


CHECKED = [(table, name) for table in ROWS for name in fields(table)
           if not name.startswith("new_") or table == "ReshapeOptions"]


def test_rows_are_the_schemas_own_slots_kinds_and_defaults() -> None:
    for table, name in CHECKED:
        row, recorder = fields(table)[name], Recorder()
        getattr(tflite, f"{table}Add{camel(name)}")(recorder, 0)
        [(function, slot, default)] = recorder.calls
        kind = SLOTS.get(row.kind, "UOffsetTRelative")
        assert (function, slot) == (f"Prepend{kind}Slot", row.slot), (table, name)
        if row.kind in SLOTS:
            assert default == row.default, (table, name)


def small() -> bytes:
    file = TfliteFile()
    x, y = file.tensor([2, 3]), file.tensor([2, 3])
    file.op("RELU", [x], [y])
    return file.build([x], [y])


def test_an_absent_field_has_its_default_and_an_absent_vector_is_empty() -> None:
    options = Table.empty("Conv2DOptions")
    assert options.integer("dilation_w_factor") == 1
    assert options.integer("stride_w") == 0
    assert Table.empty("Tensor").integers("shape") == ()
    assert Table.empty("Tensor").text("name") == ""
    assert Table.empty("Tensor").table("quantization", "QuantizationParameters") is None


def test_what_was_written_is_read() -> None:
    model = Table.root(small())
    assert model.integer("version") == 3
    [graph] = model.tables("subgraphs", "SubGraph")
    assert [t.integers("shape") for t in graph.tables("tensors", "Tensor")] == [(2, 3), (2, 3)]
    assert graph.text("name") == "main"
    assert graph.integers("inputs") == (0,)


def test_a_vtable_outside_the_file_is_refused() -> None:
    data = bytearray(small())
    root = struct.unpack_from("<I", data, 0)[0]
    for offset in (2**31 - 1, -2**31, root + 1, -len(data)):
        struct.pack_into("<i", data, root, offset)
        with pytest.raises(ModelError, match="damaged"):
            Table.root(bytes(data))


def test_a_root_outside_the_file_is_refused() -> None:
    data = bytearray(small())
    for place in (len(data), len(data) - 2, 2**32 - 1):
        struct.pack_into("<I", data, 0, place)
        with pytest.raises(ModelError, match="damaged"):
            Table.root(bytes(data))


def test_a_vector_longer_than_the_file_is_refused() -> None:
    for kind in VECTORS:
        field = {"bytes": ("Buffer", "data"), "ints": ("SubGraph", "inputs"),
                 "longs": ("QuantizationParameters", "zero_point"),
                 "shorts": ("Uint16Vector", "values"),
                 "floats": ("QuantizationParameters", "scale")}[kind]
        slot = fields(field[0])[field[1]].slot
        # vtable, table with one offset, and a vector that declares 2^30 elements
        size = 4 + 2 * (slot + 1)
        vtable = struct.pack("<HH", size, 8) + b"\0\0" * slot + struct.pack("<H", 4)
        table = struct.pack("<iI", size, 4) + struct.pack("<I", 2**30)
        with pytest.raises(ModelError, match="1073741824 elements"):
            Table(vtable + table, size, field[0]).array(field[1])


def test_a_field_beyond_its_table_is_refused() -> None:
    vtable = struct.pack("<HHH", 6, 8, 7)
    with pytest.raises(ModelError, match="field 'version' lies at byte 7 of a table of 8"):
        Table(vtable + struct.pack("<iI", 6, 3), 6, "Model").integer("version")
