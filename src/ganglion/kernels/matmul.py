"""Matrix products y = epilogue(op(a) · op(b) + bias), batched; float32 and int8."""

from dataclasses import dataclass

from ganglion.kernels.pointwise import Program


@dataclass(frozen=True)
class Requant:
    """From an int32 sum to a quantised element, the same on every target:

    y = clamp(rint(float(acc) * multiplier[o]) + zero_point, lo, hi), rint half to even, where
    acc = Σ (x - x_zero_point) · w + bias[o]; w is symmetric (zero point 0).
    `multiplier` (float32 [O]) is a const operand; lo and hi lie within the output's dtype and hold
    a fused ReLU or clip.
    """

    x_zero_point: int
    zero_point: int
    lo: int
    hi: int


@dataclass(frozen=True)
class Epilogue:
    """What happens to a float32 sum before it is stored: a program of `ops.pointwise`.

    Input 0 is the sum (bias included), inputs 1, 2, ... are `extra` arrays of the output's own
    shape (operands r1, r2, ...), as a residual add needs. The last instruction is the result.
    """

    program: Program
    extra: int = 0


@dataclass(frozen=True)
class MatMulSpec:
    """y[b, m, n] = Σ_k A[b, m, k] · B[b, k, n] (+ bias[n]).

    `dtype`: "float32", or "int8"/"uint8" (of a and y; b is int8). a is stored [batch, M, K], or
    [batch, K, M] when trans_a; b [batch, K, N], or [batch, N, K] when trans_b; strides of 0 in
    `a_batch`/`b_batch` (elements) repeat one matrix. `b_const`: b is known when building and may be
    packed. `bias`: None, "n" (one a column) .
    Operands: a, b, [bias: float32 or int32 [N]], [multiplier: float32 [N]], [r1...], y.
    """

    dtype: str
    batch: int
    m: int
    n: int
    k: int
    trans_a: bool = False
    trans_b: bool = False
    a_batch: int = 0
    b_batch: int = 0
    b_const: bool = True
    bias: bool = False
    requant: Requant | None = None
    epilogue: Epilogue | None = None
