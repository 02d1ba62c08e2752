"""Numbers as C source text."""

import ml_dtypes
import numpy as np

CTYPES = {"float32": "float", "float64": "double", "int8": "int8_t", "int16": "int16_t",
          "int32": "int32_t", "int64": "int64_t", "uint8": "uint8_t", "uint16": "uint16_t",
          "uint32": "uint32_t", "uint64": "uint64_t", "float16": "uint16_t",
          "bfloat16": "uint16_t", "bool": "uint8_t"}
"""C's name of each dtype in memory; a bool is one byte, 0 or 1, and a half is its bits."""
BITS = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}
"""The dtypes whose C type holds bits."""


def literal_f32(value: float) -> str:
    """A C literal that reads back as exactly this float32.

    >>> literal_f32(0.1)
    '0x1.99999ap-4f'
    """
    exact = float(np.float32(value))
    if np.isnan(exact):
        return "(0.0f / 0.0f)"
    if np.isinf(exact):
        return "(1.0f / 0.0f)" if exact > 0 else "(-1.0f / 0.0f)"
    if exact == int(exact) and abs(exact) < 1e6:
        return f"{exact:.1f}f"
    mantissa, exponent = exact.hex().split("p")
    sign, digits = ("-", mantissa[3:]) if mantissa[0] == "-" else ("", mantissa[2:])
    whole, _, fraction = digits.partition(".")
    fraction = fraction.rstrip("0")
    point = f".{fraction}" if fraction else ""
    return f"{sign}0x{whole}{point}p{exponent}f"


def literal(dtype: str, value: float | int) -> str:
    """C text of one element that reads back exactly.

    >>> literal("int8", -3), literal("float32", 0.5)
    ('-3', '0x1p-1f')
    """
    if dtype in BITS:
        return f"{int(np.array(value, BITS[dtype]).view(np.uint16))}u"
    exact = np.array(value, dtype)[()]
    if dtype == "float32":
        return literal_f32(float(exact))
    if dtype == "float64":
        if not np.isfinite(exact):
            return literal_f32(float(exact))
        return float(exact).hex()
    if dtype == "int64":
        return "(-INT64_C(9223372036854775807) - 1)" if exact == -2**63 else f"INT64_C({exact})"
    if dtype == "uint64":
        return f"UINT64_C({exact})"
    if dtype == "int32" and exact == -2**31:
        return "(-2147483647 - 1)"
    return f"{int(exact)}u" if dtype == "uint32" else str(int(exact))
