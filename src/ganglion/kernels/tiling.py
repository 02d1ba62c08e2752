"""How products are cut into register tiles; shared by the matmul and convolution families.

A tile is `rows` × `vectors` accumulators: rows are rows of a (or output pixels), vectors are L
output columns each. Packed weights lie in panels [columns / width][K][width], the last one as
narrow as it needs to be, a whole number of vectors.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np

from ganglion.kernels.isa import Isa

WINOGRAD_POINTS = (0.6875, 1.375)
"""F(4×4, 3×3) is interpolated at 0, ±these and infinity: their powers are exact in float32, and
rounding errors a quarter of those with ±1 and ±2 (found by trying)."""


def winograd_weights() -> np.ndarray:
    """The transform of three weights to six, [6, 3]."""
    a, b = WINOGRAD_POINTS
    points = np.array([0, a, -a, b, -b])
    gaps = points[:, None] - points + np.eye(5)
    rows = points[:, None] ** np.arange(3) / gaps.prod(1)[:, None]
    return np.concatenate([rows, [[0, 0, 1]]])


def splits(total: int, block: int) -> list[tuple[int, int, int]]:
    """(start, stop, step) of the loops over whole blocks and over what is left.

    >>> splits(20, 6)
    [(0, 18, 6), (18, 20, 2)]
    """
    whole = total // block * block
    loops = [(0, whole, block)] if whole else []
    return loops + ([(whole, total, total - whole)] if total > whole else [])


def heights(most: int, counts: Sequence[int]) -> list[int]:
    """Heights of tiles, `most` the first, that together cover each of these counts of rows.

    >>> heights(6, [32, 1600])
    [6, 4, 2]
    """
    used = set()
    steps = [most, *(step for step in (4, 2, 1) if step < most)]
    for count in counts:
        for step in steps:
            if count >= step:
                used.add(step)
                count %= step
    return sorted(used, reverse=True)


def padded(columns: int, lanes: int) -> int:
    """Columns rounded up to whole vectors."""
    return -(-columns // lanes) * lanes


def panels(b: np.ndarray, width: int, lanes: int) -> np.ndarray:
    """[K, N, ...] to panels [N / width][K][width, ...], flat; columns added are 0."""
    columns = b.shape[1]
    parts = []
    for start, stop, step in splits(columns, width):
        for n in range(start, stop, step):
            wide = padded(step, lanes)
            part = np.zeros((b.shape[0], wide, *b.shape[2:]), b.dtype)
            part[:, :step] = b[:, n:n + step]
            parts.append(part.reshape(-1))
    return np.concatenate(parts)


def by_fours(weights: np.ndarray) -> np.ndarray:
    """[O, terms] to [O / 4][terms][4], flat; channels added are 0."""
    return panels(weights.T, 4, 4)


def groups(b: np.ndarray, isa: Isa, width: int) -> np.ndarray:
    """int8 weights [K, N] for integer dot products: panels of [K / terms][vectors][lanes][terms],
    or [terms][lanes] within a vector where the set splits pairs. K and N are padded with zeros."""
    k, n = b.shape
    full = np.zeros((padded(k, isa.terms), n), np.int8)
    full[:k] = b
    grouped = panels(full.reshape(-1, isa.terms, n).swapaxes(1, 2), width, isa.lanes)
    if isa.split:
        grouped = grouped.reshape(-1, isa.lanes, isa.terms).swapaxes(1, 2)
    return np.asarray(grouped.reshape(-1))


def origin(dtype: str, group: int, zero_point: int) -> int:
    """What is subtracted from a code when it is prepared for dot products of `group` terms: groups
    of four want unsigned bytes, pairs of int16 the zero point gone."""
    if group == 4:
        return -128 if dtype == "int8" else 0
    return zero_point


def folded(dtype: str, isa: Isa, zero_point: int, weights: np.ndarray,
           bias: np.ndarray | None) -> np.ndarray:
    """int32 biases [N] that make up for zero points left in prepared codes; weights [K, N]. Signed
    dot products take codes less 128, as if the zero point were as much less."""
    left = zero_point - origin(dtype, isa.terms, zero_point) - (128 if isa.signed else 0)
    sums = -left * weights.astype(np.int64).sum(0)
    return np.asarray((sums if bias is None else sums + bias).astype(np.int32))


def pack_order(columns: int, vectors: int) -> np.ndarray:
    """The columns in the order in which tiles of `vectors` vectors of 16 hold them, [columns].

    Packing four vectors of sums to bytes takes four lanes of each in turn. Where a tile is a
    multiple of four vectors wide, columns are dealt out so that this leaves them in their order.
    """
    order = np.arange(columns)
    if vectors % 4 == 0:
        whole = columns // 64 * 64
        order[:whole] = order[:whole].reshape(-1, 4, 4, 4).swapaxes(1, 2).reshape(-1)
    return order


def run(starts: Sequence[int], sizes: Sequence[int], lanes: int = 16) -> int:
    """Bytes of the one run that pieces of at most `lanes` make up, or 0 where there are gaps.

    >>> run([0, 16, 32], [16, 16, 4]), run([0, 16, 32], [16, 8, 4])
    (36, 0)
    """
    whole = all(size == lanes for size in sizes[:-1])
    follow = all(start == starts[0] + i * lanes for i, start in enumerate(starts))
    return starts[-1] + sizes[-1] - starts[0] if whole and follow else 0


def padded_to(values: np.ndarray, columns: int) -> np.ndarray:
    """A vector of channels with zeros behind it."""
    return np.concatenate([values, np.zeros(columns - values.size, values.dtype)])


def finish_cycles(columns: int, vectors: int, packing: bool) -> float:
    """Estimated cycles from a vector of sums to codes: least where packing leaves them in order, or
    three vectors or more are stored as one."""
    if not packing:
        return 3.0
    rest = columns % 64
    if vectors % 4 or columns < 48:
        return 2.4
    return (1.8 * (columns - rest) + (1.9 if rest >= 48 else 2.4) * rest) / columns


def tile_cycles(rows: int, vectors: int, k: int, per_cycle: float, chains: int = 1,
                each: float = 3.0) -> float:
    """Estimated cycles of one tile: arithmetic, loads or the latency of a sum, whichever binds, and
    `each` for finishing a vector of sums."""
    arithmetic = rows * vectors / per_cycle
    return k * max(arithmetic, (rows + vectors) / 2, 4 / chains) + each * rows * vectors + 8


def product_cycles(m: int, n: int, k: int, rows: int, width: int, lanes: int,
                   per_cycle: float, chains: int = 1, each: float = 3.0) -> float:
    """Estimated cycles of a product cut into tiles, remainders included."""
    total = 0.0
    for m0, m1, row_step in splits(m, rows):
        for n0, n1, columns in splits(n, width):
            count = (m1 - m0) // row_step * ((n1 - n0) // columns)
            vectors = -(-columns // lanes)
            total += count * tile_cycles(row_step, vectors, k, per_cycle, chains, each)
    return total


def halves(lanes: int) -> list[int]:
    """Vectors left after each round of taking two to one, `lanes` a power of two.

    >>> halves(8)
    [4, 2, 1]
    """
    return [lanes >> k for k in range(1, lanes.bit_length())]


@cache
def pixel_tile(p: int, q: int, rows: int) -> tuple[int, int]:
    """(height, width) of the blocks of at most `rows` output pixels that cover P × Q best."""
    def cost(block: tuple[int, int]) -> tuple[float, int]:
        total = 0.0
        for p0, p1, height in splits(p, block[0]):
            for q0, q1, width in splits(q, block[1]):
                count = (p1 - p0) // height * ((q1 - q0) // width)
                total += count * (height * width + 1.5)
        return total, block[0]

    shapes = [(h, w) for h in range(1, min(p, rows) + 1) for w in range(1, min(q, rows // h) + 1)]
    return min(shapes, key=cost)


def pixel_cycles(p: int, q: int, n: int, k: int, rows: int, width: int, lanes: int,
                 per_cycle: float, each: float = 3.0) -> float:
    """Estimated cycles of a convolution over P × Q pixels with n outputs and k terms each."""
    height, across = pixel_tile(p, q, rows)
    return sum(product_cycles((p1 - p0) // h * ((q1 - q0) // w) * h * w, n, k, h * w, width, lanes,
                              per_cycle, each=each)
               for p0, p1, h in splits(p, height) for q0, q1, w in splits(q, across))


def block_offsets(height: int, width: int, row: int, column: int) -> Sequence[int]:
    """Offset of every pixel of a block from its first one.

    >>> block_offsets(2, 2, 100, 3)
    [0, 3, 100, 103]
    """
    return [i * row + j * column for i in range(height) for j in range(width)]
