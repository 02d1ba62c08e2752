"""The bench on which a Plan is made: values with their places, and the steps so far."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.kernels.base import CTYPES, Operand, Variant
from ganglion.kernels.move import CopySpec
from ganglion.kernels.registry import families
from ganglion.ops.values import static_shape
from ganglion.plan.choices import NO_CHOICES, Choices, candidates
from ganglion.plan.views import Storage, View, collapse, dense_strides, row_major


@dataclass(eq=False)
class Draft:
    """A step whose buffers have no offsets yet. `operands` in the family's parameter order."""

    node: str
    family: str
    variant: Variant[object]
    spec: object
    operands: list[View]
    scratch: Storage | None = None


@dataclass(frozen=True)
class Fused:
    """An element-wise group taken into the epilogue of the kernel that makes its input.

    `program` over input 0 = the kernel's sum and inputs 1.. = `extras`; `bias`: a constant or
    bound vector added first, if any; `result`: the value that the kernel now makes.
    """

    result: ir.Value
    program: tuple[tuple[str | int | float, ...], ...]
    extras: tuple[ir.Value, ...] = ()
    bias: ir.Value | None = None


@dataclass
class Lowerer:
    """Turns nodes into drafts. `isas`: what the target runs; `choices`: measured variants; `fused`:
    by the kernel's node."""

    isas: tuple[str, ...]
    choices: Choices = NO_CHOICES
    views: dict[ir.Value, View] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)
    fused: dict[ir.Node, Fused] = field(default_factory=dict)
    _dense: dict[tuple[View, tuple[int, ...]], View] = field(default_factory=dict)

    def view(self, value: ir.Value | None) -> View:
        """Where a value lies; an initializer becomes a constant on first use."""
        if value is None:
            raise ModelError("a required input is absent")
        if value not in self.views:
            if value.const_value is None:
                raise ModelError(f"value {value.name!r} is read before it is computed")
            self.views[value] = self.constant(str(value.name), value.const_value.numpy())
        return self.views[value]

    def array(self, value: ir.Value | None, node: ir.Node, role: str) -> np.ndarray:
        """The contents of an input that must be known when building."""
        if value is None or value.const_value is None:
            name = None if value is None else value.name
            raise UnsupportedOp(
                f"node {node.name!r} ({node.op_type}): input {role} ({name!r}) must be a constant; "
                "export the network with a fixed value there, or fold constants first")
        return value.const_value.numpy()

    def constant(self, name: str, array: np.ndarray) -> View:
        """A constant's view, row-major. bool is stored as bytes."""
        array = np.asarray(array, order="C")  # ascontiguousarray would turn [] into [1]
        storage = Storage(name, str(array.dtype), array.size, "const", array=array.reshape(-1))
        return View(storage, array.shape, dense_strides(array.shape, row_major(array.ndim)))

    def new(self, value: ir.Value, order: Sequence[int] | None = None) -> View:
        """A fresh buffer for a node's result, its axes in `order` (row-major by default)."""
        shape = static_shape(value)
        if value.dtype is None:
            raise ModelError(f"value {value.name!r} has no dtype")
        view = self.buffer(str(value.name), str(value.dtype.numpy()), shape, order)
        self.views[value] = view
        return view

    def buffer(self, name: str, dtype: str, shape: Sequence[int],
               order: Sequence[int] | None = None) -> View:
        """A fresh arena buffer of [shape]."""
        size = int(np.prod(shape, dtype=np.int64))
        return View(Storage(name, dtype, size), tuple(shape),
                    dense_strides(shape, order or row_major(len(shape))))

    def dense(self, view: View, order: Sequence[int] | None = None) -> View:
        """The same elements without gaps in `order`; copied, once, where they lie otherwise.

        A constant is rearranged when building, at no cost at run time.
        """
        order = tuple(order or row_major(len(view.shape)))
        if view.dense_in(order):
            return view
        if view.storage.array is not None:
            array = np.lib.stride_tricks.as_strided(
                view.storage.array[view.offset:], view.shape,
                [s * view.storage.itemsize for s in view.strides]).transpose(order)
            flat = np.ascontiguousarray(array).reshape(-1)
            storage = Storage(view.storage.name, view.dtype, flat.size, "const", array=flat)
            return View(storage, view.shape, dense_strides(view.shape, order))
        key = (view, order)
        if key not in self._dense:
            copy = self.buffer(f"{view.storage.name}_dense", view.dtype, view.shape, order)
            self.copy(view, copy)
            self._dense[key] = copy
        return self._dense[key]

    def values(self, view: View) -> np.ndarray:
        """A constant view's elements, shaped."""
        dense = self.dense(view)
        if dense.storage.array is None:
            raise ModelError(f"{view.storage.name!r} is not constant")
        return dense.storage.array[dense.offset:dense.offset + dense.size].reshape(dense.shape)

    def copy(self, source: View, target: View, name: str = "copy") -> None:
        """Appends a copy of elements; both views have the same shape."""
        order = target.order()
        dims, xs, ys = collapse([target.shape[a] for a in order],
                                [source.strides[a] for a in order],
                                [target.strides[a] for a in order])
        spec = CopySpec(target.dtype, dims, xs, ys, source.storage.size, target.storage.size,
                        source.offset, target.offset)
        whole = [View(v.storage, (v.storage.size,), (1,)) for v in (source, target)]
        self.emit(name, "copy", spec, whole)

    def emit(self, node: ir.Node | str, family: str, spec: object,
             operands: Sequence[View]) -> None:
        """Appends a step, with the best variant that the target runs and that accepts; none for
        results without elements.

        Raises UnsupportedOp where the kernel computes another element type than an operand has,
        and ModelError where it would reach beyond an operand.
        """
        name = node if isinstance(node, str) else str(node.name)
        results = [view.storage.size for operand, view in zip(
            _checked(name, family, spec, operands), operands) if operand.role == "output"]
        if results and not any(results):
            return
        variant = self.choose(family, spec, name)
        nbytes = variant.scratch_bytes(spec)
        scratch = Storage(f"{name}_scratch", "uint8", nbytes) if nbytes else None
        self.drafts.append(Draft(name, family, variant, spec, list(operands), scratch))

    def choose(self, family: str, spec: object, name: str) -> Variant[object]:
        """The variant measured fastest, else the one of least cost; UnsupportedOp when none
        accepts."""
        able = candidates(family, spec, self.isas)
        if not able:
            raise UnsupportedOp(f"node {name!r}: no variant of kernel {family!r} for "
                                f"{'/'.join(self.isas)} accepts {spec}")
        measured = self.choices.of(family, spec)
        cheapest = min(able, key=lambda v: v.cost(spec))
        return next((v for v in able if v.name == measured), cheapest)

    def scalar_constant(self, value: ir.Value | None) -> float | int | None:
        """The number in a constant of one element, exactly, or None."""
        if value is None or value.is_graph_input():
            return None
        if value in self.views:
            view = self.views[value]
            if view.storage.array is None or view.storage.size != 1:
                return None
            return _number(view.storage.array)
        if value.const_value is None or value.const_value.size != 1:
            return None
        return _number(value.const_value.numpy())


