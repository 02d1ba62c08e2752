"""Randomness without hidden state: a counter-based generator whose state is an ordinary tensor."""

from collections.abc import Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.ops.attr import get_ints
from ganglion.ops.base import GANGLION_DOMAIN, Array, Attrs, Axes, Dims, Kernel, Moves, Op
from ganglion.ops.building import Builder
from ganglion.ops.gradients import optional, source, stops
from ganglion.ops.values import static_shape

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW = 0xFFFFFFFF


def philox(counter: Array, key: tuple[int, int]) -> Array:
    """Philox4x32-10: [n, 4] random words from [n, 4] counters, all uint32.

    J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as
    1, 2, 3", SC 2011, section 3.3.
    """
    words = counter.astype(np.uint64)
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = words[:, 0] * np.uint64(MULTIPLIERS[0]), words[:, 2] * np.uint64(MULTIPLIERS[1])
        shift, low = np.uint64(32), np.uint64(LOW)
        words = np.stack([(p1 >> shift) ^ words[:, 1] ^ np.uint64(k0), p1 & low,
                          (p0 >> shift) ^ words[:, 3] ^ np.uint64(k1), p0 & low], axis=1)
        k0, k1 = (k0 + KEY_STEPS[0]) & LOW, (k1 + KEY_STEPS[1]) & LOW
    return words.astype(np.uint32)


def uniform(attrs: Attrs, state: Array) -> tuple[Array, ...]:
    """Values in [0, 1), float32 of shape `shape`, and the state after them.

    state: uint32 [4] = key 0, key 1, and the counter's low and high word. Block j of four values
    comes from counter + j (the two upper counter words are 0), value = (word >> 8) · 2^-24; words
    beyond the last value are thrown away. The new counter is that of the first unused block.
    """
    shape = get_ints(attrs, "shape", [])
    blocks = -(-prod(shape) // 4)
    key = (int(state[0]), int(state[1]))
    start = int(state[2]) | int(state[3]) << 32
    index = np.uint64(start) + np.arange(blocks, dtype=np.uint64)
    counter = np.zeros((blocks, 4), np.uint32)
    counter[:, 0], counter[:, 1] = index & np.uint64(LOW), index >> np.uint64(32)
    words = philox(counter, key).ravel()[:prod(shape)]
    values = (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0 ** -24)
    after = (start + blocks) & (1 << 64) - 1
    new = np.array([*key, after & LOW, after >> 32], np.uint32)
    return values.reshape(shape), new


def _uniform_types(attrs: Attrs, inputs: Sequence[ir.Value | None]
                   ) -> list[tuple[ir.DataType, Dims]]:
    return [(ir.DataType.FLOAT, tuple(get_ints(attrs, "shape", []))), (ir.DataType.UINT32, (4,))]


def dropout(g: Builder, x: ir.Value, rate: float, state: ir.Value
            ) -> tuple[ir.Value, ir.Value]:
    """x with each element zeroed with probability `rate`, the others divided by 1 - rate, and the
    generator's state after it. The shape of x must be static."""
    draws, new = g.ops("Uniform", state, outputs=2, domain=GANGLION_DOMAIN,
                       shape=list(static_shape(x)))
    kept = g.op("GreaterOrEqual", draws, g.scalar(rate, draws))
    return g.where(kept, g.mul(x, 1 / (1 - rate)), 0), new


def _dropout_reference(attrs: Attrs, x: Array, ratio: Array | None = None,
                       training_mode: Array | None = None) -> tuple[Array, ...]:
    if training_mode is not None and training_mode and (ratio is None or ratio != 0):
        raise UnsupportedOp("Dropout in training mode has no fixed result; replace it by Uniform "
                            "(ops.random.dropout), whose state is an input")
    return x, np.ones(x.shape, bool)


def keeps_all(node: ir.Node) -> bool:
    """Whether a Dropout is known to drop nothing: not in training mode, or at a ratio of 0."""
    ratio, mode = optional(node, 1), optional(node, 2)
    if mode is None or (mode.const_value is not None and not mode.const_value.numpy().any()):
        return True
    return (ratio is not None and ratio.const_value is not None
            and not ratio.const_value.numpy().any())


def _dropout_vjp(g: Builder, node: ir.Node, dys: Sequence[ir.Value | None]
                 ) -> list[ir.Value | None]:
    mode = optional(node, 2)
    if mode is not None and (mode.const_value is None or mode.const_value.numpy().any()):
        raise UnsupportedOp(f"node {node.name!r} (Dropout): gradient in training mode; replace it "
                            f"by Uniform first (ops.random.dropout on {source(node, 0).name!r})")
    return [dys[0], *[None] * (len(node.inputs) - 1)]


ROWS = (
    Op("Uniform", source="input state uint32[4]; attribute shape; outputs values, state",
       reads=("shape",),
       domain=GANGLION_DOMAIN, lower=Kernel("random_uniform"), vjp=stops, reference=uniform,
       infer=_uniform_types),
    Op("Dropout", source="ONNX Dropout-13 (inference)", axes=Axes.SAME,
       reads=("seed",),
       lower=Kernel("dropout"), moves=Moves.VIEW, vjp=_dropout_vjp,
       reference=_dropout_reference),
)
