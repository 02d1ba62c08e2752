"""Inputs for a check: real ones where the caller has them, else drawn."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.graph import static_shape

Arrays = Mapping[str, np.ndarray]
COUNT = 4
"""Samples that a build is checked on."""


def free_inputs(model: ir.Model, bound: set[str]) -> list[ir.Value]:
    """The inputs that a caller gives: neither state nor defaulted by an initializer."""
    return [v for v in model.graph.inputs if v.name not in bound and v.const_value is None]


def drawn(inputs: Sequence[ir.Value], count: int = COUNT, seed: int = 0
          ) -> list[dict[str, np.ndarray]]:
    """Standard normal floats; integers within what the readers of an index input allow."""
    generator = np.random.default_rng(seed)
    return [{str(v.name): _draw(v, generator) for v in inputs} for _ in range(count)]


def _draw(value: ir.Value, generator: np.random.Generator) -> np.ndarray:
    shape = static_shape(value)
    if value.dtype is None:
        raise DataError(f"input {value.name!r} has no dtype")
    dtype = value.dtype.numpy()
    if dtype.kind == "f":
        return generator.standard_normal(shape).astype(dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(dtype)
    if dtype.itemsize == 1:
        info = np.iinfo(dtype)
        return generator.integers(info.min, info.max + 1, shape).astype(dtype)
    return generator.integers(0, index_limit(value) or 2, shape).astype(dtype)


def index_limit(value: ir.Value) -> int | None:
    """The smallest table that the value (or a view of it) indexes; None where it indexes none."""
    limits, stack = [], [value]
    while stack:
        current = stack.pop()
        for use in current.uses():
            node = use.node
            if node.op_type.startswith("Gather") and use.idx == 1 and node.inputs[0] is not None:
                axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
                limits.append(static_shape(node.inputs[0])[axis])
            elif node.op_type == "OneHot" and use.idx == 0:
                depth = node.inputs[1]
                if depth is not None and depth.const_value is not None:
                    limits.append(int(depth.const_value.numpy().reshape(-1)[0]))
            elif node.op_type in ("Reshape", "Squeeze", "Unsqueeze", "Identity", "Transpose",
                                  "Cast"):
                stack.extend(node.outputs)
    return min(limits, default=None)


def given(inputs: Sequence[ir.Value], calibration: np.ndarray | Sequence[np.ndarray] | Arrays,
          count: int = COUNT) -> list[dict[str, np.ndarray]]:
    """The first rows of a caller's arrays, as samples of the network's own batch size; arrays of
    exactly the inputs' shapes are one sample.

    One array for one input, a sequence in the order of the inputs, or a mapping by name.
    Raises DataError when names, lengths or shapes do not fit.
    """
    names = [str(v.name) for v in inputs]
    if isinstance(calibration, np.ndarray):
        calibration = [calibration]
    if not isinstance(calibration, Mapping | list | tuple):
        raise DataError(f"calibration is {type(calibration).__name__}; expected an array [rows, "
                        "...], a list of one an input, or a dict by input name")
    if not isinstance(calibration, Mapping):
        if len(calibration) != len(names):
            raise DataError(f"{len(calibration)} calibration arrays for {len(names)} inputs "
                            f"({', '.join(names)}); give one an input, in this order")
        calibration = dict(zip(names, calibration))
    if set(calibration) != set(names):
        raise DataError(f"calibration names {sorted(calibration)}; the inputs are {names}")
    for name, array in calibration.items():
        _require_finite(name, array)
    shapes = {str(v.name): static_shape(v) for v in inputs}
    dtypes = {str(v.name): v.dtype.numpy() for v in inputs if v.dtype is not None}
    if all(array.shape == shapes[name] for name, array in calibration.items()):
        return [{n: np.asarray(a, dtypes[n], order="C") for n, a in calibration.items()}]
    for name, array in calibration.items():
        if array.shape[1:] != shapes[name][1:]:
            raise DataError(f"calibration for input {name!r} has rows of {list(array.shape[1:])}; "
                            f"expected {list(shapes[name][1:])}")
    batch = next((shape[0] for shape in shapes.values() if shape), 1)
    rows = min(len(a) for a in calibration.values())
    if rows < batch:
        raise DataError(f"{rows} calibration rows; the network takes {batch} at a time")
    starts = range(0, min(rows - batch + 1, count * batch), batch)
    return [{n: np.ascontiguousarray(a[s:s + batch]).astype(dtypes[n], copy=False)
             for n, a in calibration.items()} for s in starts]


def _require_finite(name: str, array: np.ndarray) -> None:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        kind = getattr(array, "dtype", type(array).__name__)
        raise DataError(f"calibration for input {name!r} is {kind}; expected an array of numbers")
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise DataError(f"calibration for input {name!r} holds {bad} NaN or infinite elements; "
                        "remove those rows")
