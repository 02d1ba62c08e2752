"""A training step that fits a memory: what to keep is searched, measured by real plans.

Candidates, cheapest first: the nodes in the order that shortens lives; then the forward pass cut
into segments, whose inner activations are computed again (`passes.recompute`).
For a bound on what a segment may hold, the cuts that keep the least are found by dynamic
programming over all pairs of positions; the bounds between them span everything from one segment to
one for each node. Once with every node computed again, once with products and convolutions kept.
The first whose plan fits is taken; where none does, the cuts of the smallest are moved one by one
as long as that helps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import onnx_ir as ir

from ganglion.build.check import terms
from ganglion.errors import DataError, TargetError
from ganglion.ops.graph import static_shape
from ganglion.passes.recompute import Forward, forward_part, recompute
from ganglion.passes.shorten_lives import ShortenLives
from ganglion.plan.types import Plan

BOUNDS = 12
"""How many bounds on a segment are tried."""

REFINEMENTS = 24
"""How many single moves of a cut are tried where no candidate fits."""

HEAVY = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "LSTM", "GRU", "RNN"})
"""Operators with many multiply-adds an element."""

Planned = Callable[[ir.Model], Plan]


@dataclass(frozen=True)
class Cuts:
    """One way to cut the forward pass. `keep_heavy`: results of `HEAVY` operators are kept.

    `work`: about how many operations are done twice.
    """

    at: tuple[int, ...]
    keep_heavy: bool
    work: int


@dataclass(frozen=True)
class Attempt:
    """A training step cut in one way, and its plan."""

    cuts: Cuts
    model: ir.Model
    plan: Plan


LOSS = "ganglion.loss"
"""Metadata of a training step: the name of the output that it makes small."""


def within(model: ir.Model, memory_bytes: int | None, planned: Planned) -> ir.Model:
    """The prepared Model, made such that its arena and state take `memory_bytes` at most.

    A training step is copied, and computes the same values in another order or twice; any other
    Model stays as it is. Raises TargetError naming the least that was found for a training step,
    DataError for a budget that is no positive whole number.
    """
    if memory_bytes is not None and (not isinstance(memory_bytes, int) or memory_bytes < 1):
        raise DataError(f"memory_bytes={memory_bytes!r}: expected a whole number of bytes")
    loss = model.metadata_props.get(LOSS)
    if loss is None:
        return model
    ordered = model.clone(deep_copy=True)
    ShortenLives()(ordered)
    if memory_bytes is None:
        return ordered

    def attempt(cuts: Cuts) -> Attempt:
        candidate = _cut(ordered, loss, cuts)
        return Attempt(cuts, candidate, planned(candidate))

    best = attempt(Cuts((), True, 0))
    for cuts in ways(ordered, loss):
        if taken(best.plan) <= memory_bytes:
            return best.model
        best = min(best, attempt(cuts), key=lambda a: taken(a.plan))
    best = _refined(best, memory_bytes, attempt)
    require_within(best.plan, memory_bytes)
    return best.model


def require_within(plan: Plan, memory_bytes: int | None) -> None:
    """Raises TargetError where the plan takes more arena and state than this."""
    if memory_bytes is not None and taken(plan) > memory_bytes:
        raise TargetError(
            f"network {plan.name!r} takes {taken(plan)} bytes at the least ({plan.arena_bytes} of "
            f"arena, {plan.state_bytes} of state), {taken(plan) - memory_bytes} more than "
            f"memory_bytes={memory_bytes}: give memory_bytes={taken(plan)}, a smaller batch, or, "
            "for training, fewer trainable weights or an optimizer with fewer slots")


def taken(plan: Plan) -> int:
    """Arena and state: the memory that a caller must have, besides inputs, outputs and stack."""
    return plan.arena_bytes + plan.state_bytes


def _cut(ordered: ir.Model, loss: str, cuts: Cuts) -> ir.Model:
    copy = ordered.clone(deep_copy=True)
    recompute(copy, loss, cuts.at, _heavy if cuts.keep_heavy else None)
    ShortenLives()(copy)
    return copy


def _refined(best: Attempt, memory_bytes: int, attempt: Callable[[Cuts], Attempt]) -> Attempt:
    """Moves or drops single cuts as long as that takes less, until it fits."""
    waiting = _neighbours(best.cuts)
    for _ in range(REFINEMENTS):
        if not waiting or taken(best.plan) <= memory_bytes:
            break
        other = attempt(waiting.pop(0))
        if taken(other.plan) < taken(best.plan):
            best, waiting = other, _neighbours(other.cuts)
    return best


def _neighbours(cuts: Cuts) -> list[Cuts]:
    """The same cuts with one of them a node further, a node earlier, or left out."""
    at = cuts.at
    moved = [(*at[:k], *new, *at[k + 1:]) for k in range(len(at))
             for new in ((at[k] + 1,), (at[k] - 1,), ())]
    return [Cuts(tuple(sorted(set(each))), cuts.keep_heavy, cuts.work) for each in moved if each]


def ways(model: ir.Model, loss: str) -> list[Cuts]:
    """Different ways to cut the forward pass, those with the least to compute again first."""
    found: dict[tuple[tuple[int, ...], bool], Cuts] = {}
    for keep_heavy in (True, False):
        part = forward_part(model, loss, _heavy if keep_heavy else None)
        for at in _cuts(part):
            found[at, keep_heavy] = Cuts(at, keep_heavy, _work(part, at))
    return sorted(found.values(), key=lambda c: (c.work, len(c.at), c.at))


def _heavy(node: ir.Node) -> bool:
    return node.op_type in HEAVY


def _cuts(part: Forward) -> set[tuple[int, ...]]:
    """The cuts that keep the least, for bounds from the smallest to the largest segment."""
    count = len(part.nodes)
    inner = [[0] * (count + 1) for _ in range(count + 1)]
    kept = [[0] * (count + 1) for _ in range(count + 1)]
    for begin in range(count):
        for end in range(begin + 1, count + 1):
            for b in part.buffers:
                if begin <= b.made < end:
                    held = b.read >= end or not b.dropped
                    if not held and b.needed:
                        inner[begin][end] += b.nbytes
                    elif held and (b.needed or b.read >= end):
                        kept[begin][end] += b.nbytes
    sizes = sorted({inner[begin][end] for begin in range(count)
                    for end in range(begin + 1, count + 1)})
    bounds = {sizes[k * (len(sizes) - 1) // (BOUNDS - 1)] for k in range(BOUNDS)}
    found = {_best(count, bound, inner, kept) for bound in bounds}
    return {at for at in found if at}


def _best(count: int, bound: int, inner: Sequence[Sequence[int]],
          kept: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Cuts into segments of at most `bound` inner bytes that keep the least; () if there are
    none. Of equal ones those with the fewest segments."""
    cost: list[tuple[int, int] | None] = [(0, 0), *[None] * count]
    came = [0] * (count + 1)
    for end in range(1, count + 1):
        for begin in range(end):
            start = cost[begin]
            if start is None or inner[begin][end] > bound:
                continue
            total = (start[0] + kept[begin][end], start[1] + 1)
            best = cost[end]
            if best is None or total < best:
                cost[end], came[end] = total, begin
    if cost[count] is None:
        return ()
    cuts, at = [], came[count]
    while at:
        cuts.append(at)
        at = came[at]
    return tuple(reversed(cuts))


def _work(part: Forward, cuts: Sequence[int]) -> int:
    """Operations of the segments that are computed again, as if each were whole."""
    last = cuts[-1] if cuts else 0
    again = {b.made for b in part.buffers if b.made < last and b.dropped}
    return sum(prod(static_shape(part.nodes[k].outputs[0])) * (1 + terms(part.nodes[k]))
               for k in again)
