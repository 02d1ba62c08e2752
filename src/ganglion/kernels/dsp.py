"""Weights of convolutions and products of 8-bit codes for Arm's M profile: its DSP extension, two
16-bit products at once (Cortex-M4, M7, M33; `isa/dsp.h`), and its vectors (Cortex-M55;
`isa/mve.h`)."""

from collections.abc import Callable

import numpy as np

from ganglion.kernels import tiling


def pairs(terms: int) -> int:
    """Pairs of terms, an even number of them."""
    return tiling.padded(terms, 4) // 2


def folded(zero_point: int, weights: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """int32 biases [O] that make up for zero points left in codes; weights [O, terms]."""
    sums = -zero_point * weights.astype(np.int64).sum(1)
    return np.asarray((sums if bias is None else sums + bias.reshape(-1)).astype(np.int32))


def interleaved(weights: np.ndarray, together: int = 1) -> np.ndarray:
    """int8 [O, terms] to [O / 2t][terms / 4][t][2][4], t pairs of channels together: of four terms
    a word for terms 0 and 2 and one for 1 and 3; bytes 0 and 2 are one channel's, 1 and 3 the next
    one's. Padded with zeros."""
    o, terms = weights.shape
    full = np.zeros((tiling.padded(o, 2 * together), 2 * pairs(terms)), np.int8)
    full[:o, :terms] = weights
    # block, pair, channel, four, late, odd
    split = full.reshape(len(full) // (2 * together), together, 2, -1, 2, 2)
    return np.ascontiguousarray(split.transpose(0, 3, 1, 5, 4, 2)).reshape(-1)


def by_channel(weights: np.ndarray) -> np.ndarray:
    """int8 [C, taps] to int16: of four channels, for each two taps a word of both for channels 0,
    2, 1 and 3; an odd last tap's for 0 and 2, and for 1 and 3; the channels left, tap by tap."""
    whole, taps = weights.shape[0] // 4 * 4, weights.shape[1]
    four = weights[:whole].reshape(-1, 4, taps)[:, [0, 2, 1, 3]].astype(np.int16)
    twos = four[..., :taps // 2 * 2].reshape(len(four), 4, taps // 2, 2).swapaxes(1, 2)
    parts = [twos.reshape(len(four), 4 * (taps - taps % 2)), four[..., taps - taps % 2:].reshape(
        len(four), 4 * (taps % 2))]
    left = weights[whole:].astype(np.int16).reshape(-1)
    return np.concatenate([np.concatenate(parts, axis=1).reshape(-1), left]).view(np.int8)


def by_sixteens(weights: np.ndarray) -> np.ndarray:
    """int8 [O, terms] to [O / 4][terms / 16][4][16], padded with zeros."""
    o, terms = weights.shape
    full = np.zeros((tiling.padded(o, 4), tiling.padded(terms, 16)), np.int8)
    full[:o, :terms] = weights
    return np.ascontiguousarray(full.reshape(len(full) // 4, 4, -1, 16).swapaxes(1, 2)).reshape(-1)


def signed(dtype: str, zero_point: int) -> int:
    """The zero point of codes that have become signed bytes."""
    return zero_point - (128 if dtype == "uint8" else 0)


def packed(consts: dict[str, np.ndarray], name: str, weights: np.ndarray, zero_point: int,
           arrange: Callable[[np.ndarray], np.ndarray], wide: int = 2) -> dict[str, np.ndarray]:
    """The constants with `name` ([O, terms]) arranged and the zero point in the biases. Of these
    and of the factors there are a multiple of `wide`; biases stand in front of the weights where
    there is no operand for them."""
    columns = tiling.padded(len(weights), wide)
    sums = tiling.padded_to(folded(zero_point, weights, consts.get("bias")), columns)
    factors = tiling.padded_to(consts["multiplier"].reshape(-1), columns)
    found = {**consts, name: arrange(weights), "multiplier": factors}
    if "bias" in consts:
        return {**found, "bias": sums}
    return {**found, name: np.concatenate([sums.view(np.int8), found[name]])}
