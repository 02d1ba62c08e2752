"""Layer normalisation over the last axis, float32."""

from dataclasses import dataclass


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
