"""Inputs for a check: real ones where the caller has them, else drawn."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops.facts import indices_of, is_conversion, is_op, is_rearranged
from ganglion.ops.named import ONE_HOT
from ganglion.ops.values import static_shape
from ganglion.tensors import as_array, is_tensor

Arrays = Mapping[str, np.ndarray]
COUNT = 4
"""Samples that a build is checked on."""


def free_inputs(model: ir.Model, bound: set[str]) -> list[ir.Value]:
    """The inputs that a caller gives: neither state nor defaulted by an initializer."""
    return [v for v in model.graph.inputs if v.name not in bound and v.const_value is None]


PLAIN, EDGES, WIDE = "plain", "edges", "wide"
KINDS = (PLAIN, EDGES, WIDE)
"""What sample after sample holds: ordinary numbers; zeros, the ends of the type and numbers of very
different size; integers of the type's whole width, large floats."""
MOST, NODES, MACS = 96, 1000, 20_000_000
"""A check takes more samples than it was asked for while that costs next to nothing: up to `MOST`,
as long as they take no more evaluations of nodes, and multiply-adds, than this."""
HARD = np.array([0, 1, -1, 2, -2, 3, 7, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24 + 1,
                 -2**24 - 1, 2**31 - 1, -2**31, 2**31, 2**32 - 1, 2**32, 2**53 + 1, 2**63 - 1,
                 -2**63], dtype=object)
"""Integers at which a type, or a float's fraction, ends."""
LARGE = 6.0
"""How much larger than ordinary ones the floats of `WIDE` are, so that layers saturate."""
ZEROS = 1 / 8
"""The share of exact zeros among the floats of `EDGES`."""


def drawn(inputs: Sequence[ir.Value], count: int = COUNT, seed: int = 0
          ) -> list[dict[str, np.ndarray]]:
    """Samples of each of `KINDS` in turn, the first one plain: standard normal floats, 8-bit codes
    of any value, other integers 0 or 1. Indices are what their readers allow, counted from the end
    too behind the first sample, and at both ends."""
    generator = np.random.default_rng(seed)
    return [{str(v.name): _draw(v, KINDS[k % len(KINDS)], generator) for v in inputs}
            for k in range(count)]


def enough(count: int, nodes: int, macs: int) -> int:
    """How many samples a network of this size is checked on, where `count` are asked for."""
    return max(count, min(MOST, NODES // max(nodes, 1), MACS // max(macs, 1)))


def special(inputs: Sequence[ir.Value], seed: int = 0) -> list[dict[str, np.ndarray]]:
    """One sample with a NaN and both infinities in each input of floats, where there is one."""
    generator = np.random.default_rng((seed, 1))
    sample = {str(v.name): _draw(v, PLAIN, generator) for v in inputs}
    floats = [a for v in inputs if index_limit(v) is None
              and (a := sample[str(v.name)]).dtype.kind == "f" and a.size]
    for array in floats:
        at = generator.permutation(array.size)[:3]
        array.reshape(-1)[at] = np.array([np.nan, np.inf, -np.inf])[:len(at)]
    return [sample] if floats else []


def _draw(value: ir.Value, kind: str, generator: np.random.Generator) -> np.ndarray:
    shape = static_shape(value)
    if value.dtype is None:
        raise DataError(f"input {value.name!r} has no dtype")
    dtype = value.dtype.numpy()
    limit = index_limit(value)
    if limit is not None and dtype.kind != "b":
        return _indices(limit, shape, dtype, kind, generator)
    if dtype.kind in "fV":
        return _floats(shape, kind, generator).astype(dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(dtype)
    info = np.iinfo(dtype)
    if kind == EDGES:
        ends = {*(int(h) for h in HARD), int(info.min), int(info.max)}
        inside = sorted(h for h in ends if info.min <= h <= info.max)
        return generator.choice(np.array(inside, dtype), shape)
    if kind == WIDE or dtype.itemsize == 1:
        return generator.integers(info.min, info.max, shape, dtype, endpoint=True)
    return generator.integers(0, 2, shape).astype(dtype)


def _floats(shape: tuple[int, ...], kind: str, generator: np.random.Generator) -> np.ndarray:
    x = generator.standard_normal(shape)
    if kind == EDGES:
        x = x * 10.0 ** generator.uniform(-3, 1, shape)
        x = np.where(generator.random(shape) < ZEROS, 0.0, x)
    return np.asarray(x * LARGE if kind == WIDE else x)


def _indices(limit: int, shape: tuple[int, ...], dtype: np.dtype, kind: str,
             generator: np.random.Generator) -> np.ndarray:
    least = 0 if kind == PLAIN or dtype.kind == "u" else -limit
    found = np.asarray(generator.integers(least, limit, shape)).reshape(-1)
    at = generator.permutation(found.size)
    found[at[:1]] = limit - 1
    found[at[1:2]] = least
    return found.reshape(shape).astype(dtype)


def index_limit(value: ir.Value) -> int | None:
    """The smallest table that the value (or a view of it) indexes; None where none does."""
    limits, stack, seen = [], [value], set()
    while stack:
        current = stack.pop()
        seen.add(current)
        for use in current.uses():
            node = use.node
            if use.idx == indices_of(node) and node.inputs[0] is not None:
                axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
                limits.append(static_shape(node.inputs[0])[axis])
            elif is_op(node, ONE_HOT) and use.idx == 0:
                depth = node.inputs[1]
                if depth is not None and depth.const_value is not None:
                    limits.append(int(depth.const_value.numpy().reshape(-1)[0]))
            elif is_rearranged(node) or is_conversion(node):
                stack.extend(v for v in node.outputs if v not in seen)
    return min(limits, default=None)


def given(inputs: Sequence[ir.Value], calibration: np.ndarray | Sequence[np.ndarray] | Arrays,
          count: int = COUNT) -> list[dict[str, np.ndarray]]:
    """The first rows of a caller's arrays, as samples of the network's own batch size; arrays of
    exactly the inputs' shapes are one sample.

    One array for one input, a sequence in the order of the inputs, or a mapping by name.
    Raises DataError when names, lengths or shapes do not fit.
    """
    names = [str(v.name) for v in inputs]
    if is_tensor(calibration):
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
    calibration = {name: as_array(f"calibration for input {name!r}", array)
                   for name, array in calibration.items()}
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
    if array.dtype.kind not in "fiub":
        raise DataError(f"calibration for input {name!r} is {array.dtype}; expected an array of "
                        "numbers")
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        raise DataError(f"calibration for input {name!r} holds {bad} NaN or infinite elements; "
                        "remove those rows")
