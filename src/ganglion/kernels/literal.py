"""Numbers as C source text."""

import numpy as np


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
