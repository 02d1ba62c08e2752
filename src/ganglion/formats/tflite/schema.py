"""The tables of TensorFlow Lite's schema that are read, and a reader that checks every offset.

A FlatBuffer is a web of offsets which its generated accessors follow without looking. Here each
step is compared with the bytes that there are (FlatBuffers internals: a table starts with a signed
offset back to its vtable, which gives the place of each field; strings and vectors start with
their length). Nothing that a file declares is allocated before it is found in the file.
Source of the rows: tensorflow/compiler/mlir/lite/schema/schema.fbs, version 3.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from ganglion.errors import ModelError, TrustError

WIDTHS: Mapping[str, str] = {"i8": "<b", "u8": "<B", "bool": "<?", "i32": "<i", "u32": "<I",
                             "u64": "<Q", "f32": "<f"}
"""Kinds of fields kept in the table itself; the others are offsets of four bytes."""
MAX_TEXT = 1 << 12
"""Bytes of a text that are read."""
MAX_REPEATED = 64
"""A file's numbers and texts may be read so many times over: many tensors and operators can share
one list. Beyond that its lists would take more time than its bytes."""
VECTORS: Mapping[str, str] = {"bytes": "|u1", "ints": "<i4", "longs": "<i8", "floats": "<f4",
                               "shorts": "<u2"}

_ACTIVATED = "fused_activation_function:i8"
ROWS: Mapping[str, str] = {
    "Model": "version:u32 operator_codes:tables subgraphs:tables description:text buffers:tables",
    "OperatorCode": "deprecated_builtin_code:i8 custom_code:text version:i32=1 builtin_code:i32",
    "SubGraph": "tensors:tables inputs:ints outputs:ints operators:tables name:text",
    "Tensor": "shape:ints type:i8 buffer:u32 name:text quantization:table is_variable:bool "
              "sparsity:table shape_signature:ints has_rank:bool",
    "QuantizationParameters": "min:floats max:floats scale:floats zero_point:longs "
                              "details_type:u8 details:table quantized_dimension:i32",
    "SparsityParameters": "traversal_order:ints block_map:ints dim_metadata:tables",
    "DimensionMetadata": "format:i8 dense_size:i32 array_segments_type:u8 array_segments:table "
                         "array_indices_type:u8 array_indices:table",
    "Int32Vector": "values:ints",
    "Uint16Vector": "values:shorts",
    "Uint8Vector": "values:bytes",
    "Operator": "opcode_index:u32 inputs:ints outputs:ints builtin_options_type:u8 "
                "builtin_options:table custom_options:bytes",
    "Buffer": "data:bytes offset:u64 size:u64",
    "AddOptions": _ACTIVATED,
    "AssignVariableOptions": "",
    "CallOnceOptions": "init_subgraph_index:i32",
    "ReadVariableOptions": "",
    "VarHandleOptions": "container:text shared_name:text",
    "ArgMaxOptions": "output_type:i8",
    "ArgMinOptions": "output_type:i8",
    "BatchMatMulOptions": "adj_x:bool adj_y:bool",
    "CastOptions": "in_data_type:i8 out_data_type:i8",
    "ConcatenationOptions": f"axis:i32 {_ACTIVATED}",
    "Conv2DOptions": f"padding:i8 stride_w:i32 stride_h:i32 {_ACTIVATED} dilation_w_factor:i32=1 "
                     "dilation_h_factor:i32=1",
    "DepthToSpaceOptions": "block_size:i32",
    "DepthwiseConv2DOptions": "padding:i8 stride_w:i32 stride_h:i32 depth_multiplier:i32 "
                              f"{_ACTIVATED} dilation_w_factor:i32=1 dilation_h_factor:i32=1",
    "DivOptions": _ACTIVATED,
    "FullyConnectedOptions": f"{_ACTIVATED} weights_format:i8 keep_num_dims:bool",
    "GatherOptions": "axis:i32 batch_dims:i32",
    "GeluOptions": "approximate:bool",
    "L2NormOptions": _ACTIVATED,
    "LeakyReluOptions": "alpha:f32",
    "MirrorPadOptions": "mode:i8",
    "MulOptions": _ACTIVATED,
    "PackOptions": "values_count:i32 axis:i32",
    "Pool2DOptions": "padding:i8 stride_w:i32 stride_h:i32 filter_width:i32 filter_height:i32 "
                     f"{_ACTIVATED}",
    "ReducerOptions": "keep_dims:bool",
    "ReshapeOptions": "new_shape:ints",
    # The first two fields were removed from the schema; their places stay.
    "ResizeBilinearOptions": "new_height:i32 new_width:i32 align_corners:bool "
                             "half_pixel_centers:bool",
    "ResizeNearestNeighborOptions": "align_corners:bool half_pixel_centers:bool",
    "SequenceRNNOptions": "time_major:bool fused_activation_function:i8 "
                          "asymmetric_quantize_inputs:bool",
    "SVDFOptions": f"rank:i32 {_ACTIVATED} asymmetric_quantize_inputs:bool",
    "ShapeOptions": "out_type:i8",
    "SoftmaxOptions": "beta:f32",
    "SpaceToDepthOptions": "block_size:i32",
    "SplitOptions": "num_splits:i32",
    "SplitVOptions": "num_splits:i32",
    "SqueezeOptions": "squeeze_dims:ints",
    "StridedSliceOptions": "begin_mask:i32 end_mask:i32 ellipsis_mask:i32 new_axis_mask:i32 "
                           "shrink_axis_mask:i32 offset:bool",
    "SubOptions": _ACTIVATED,
    "TransposeConvOptions": f"padding:i8 stride_w:i32 stride_h:i32 {_ACTIVATED}",
    "UnidirectionalSequenceLSTMOptions": f"{_ACTIVATED} cell_clip:f32 proj_clip:f32 "
                                         "time_major:bool asymmetric_quantize_inputs:bool "
                                         "diagonal_recurrent_tensors:bool",
    "WhileOptions": "cond_subgraph_index:i32 body_subgraph_index:i32",
    "UnpackOptions": "num:i32 axis:i32",
}
"""Fields of each table in the order of their slots, as `name:kind[=default]` (default 0)."""


@dataclass(frozen=True)
class Field:
    """One field: its slot in the vtable, its kind (`WIDTHS`, `VECTORS`, text, table, tables)."""

    slot: int
    kind: str
    default: int


@cache
def fields(table: str) -> Mapping[str, Field]:
    """The fields of a table by name."""
    found = {}
    for slot, text in enumerate(ROWS[table].split()):
        name, _, rest = text.partition(":")
        kind, _, default = rest.partition("=")
        found[name] = Field(slot, kind, int(default or 0))
    return found


@dataclass
class _Reading:
    """Counts the bytes that are turned into Python's values, which may be named many times."""

    left: int

    def took(self, nbytes: int) -> None:
        self.left -= nbytes
        if self.left < 0:
            raise TrustError("many tables of the file share one list or text, so that reading it "
                             "would take more time than its size allows; no honest converter "
                             "writes that")


