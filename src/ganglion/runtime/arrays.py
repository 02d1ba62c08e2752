"""Arrays on their way in and out: what is converted, what is refused, and why.

`run` converts where no meaning is lost: byte order, strides, numbers to a wider kind, floats to
another width, integers to another integer type that holds them. NaN and infinity pass through.
Floats into an integer input are refused: only the caller knows the scale. So are integers of a type
that does not fit into that of a quantised input, whatever their values: uint8 pixels are no int8
codes.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ganglion.errors import DataError, TargetError, ToolchainError
from ganglion.runtime.ports import Port
from ganglion.tensors import Array, as_array

ALIGNMENT = 64
"""Bytes to which the generated C wants its arena and its state aligned."""

Given: TypeAlias = ArrayLike | Mapping[str, ArrayLike]
"""One argument of `run`: an array, or all of them by name."""


def aligned_block(nbytes: int) -> NDArray[np.uint8]:
    """At least one byte of memory that starts at a multiple of the alignment.

    Raises TargetError where there is not that much."""
    try:
        raw = np.empty(max(nbytes, 1) + ALIGNMENT - 1, np.uint8)
    except (MemoryError, ValueError) as error:
        raise TargetError(f"the network needs {nbytes} bytes of working memory, more than there "
                          f"is: free memory, or build it for a smaller batch") from error
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start:start + max(nbytes, 1)]


def arrange(ports: Sequence[Port], given: Sequence[Given]) -> tuple[ArrayLike, ...]:
    """The values in port order: as given, or looked up by name in one mapping.

    Raises DataError for a wrong number or unknown names."""
    named = given[0] if given else None
    if not isinstance(named, np.ndarray) and isinstance(named, Mapping) and len(given) == 1:
        names = [port.name for port in ports]
        if set(named) != set(names):
            raise DataError(f"inputs named {', '.join(map(repr, named))} were given, the network "
                            f"has {', '.join(map(repr, names))}")
        return tuple(named[name] for name in names)
    if len(given) != len(ports):
        raise wrong_count("input", ports, len(given))
    return tuple(_unnamed(port, value) for port, value in zip(ports, given, strict=True))


def _unnamed(port: Port, value: Given) -> ArrayLike:
    if not isinstance(value, np.ndarray) and isinstance(value, Mapping):
        raise DataError(f"input {port.name!r} is a mapping: give either one mapping with all "
                        f"inputs, or arrays only")
    return value


def wrong_count(what: str, ports: Sequence[Port], found: int) -> DataError:
    """The error for `found` arrays where `ports` wants another number."""
    wanted = ", ".join(describe(port) for port in ports)
    return DataError(f"found {found} {what} arrays, expected {len(ports)}: {wanted}")


def describe(port: Port) -> str:
    """A port as the errors show it: `'x' float32[1, 28, 28, 1]`."""
    return f"{port.name!r} {port.dtype}{list(port.shape)}"


def convert(port: Port, value: ArrayLike, rows: bool) -> Array:
    """`value` as a C-contiguous, aligned, native array of the port's dtype; a copy only if needed.

    `rows`: the first axis may have any size. Raises DataError where shape or dtype is wrong.
    """
    array = as_array(f"input {port.name!r}", value)
    if array.shape != port.shape:
        _check_shape(port, array, rows)
    if array.dtype != port.dtype:
        array = _cast(port, array)
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    return np.require(array, requirements=["C", "A"])


def _check_shape(port: Port, array: Array, rows: bool) -> None:
    if rows and array.ndim == len(port.shape) and array.shape[1:] == port.shape[1:]:
        return
    wanted = f"[rows, {', '.join(map(str, port.shape[1:]))}]".replace(", ]", "]") if rows \
        else str(list(port.shape))
    hint = ""
    if array.shape == port.shape[1:] and port.shape[:1] == (1,):
        hint = "; the batch axis is missing: give x[None]"
    raise DataError(f"input {port.name!r} has shape {list(array.shape)}, expected {wanted}{hint}")


def _cast(port: Port, array: Array) -> Array:
    found, wanted = array.dtype, port.dtype
    if is_float(wanted) and (found.kind in "iub" or is_float(found)):
        try:
            with np.errstate(over="raise"):
                return array.astype(wanted)
        except FloatingPointError as error:
            raise DataError(f"input {port.name!r} holds {found} numbers too large for {wanted}: "
                            f"scale the data down") from error
    if wanted.kind in "iu" and found.kind in "iu" and (
            port.scale is None or np.can_cast(found, wanted)):
        return _narrowed(port, array)
    raise DataError(f"input {port.name!r} has dtype {found}, expected {wanted}"
                    f"{_cast_hint(port, array)}")


def is_float(dtype: np.dtype[np.generic]) -> bool:
    """Whether the numbers are floats, bfloat16 of the package ml_dtypes among them."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def _narrowed(port: Port, array: Array) -> Array:
    limits = np.iinfo(port.dtype)  # type: ignore[type-var]
    if array.size and (int(array.min()) < limits.min or int(array.max()) > limits.max):
        raise DataError(f"input {port.name!r} holds values from {array.min()} to {array.max()}, "
                        f"which do not fit {port.dtype}")
    return array.astype(port.dtype)


