"""Which steps are worth computing on several cores, and in how many pieces.

A network is divided for so many cores as its target has; run on fewer, or on one, it gives the same
bits. The estimate is the kernels' own, in cycles, and what several cores add to it: each reads the
weights, and fetches the operands that another one wrote.
"""

from collections.abc import Sequence
from dataclasses import replace
from heapq import heapreplace

import numpy as np

from ganglion.kernels.base import Operand, Part, Variant
from ganglion.kernels.registry import families
from ganglion.kernels.split import parts, sizes
from ganglion.plan.lowerer import Draft
from ganglion.plan.packing import given, packed
from ganglion.plan.types import Constant, Piece, Ref, Step, aligned, as_constant

LEAST_MACS = 1_000_000
"""A network of less work is not divided: it is done before another core has woken up."""

LEAST_CYCLES = 6_000
"""A piece has at least this much work on average, about two microseconds."""

BEGIN_CYCLES = 2_000
"""Until the other cores have begun, and until it is known that they are done."""

BYTES_PER_CYCLE = 20.0
"""Of weights from the second-level cache, and of operands from that of another core."""

WORD_BYTES = 4
"""Packed weights hold words of this size, which kernels read where they are aligned."""

PIECES_PER_CORE = 4
NEARLY = 1.05
"""Of divisions that take nearly as long as the best the one of most pieces is taken, for cores that
are busy with something else for a while."""

WORTH = 0.8
"""A division that takes a larger share of the whole step's time is not made."""


def divide(drafts: Sequence[Draft], steps: tuple[Step, ...], constants: Sequence[Constant],
           cores: int) -> tuple[tuple[Step, ...], int]:
    """The steps with their pieces for so many cores, and the scratch that each core needs.

    Pieces read the constants that the whole steps do; where theirs would be packed otherwise, the
    step stays whole.
    """
    if cores < 2 or sum(step.macs for step in steps) < LEAST_MACS:
        return steps, 0
    found, scratch = [], 0
    for draft, step in zip(drafts, steps):
        pieces = _pieces(draft, step, constants, cores)
        found.append(replace(step, pieces=pieces))
        scratch = max([scratch, *(draft.variant.scratch_bytes(p.spec) for p in pieces)])
    return tuple(found), aligned(scratch)


def _pieces(draft: Draft, step: Step, constants: Sequence[Constant], cores: int
            ) -> tuple[Piece, ...]:
    given_constants = given(draft)
    pieces = []
    ready: dict[object, dict[str, np.ndarray]] = {}
    constant_bytes = sum(len(constants[r.index].data) for r in step.operands if r.place == "const")
    for part in divided(draft.family, draft.spec, draft.variant, cores, constant_bytes):
        taken = {name: part.constants[name].of(array) if name in part.constants else array
                 for name, array in given_constants.items()}
        if part.constants or part.spec not in ready:
            ready[part.spec] = packed(draft, part.spec, taken)
        refs = [_ref(operand, part, ref, ready[part.spec], constants) for operand, ref in zip(
            families()[draft.family].operands(part.spec), step.operands)]
        if None in refs:
            return ()
        pieces.append(Piece(part.spec, tuple(ref for ref in refs if ref is not None)))
    return tuple(pieces)


def _ref(operand: Operand, part: Part, whole: Ref, ready: dict[str, np.ndarray],
         constants: Sequence[Constant]) -> Ref | None:
    """Where a part's operand lies within the whole step's; None where it does not."""
    start = part.starts.get(operand.name, 0) * np.dtype(operand.dtype).itemsize
    if operand.role == "const":
        start = constants[whole.index].data.find(as_constant("", ready[operand.name]).data)
        if start < 0 or start % WORD_BYTES:
            return None
    return replace(whole, offset=whole.offset + start)


def divided(family: str, spec: object, variant: Variant[object], cores: int,
            constant_bytes: int = 0) -> tuple[Part, ...]:
    """The parts of a step for so many cores; none where it is better computed whole.

    `constant_bytes`: packed weights, which every part reads unless it has a stretch of them.
    """
    whole = max(variant.cost(spec), constant_bytes / BYTES_PER_CYCLE)
    most = int(min(whole // LEAST_CYCLES, PIECES_PER_CORE * cores))
    found = []
    for size in sizes(families()[family], spec, variant, most):
        each = parts(families()[family], spec, variant, size)
        if each:
            costs = [_part_cycles(family, p, variant, constant_bytes / (
                len(each) if p.constants else 1)) for p in each]
            found.append((BEGIN_CYCLES + _cycles(costs, cores), each))
    best = min((cycles for cycles, _ in found), default=0.0)
    if best > WORTH * whole:
        return ()
    return max((each for cycles, each in found if cycles <= NEARLY * best), key=len, default=())


def _part_cycles(family: str, part: Part, variant: Variant[object], constant_bytes: float) -> float:
    moved = sum(o.nbytes for o in families()[family].operands(part.spec) if o.role != "const")
    return max(variant.cost(part.spec), constant_bytes / BYTES_PER_CYCLE) + moved / BYTES_PER_CYCLE


def _cycles(pieces: list[float], cores: int) -> float:
    """When the last core is done, if the pieces are taken in order."""
    busy = [0.0] * cores
    for piece in pieces:
        heapreplace(busy, busy[0] + piece)
    return max(busy)