class Table:
    """One table of a FlatBuffer. Reads raise ModelError for whatever lies outside the file.

    `name`: its row in `ROWS`. An absent scalar has its default, an absent text or vector is empty.
    """

    def __init__(self, data: bytes, place: int, name: str,
                 reading: "_Reading | None" = None) -> None:
        self._data, self._place, self.name = data, place, name
        self._reading = reading or _Reading(MAX_REPEATED * len(data) + 4096)
        self._reading.took(4)
        vtable = place - int(self._unpack("<i", place))
        size = int(self._unpack("<H", vtable))
        self._bytes = int(self._unpack("<H", vtable + 2))
        self._inside(vtable, size)
        self._inside(place, self._bytes)
        self._vtable = struct.unpack_from(f"<{size // 2}H", data, vtable)[2:]

    @classmethod
    def root(cls, data: bytes) -> "Table":
        """The Model of a whole file. Raises ModelError unless it is a TensorFlow Lite file."""
        if data[4:8] != b"TFL3":
            raise ModelError(f"the file of {len(data)} bytes does not carry TensorFlow Lite's mark "
                             "'TFL3'; it is another format, or it is cut short")
        return cls(data, struct.unpack_from("<I", data, 0)[0], "Model")

    @classmethod
    def empty(cls, name: str) -> "Table":
        """A table in which every field has its default."""
        return cls(struct.pack("<HHi", 4, 4, 4), 4, name)

    def integer(self, field: str) -> int:
        """A whole number or a truth value."""
        return int(self._scalar(field))

    def number(self, field: str) -> float:
        """A float32, which may be anything, NaN too."""
        return float(self._scalar(field))

    def text(self, field: str) -> str:
        """The first `MAX_TEXT` bytes of a string; those that are no UTF-8 are shown as escapes."""
        found = self._field(field)
        start, count = self._vector(found[1], 1, field) if found else (0, 0)
        count = min(count, MAX_TEXT)
        self._reading.took(count)
        return self._data[start:start + count].decode("utf-8", "backslashreplace")

    def array(self, field: str) -> np.ndarray:
        """A vector of numbers, a view of the file."""
        dtype = np.dtype(VECTORS[fields(self.name)[field].kind])
        found = self._field(field)
        start, count = self._vector(found[1], dtype.itemsize, field) if found else (0, 0)
        if dtype.itemsize > 1:
            self._reading.took(count * dtype.itemsize)
        return np.frombuffer(self._data, dtype, count, start)

    def integers(self, field: str) -> tuple[int, ...]:
        """A vector of whole numbers."""
        return tuple(self.array(field).tolist())

    def has(self, field: str) -> bool:
        """Whether the file holds this field at all."""
        return self._field(field) is not None

    def table(self, field: str, name: str) -> "Table | None":
        """A table of the row `name`, None where it is absent."""
        found = self._field(field)
        return None if found is None else Table(self._data, self._follow(found[1]), name,
                                                   self._reading)

    def tables(self, field: str, name: str) -> "list[Table]":
        """A vector of tables of the row `name`."""
        found = self._field(field)
        start, count = self._vector(found[1], 4, field) if found else (0, 0)
        return [Table(self._data, self._follow(start + 4 * k), name, self._reading)
                for k in range(count)]

    def _field(self, field: str) -> tuple[Field, int] | None:
        """The field's row and its place in the file, None where it is absent."""
        row = fields(self.name)[field]
        offset = self._vtable[row.slot] if row.slot < len(self._vtable) else 0
        if offset == 0:
            return None
        width = struct.calcsize(WIDTHS.get(row.kind, "<I"))
        if offset < 4 or offset + width > self._bytes:
            raise self._damaged(f"field {field!r} lies at byte {offset} of a table of "
                                f"{self._bytes}")
        return row, self._place + offset

    def _scalar(self, field: str) -> int | float:
        found = self._field(field)
        if found is None:
            return fields(self.name)[field].default
        return self._unpack(WIDTHS[found[0].kind], found[1])

    def _vector(self, place: int, width: int, field: str) -> tuple[int, int]:
        """Where the elements of a vector start and how many there are."""
        start = self._follow(place)
        count = int(self._unpack("<I", start))
        if start + 4 + count * width > len(self._data):
            raise self._damaged(f"field {field!r} declares {count} elements of {width} bytes at "
                                f"byte {start}")
        return start + 4, count

    def _follow(self, place: int) -> int:
        return place + int(self._unpack("<I", place))

    def _unpack(self, code: str, place: int) -> int | float:
        self._inside(place, struct.calcsize(code))
        value: int | float = struct.unpack_from(code, self._data, place)[0]
        return value

    def _inside(self, place: int, size: int) -> None:
        if place < 0 or place + size > len(self._data):
            raise self._damaged(f"it points at bytes {place} to {place + size}")

    def _damaged(self, text: str) -> ModelError:
        return ModelError(f"table {self.name} is damaged: {text}, the file has "
                          f"{len(self._data)} bytes; it is cut short or was changed")
