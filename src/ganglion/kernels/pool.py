"""Max and average pooling over [N, H, W, C]; float32 and int8."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PoolSpec:
    """`mode`: "max" or "average"; global pooling has a window of the whole image.

    x: [N, H, W, C]; y: [N, P, Q, C], `out_hw` = (P, Q) given (ceil mode included). Pixels outside x
    never win a maximum and count for an average only with `count_include_pad`.
    `dtype`: "float32", "int8", "uint8". An int8 average: y = clamp(rint(float(Σ(x - x_zero_point))
    * (multiplier / count)) + zero_point), the factor computed in float32, one division per count.
    `multiplier` = x_scale / y_scale. An int8 maximum copies codes. Operands: x, y.
    """

    mode: str
    dtype: str
    n: int
    h: int
    w: int
    c: int
    kernel: tuple[int, int]
    out_hw: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    pads: tuple[int, int] = (0, 0)
    count_include_pad: bool = False
    multiplier: float = 1.0
    x_zero_point: int = 0
    zero_point: int = 0
