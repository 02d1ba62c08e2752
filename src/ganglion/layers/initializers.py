"""Initial weights by Keras's names; the same seed gives the same weights on every machine.

Fans are counted on Keras's shapes: `[..., fan_in, fan_out]`, leading axes multiplied into both.
Draws are float64 from PCG64 and rounded to float32 last, so that the last bit of a platform's
math library does not show.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ganglion.errors import ModelError

Array = np.ndarray
Shape = tuple[int, ...]

_TRUNCATED_STDDEV = 0.87962566103423978
"""Standard deviation of a unit normal cut off at two standard deviations."""


class Initializer:
    """Gives an array of `shape`; `draw` works in float64."""

    seed: int | None = None

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        raise ModelError(f"{type(self).__name__} does not say how to draw weights; override draw")

    def __call__(self, shape: Shape, entropy: Sequence[int]) -> Array:
        """float32 of `shape`. The initializer's own seed, if given, replaces `entropy`."""
        seed = list(entropy) if self.seed is None else [self.seed]
        return self.draw(shape, np.random.Generator(np.random.PCG64(seed))).astype(np.float32)


@dataclass(frozen=True)
class Constant(Initializer):
    """Every weight is `value`."""

    value: float = 0.0

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return np.full(shape, self.value)


@dataclass(frozen=True)
class Zeros(Initializer):
    """All zeros."""

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return np.zeros(shape)


@dataclass(frozen=True)
class Ones(Initializer):
    """All ones."""

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return np.ones(shape)


@dataclass(frozen=True)
class RandomNormal(Initializer):
    """Normal with the given mean and standard deviation."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return self.mean + self.stddev * rng.standard_normal(shape)


@dataclass(frozen=True)
class RandomUniform(Initializer):
    """Uniform between `minval` and `maxval`."""

    minval: float = -0.05
    maxval: float = 0.05
    seed: int | None = None

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return self.minval + (self.maxval - self.minval) * rng.random(shape)


@dataclass(frozen=True)
class TruncatedNormal(Initializer):
    """Normal, redrawn where more than two standard deviations from the mean."""

    mean: float = 0.0
    stddev: float = 0.05
    seed: int | None = None

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        return self.mean + self.stddev * _truncated(shape, rng)


@dataclass(frozen=True)
class VarianceScaling(Initializer):
    """Variance `scale / n`, n being fan_in, fan_out or their mean (He 2015, Glorot 2010)."""

    scale: float = 1.0
    mode: str = "fan_in"
    distribution: str = "truncated_normal"
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in ("fan_in", "fan_out", "fan_avg"):
            raise ModelError(f"VarianceScaling: mode {self.mode!r} is not one of fan_in, fan_out, "
                             "fan_avg")
        if self.distribution not in ("truncated_normal", "untruncated_normal", "uniform"):
            raise ModelError(f"VarianceScaling: distribution {self.distribution!r} is not one of "
                             "truncated_normal, untruncated_normal, uniform")

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        fan_in, fan_out = fans(shape)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, n)
        if self.distribution == "uniform":
            limit = math.sqrt(3 * variance)
            return limit * (2 * rng.random(shape) - 1)
        if self.distribution == "untruncated_normal":
            return math.sqrt(variance) * rng.standard_normal(shape)
        return math.sqrt(variance) / _TRUNCATED_STDDEV * _truncated(shape, rng)


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """Rows or columns orthonormal times `gain` (Saxe 2014); leading axes are flattened."""

    gain: float = 1.0
    seed: int | None = None

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        if len(shape) < 2:
            raise ModelError(f"Orthogonal needs a weight of two axes or more, found {list(shape)}")
        rows, cols = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(rng.standard_normal((max(rows, cols), min(rows, cols))))
        q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
        return self.gain * (q.T if rows < cols else q).reshape(shape)


@dataclass(frozen=True)
class Identity(Initializer):
    """The unit matrix times `gain`."""

    gain: float = 1.0

    def draw(self, shape: Shape, rng: np.random.Generator) -> Array:
        if len(shape) != 2:
            raise ModelError(f"Identity needs a weight of two axes, found {list(shape)}")
        return self.gain * np.eye(*shape)


def GlorotUniform(seed: int | None = None) -> Initializer:
    """Uniform of variance 2 / (fan_in + fan_out)."""
    return VarianceScaling(1.0, "fan_avg", "uniform", seed)


def GlorotNormal(seed: int | None = None) -> Initializer:
    """Truncated normal of variance 2 / (fan_in + fan_out)."""
    return VarianceScaling(1.0, "fan_avg", "truncated_normal", seed)


def HeUniform(seed: int | None = None) -> Initializer:
    """Uniform of variance 2 / fan_in."""
    return VarianceScaling(2.0, "fan_in", "uniform", seed)


def HeNormal(seed: int | None = None) -> Initializer:
    """Truncated normal of variance 2 / fan_in."""
    return VarianceScaling(2.0, "fan_in", "truncated_normal", seed)


def LecunUniform(seed: int | None = None) -> Initializer:
    """Uniform of variance 1 / fan_in."""
    return VarianceScaling(1.0, "fan_in", "uniform", seed)


def LecunNormal(seed: int | None = None) -> Initializer:
    """Truncated normal of variance 1 / fan_in."""
    return VarianceScaling(1.0, "fan_in", "truncated_normal", seed)


_BY_NAME: dict[str, Callable[[], Initializer]] = {
    "constant": Constant, "zeros": Zeros, "ones": Ones, "identity": Identity,
    "random_normal": RandomNormal, "random_uniform": RandomUniform,
    "truncated_normal": TruncatedNormal, "variance_scaling": VarianceScaling,
    "orthogonal": Orthogonal, "uniform": RandomUniform, "normal": RandomNormal,
    "glorot_uniform": GlorotUniform, "glorot_normal": GlorotNormal,
    "he_uniform": HeUniform, "he_normal": HeNormal,
    "lecun_uniform": LecunUniform, "lecun_normal": LecunNormal,
}


def get(spec: str | Initializer) -> Initializer:
    """The initializer of a name; ModelError lists the names when there is none."""
    if isinstance(spec, Initializer):
        return spec
    if spec not in _BY_NAME:
        raise ModelError(f"unknown initializer {spec!r}; known: {', '.join(sorted(_BY_NAME))}")
    return _BY_NAME[spec]()


def fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of Keras's shape."""
    if len(shape) < 2:
        n = shape[0] if shape else 1
        return n, n
    receptive = math.prod(shape[:-2])
    return shape[-2] * receptive, shape[-1] * receptive


def _truncated(shape: Shape, rng: np.random.Generator) -> Array:
    values = rng.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = rng.standard_normal(int(outside.sum()))
    return values
