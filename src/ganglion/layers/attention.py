"""MultiHeadAttention (Vaswani 2017), composed of MatMul and Softmax."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from ganglion.layers.base import (
    Emitter,
    InitSpec,
    Layer,
    RegSpec,
    Tensor,
    is_float,
    rank,
    static,
)

MASKED = -1e30
"""Added to the score of a position that may not be looked at."""

MAX_MASK = 1 << 24
"""Largest causal mask, in entries."""


@dataclass(frozen=True, eq=False)
class MultiHeadAttention(Layer):
    """query `[N, T, Dq]`, value `[N, S, Dv]`, key `[N, S, Dk]` give `[N, T, output_shape]`.

    output_shape: by default the last axis of the query.
    """

    takes: ClassVar[int | None] = 3

    num_heads: int
    key_dim: int
    value_dim: int | None = None
    dropout: float = 0.0
    use_bias: bool = True
    output_shape: int | None = None
    kernel_initializer: InitSpec = "glorot_uniform"
    bias_initializer: InitSpec = "zeros"
    kernel_regularizer: RegSpec = None
    bias_regularizer: RegSpec = None

    def check(self) -> None:
        self.positive(num_heads=self.num_heads, key_dim=self.key_dim,
                      value_dim=self.value_dim or self.key_dim,
                      output_shape=1 if self.output_shape is None else self.output_shape)
        if not 0 <= self.dropout <= 1:
            raise self.error(f"dropout must be between 0 and 1, found {self.dropout}")

    def __call__(self, query: Tensor, value: Tensor, key: Tensor | None = None,
                 use_causal_mask: bool = False) -> Tensor:
        return self.call([query, value, value if key is None else key],
                         use_causal_mask=use_causal_mask)[0]

    def emit(self, e: Emitter, *xs: ir.Value) -> Sequence[ir.Value]:
        for x in xs:
            is_float(e, x)
            rank(e, x, 3)
        query, value, key = xs
        value_dim = self.value_dim or self.key_dim
        q = self._heads(e, "query", query, self.key_dim, [0, 2, 1, 3])
        k = self._heads(e, "key", key, self.key_dim, [0, 2, 3, 1])
        v = self._heads(e, "value", value, value_dim, [0, 2, 1, 3])
        q = e.op("Mul", q, e.floats(1 / math.sqrt(self.key_dim)))
        scores = e.op("MatMul", q, k)
        if e.options.get("use_causal_mask"):
            scores = e.op("Add", scores, self._mask(e, query, value))
        scores = e.op("Softmax", scores, axis=-1)
        if self.dropout:
            scores = e.op("Dropout", scores, e.floats(self.dropout))
        context = e.op("Transpose", e.op("MatMul", scores, v), perm=[0, 2, 1, 3])
        width = self.num_heads * value_dim
        y = e.op("Reshape", context, e.ints(0, 0, width))
        features = self.output_shape or static(e, query, -1, "the output has its size")
        part = e.sub("output_dense", label="attention_output")
        kernel = part.weight("kernel", (self.num_heads, value_dim, features),
                             self.kernel_initializer, regularizer=self.kernel_regularizer,
                             layout=lambda w: w.reshape(width, features),
                             drawn=(width, features))
        y = e.op("MatMul", y, kernel)
        if self.use_bias:
            y = e.op("Add", y, part.weight("bias", (features,), self.bias_initializer,
                                           regularizer=self.bias_regularizer))
        return [y]

    def _heads(self, e: Emitter, role: str, x: ir.Value, size: int,
               perm: Sequence[int]) -> ir.Value:
        """`x` projected to `[N, T, heads, size]` and permuted."""
        features = static(e, x, -1, "the kernel has one row for each feature")
        width = self.num_heads * size
        part = e.sub(f"{role}_dense", label=role)
        kernel = part.weight("kernel", (features, self.num_heads, size), self.kernel_initializer,
                             regularizer=self.kernel_regularizer,
                             layout=lambda w: w.reshape(features, width),
                             drawn=(features, width))
        y = e.op("MatMul", x, kernel)
        if self.use_bias:
            y = e.op("Add", y, part.weight("bias", (self.num_heads, size), self.bias_initializer,
                                           regularizer=self.bias_regularizer,
                                           layout=lambda b: b.reshape(width)))
        return e.op("Transpose", e.op("Reshape", y, e.ints(0, 0, self.num_heads, size)),
                    perm=perm)

    def _mask(self, e: Emitter, query: ir.Value, value: ir.Value) -> ir.Value:
        """`[1, 1, T, S]`: 0 where step t may look at step s <= t, else very negative."""
        t = static(e, query, 1, "a causal mask has its size")
        s = static(e, value, 1, "a causal mask has its size")
        if t * s > MAX_MASK:
            raise e.error(f"a causal mask of {t} x {s} is larger than {MAX_MASK} entries")
        mask = np.where(np.arange(s)[None] <= np.arange(t)[:, None], 0.0, MASKED)
        return e.constant(mask.astype(np.float32)[None, None], "causal_mask")
