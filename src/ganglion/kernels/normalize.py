"""Layer normalisation over the last axis, batch normalisation over all others; float32."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ganglion.kernels.base import Cut, Family, Operand, Variant
from ganglion.kernels.isa import AVX2, AVX512, NEON, SCALAR, SIMD128, Isa
from ganglion.kernels.split import rows_part


@dataclass(frozen=True)
class LayerNormSpec:
    """y[r] = (x[r] - mean_r) / sqrt(var_r + epsilon) * gamma + beta; x, y: [rows, n].

    Two passes: the variance is the mean of squared differences. Operands: x, gamma, [beta], y,
    and with `statistics` also mean [rows] and inv_std [rows], as training needs them.
    """

    rows: int
    n: int
    epsilon: float
    beta: bool = True
    statistics: bool = False


@dataclass(frozen=True)
class BatchNormSpec:
    """y[r, c] = (x[r, c] - mean_c) / sqrt(var_c + epsilon) * gamma_c + beta_c; x, y: [rows, c].

    Without `training` mean and var are the inputs of those names. With it they are the batch's own
    (the variance is the mean of squared differences), and two more outputs are given,
    new_mean = mean · momentum + batch mean · (1 - momentum), new_var likewise
    (ONNX BatchNormalization-15). Operands: x, gamma, beta, mean, var, y, [new_mean, new_var].
    """

    rows: int
    c: int
    epsilon: float
    momentum: float = 0.9
    training: bool = False


RUN = 64
"""Rows added in one go before they join the total, so that rounding grows slowly."""


def _layer_operands(spec: LayerNormSpec) -> list[Operand]:
    size = spec.rows * spec.n
    found = [Operand("x", "float32", size), Operand("gamma", "float32", spec.n)]
    if spec.beta:
        found.append(Operand("beta", "float32", spec.n))
    found.append(Operand("y", "float32", size, "output"))
    if spec.statistics:
        found += [Operand(name, "float32", spec.rows, "output") for name in ("mean", "inv_std")]
    return found


def _layer_reference(
        spec: LayerNormSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    x = arrays["x"].reshape(spec.rows, spec.n).astype(np.float64)
    mean = x.mean(axis=1, keepdims=True)
    inverse = 1 / np.sqrt(np.square(x - mean).mean(axis=1, keepdims=True) + spec.epsilon)
    y = (x - mean) * inverse * arrays["gamma"] + (arrays["beta"] if spec.beta else 0.0)
    found = {"y": y, "mean": mean, "inv_std": inverse} if spec.statistics else {"y": y}
    return {name: value.astype(np.float32) for name, value in found.items()}


def _batch_operands(spec: BatchNormSpec) -> list[Operand]:
    size = spec.rows * spec.c
    names = ("gamma", "beta", "mean", "var")
    found = [Operand("x", "float32", size), *(Operand(n, "float32", spec.c) for n in names),
             Operand("y", "float32", size, "output")]
    if spec.training:
        found += [Operand(n, "float32", spec.c, "output") for n in ("new_mean", "new_var")]
    return found


def _batch_reference(
        spec: BatchNormSpec, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    x = arrays["x"].reshape(spec.rows, spec.c).astype(np.float64)
    old_mean, old_var = arrays["mean"].astype(np.float64), arrays["var"].astype(np.float64)
    mean, var = (x.mean(axis=0), x.var(axis=0)) if spec.training else (old_mean, old_var)
    y = (x - mean) / np.sqrt(var + spec.epsilon) * arrays["gamma"] + arrays["beta"]
    keep = spec.momentum
    found = {"y": y}
    if spec.training:
        found |= {"new_mean": old_mean * keep + mean * (1 - keep),
                  "new_var": old_var * keep + var * (1 - keep)}
    return {name: value.astype(np.float32) for name, value in found.items()}


def _layer(isa: Isa) -> Variant[LayerNormSpec]:
    return Variant(f"layer_norm_f32__{isa.name}", isa, "layer_norm.c.j2",
                   cost=lambda spec: spec.rows * (-(-spec.n // isa.lanes) * 4.0 + 60))


def _batch(isa: Isa) -> Variant[BatchNormSpec]:
    return Variant(f"batch_norm_f32__{isa.name}", isa, "batch_norm.c.j2",
                   cost=lambda spec: -(-spec.c // isa.lanes) * (spec.rows * 10.0 + 60),
                   tile={"run": RUN})


ISAS = (SCALAR, AVX2, AVX512, NEON, SIMD128)
def _layer_row(spec: LayerNormSpec) -> dict[str, int]:
    return {"x": spec.n, "y": spec.n, "mean": 1, "inv_std": 1}


LAYER_NORM: Family[LayerNormSpec] = Family(
    "layer_norm", _layer_operands, _layer_reference, variants=tuple(map(_layer, ISAS)),
    macs=lambda spec: 3 * spec.rows * spec.n,
    cut=Cut(lambda spec: spec.rows, rows_part("rows", _layer_row)))
BATCH_NORM: Family[BatchNormSpec] = Family(
    "batch_norm", _batch_operands, _batch_reference, variants=tuple(map(_batch, ISAS)),
    macs=lambda spec: 3 * spec.rows * spec.c,
    cut=Cut(lambda spec: 1 if spec.training else spec.rows,
            rows_part("rows", lambda spec: dict.fromkeys("xy", spec.c))))
FAMILIES = (LAYER_NORM, BATCH_NORM)