def _number(array: np.ndarray) -> float | int:
    """The one element of an array."""
    element = array.reshape(-1)[0]
    return int(element) if array.dtype.kind in "iu" else float(element)


def _checked(node: str, family: str, spec: object, views: Sequence[View]) -> Sequence[Operand]:
    """What the kernel declares, held against what it is given, so that no lowering can be wrong in
    silence about a type or a size."""
    declared = families()[family].operands(spec)
    if len(declared) != len(views):
        raise ModelError(f"node {node!r}: kernel {family!r} takes {len(declared)} arrays, not "
                         f"{len(views)}; please report the model")
    for operand, view in zip(declared, views):
        if view.dtype not in CTYPES:
            raise UnsupportedOp(f"node {node!r}: elements of {view.dtype} ({view.storage.name!r}) "
                                f"are not compiled; cast to one of {', '.join(CTYPES)}")
        if operand.dtype != view.dtype:
            raise UnsupportedOp(f"node {node!r}: kernel {family!r} computes {operand.dtype}, and "
                                f"{view.storage.name!r} is {view.dtype}; cast it to "
                                f"{operand.dtype} first")
        if view.offset + operand.size > view.storage.size:
            raise ModelError(f"node {node!r}: kernel {family!r} reaches {operand.size} elements of "
                             f"{view.storage.name!r} from {view.offset} on, which has "
                             f"{view.storage.size}; its shape {list(view.shape)} does not fit the "
                             "node")
    return declared


def lowered_dtype(value: ir.Value) -> np.dtype[np.generic]:
    """The value's dtype; ModelError when it has none."""
    if value.dtype is None:
        raise ModelError(f"value {value.name!r} has no dtype; run shape inference first")
    return np.dtype(value.dtype.numpy())