def _cast_hint(port: Port, array: Array) -> str:
    if port.scale is not None:
        return (f"; the input is quantised with scale {port.scale:g} and zero point "
                f"{port.zero_point}: give quantize_input(x) for real numbers such as pixels, or "
                f"x.astype({str(port.dtype)!r}) where x holds codes")
    if array.dtype.kind in "fiub":
        return f"; if that is what you mean, give x.astype({str(port.dtype)!r})"
    return ""


def refusal(what: str, port: Port, value: object) -> DataError:
    """Why `run_into` can't use an array directly; `what` is "input" or "output"."""
    start = f"{what} {port.name!r}"
    if not isinstance(value, np.ndarray):
        return DataError(f"{start} is a {type(value).__name__}, expected a NumPy array "
                         f"{port.dtype}{list(port.shape)}")
    if value.shape != port.shape:
        return DataError(f"{start} has shape {list(value.shape)}, expected {list(port.shape)}")
    if value.dtype.newbyteorder("=") != port.dtype:
        return DataError(f"{start} has dtype {value.dtype}, expected {port.dtype}; run() converts "
                         f"where that is safe")
    if not value.dtype.isnative:
        return DataError(f"{start} has foreign byte order; run() converts it")
    if what == "output" and not value.flags.writeable:
        return DataError(f"{start} is read-only: give an array that may be written")
    return DataError(f"{start} is not contiguous and aligned in memory; run() copies such arrays, "
                     f"or give np.ascontiguousarray(x)")


def overlap(port: Port) -> DataError:
    """The error for an output that shares bytes with another array of the same call."""
    return DataError(f"output {port.name!r} overlaps another array of this call: the code reads "
                     f"inputs while it writes outputs, give it memory of its own")


def busy() -> DataError:
    """The error for two calls of one stream at once."""
    return DataError("two threads call one stream at the same time, in no defined order: give "
                     "each thread its own session.stream()")


def refused(code: int) -> ToolchainError:
    """The error for generated code that returned `code`: its arena or state was misaligned."""
    return ToolchainError(f"the network's code refused its memory (code {code}); the runtime "
                          f"aligns it to {ALIGNMENT} bytes, so this library is not one that this "
                          f"version built")


def quantize(port: Port, value: ArrayLike) -> Array:
    """Real numbers as the port's integers: round half to even of value / scale, plus zero point,
    saturated (ONNX QuantizeLinear). Raises DataError for NaN, or a port without scale."""
    if port.scale is None:
        raise DataError(f"{describe(port)} is not quantised: give the numbers as they are")
    real = np.asarray(value, np.float32)
    if np.isnan(real).any():
        raise DataError(f"input {port.name!r} holds NaN, which no integer stands for")
    limits = np.iinfo(port.dtype)  # type: ignore[type-var]
    with np.errstate(over="ignore"):
        steps = np.rint(real / np.float32(port.scale)) + np.float64(port.zero_point or 0)
    integers: Array = np.clip(steps, limits.min, limits.max).astype(port.dtype)
    return integers


def dequantize(port: Port, value: Array) -> NDArray[np.float32]:
    """The real numbers that a port's integers stand for, float32 (ONNX DequantizeLinear)."""
    if port.scale is None:
        raise DataError(f"{describe(port)} is not quantised: its numbers are real already")
    steps = np.asarray(value).astype(np.int32) - np.int32(port.zero_point or 0)
    real: NDArray[np.float32] = steps.astype(np.float32) * np.float32(port.scale)
    return real
