"""A training step that fits a memory: what to keep is searched, measured by real plans.

Candidates, cheapest first: the nodes in the order that shortens lives; then the forward pass cut
into segments, whose inner activations are computed again (`passes.gradient.recompute`).
For a bound on what is held while the backward pass goes through a segment, the cuts with the least
work are found by dynamic programming over all pairs of positions; several bounds are tried, from
the lowest that can be met. Once with every node computed again, once with products and convolutions
kept. The first whose plan fits is taken; where none does, the cuts of the smallest are moved one by
one as long as that helps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.artifact.noise import terms
from ganglion.errors import DataError, TargetError
from ganglion.ops import marks
from ganglion.ops.facts import weights_of
from ganglion.ops.values import static_shape
from ganglion.passes.gradient.recompute import Forward, forward_part, recompute
from ganglion.passes.gradient.scale_earlier import ScaleEarlier
from ganglion.passes.gradient.shorten_lives import ShortenLives
from ganglion.plan.types import Plan
from ganglion.toolchain.targets import Target

BOUNDS = 12
"""How many bounds are tried."""

LABELS = 8
"""How many ways to cut the nodes up to a place are followed on."""

REFINEMENTS = 12
"""How many single moves of a cut are tried where no candidate fits."""

"""Operators with many multiply-adds an element."""

Planned = Callable[[ir.Model], Plan]


@dataclass(frozen=True)
class Cuts:
    """One way to cut the forward pass. `keep_heavy`: results of sums of products are kept.

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


MAX_CALL_BYTES = 1 << 30
"""What a call may take, its inputs and outputs included, unless `memory_bytes` says more: a file
of a few hundred bytes can ask for any amount."""


def within(model: ir.Model, memory_bytes: int | None, planned: Planned,
           target: Target | None = None) -> ir.Model:
    """The prepared Model, made such that its arena and state take `memory_bytes` at most.

    A training step is copied, and computes the same values in another order or twice; any other
    Model stays as it is. `target`: what it has bounds the budget too. Raises TargetError naming
    the least that was found for a training step, DataError for a budget that is no positive whole
    number.
    """
    if memory_bytes is not None and (not isinstance(memory_bytes, int) or memory_bytes < 1):
        raise DataError(f"memory_bytes={memory_bytes!r}: expected a whole number of bytes")
    limits = [memory_bytes, None if target is None else target.ram_bytes]
    least = min((n for n in limits if n is not None), default=None)
    loss = model.metadata_props.get(marks.LOSS)
    if loss is None:
        return model
    ordered = model.clone(deep_copy=True)
    ScaleEarlier()(ordered)
    ShortenLives()(ordered)
    if least is None:
        return ordered

    def attempt(cuts: Cuts) -> Attempt:
        candidate = _cut(ordered, loss, cuts)
        return Attempt(cuts, candidate, planned(candidate))

    best = attempt(Cuts((), True, 0))
    for cuts in ways(ordered, loss):
        if taken(best.plan) <= least:
            return best.model
        best = min(best, attempt(cuts), key=lambda a: taken(a.plan))
    best = _refined(best, least, attempt)
    require_within(best.plan, memory_bytes, target)
    return best.model


def require_within(plan: Plan, memory_bytes: int | None, target: Target | None = None) -> None:
    """Raises TargetError where the plan takes more arena and state than the caller gave or, for a
    training step, than the target has, saying which of the two it is."""
    owned = None if target is None else target.ram_bytes
    asked = memory_bytes is not None and (owned is None or memory_bytes <= owned)
    limit = memory_bytes if asked else owned
    if limit is None or taken(plan) <= limit:
        return
    whose = f"memory_bytes={limit}" if asked or target is None else (
        f"the {limit} bytes of RAM of target {target.name!r}")
    raise TargetError(
        f"network {plan.name!r} takes {taken(plan)} bytes at the least ({plan.arena_bytes} of "
        f"arena, {plan.state_bytes} of state), {taken(plan) - limit} more than {whose}: "
        + (f"give memory_bytes={taken(plan)}, " if asked else "take a larger device, ")
        + "a smaller batch, or, for training, fewer trainable weights or an optimizer with fewer "
        "slots")


def require_intended(plan: Plan, memory_bytes: int | None) -> None:
    """Raises TargetError for a call of more than `MAX_CALL_BYTES` that nobody asked for."""
    ports = sum(prod(p.shape) * np.dtype(p.dtype).itemsize
                for p in (*plan.inputs, *plan.outputs))
    if memory_bytes is None and taken(plan) + ports > MAX_CALL_BYTES:
        raise TargetError(
            f"a call of network {plan.name!r} takes {taken(plan) + ports} bytes ({taken(plan)} of "
            f"arena and state, {ports} of inputs and outputs), more than the usual limit of "
            f"{MAX_CALL_BYTES}: give memory_bytes={max(taken(plan), 1)} if that is intended, or "
            "make its inputs smaller")


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
        for at, work in _cuts(part).items():
            found[at, keep_heavy] = Cuts(at, keep_heavy, work)
    return sorted(found.values(), key=lambda c: (c.work, len(c.at), c.at))


def _heavy(node: ir.Node) -> bool:
    return bool(weights_of(node))


@dataclass(frozen=True)
class Segments:
    """Of every segment [begin, end): bytes that it keeps, bytes that only its own backward pass
    needs, and the work of computing these again."""

    count: int
    kept: Mapping[tuple[int, int], int]
    inner: Mapping[tuple[int, int], int]
    work: Mapping[tuple[int, int], int]


@dataclass(frozen=True, order=True)
class Label:
    """A way to cut the forward nodes up to some place: its work, what it keeps, its cuts."""

    work: int
    kept: int
    cuts: tuple[int, ...]


def _segments(part: Forward) -> Segments:
    count = len(part.nodes)
    pairs = [(begin, end) for begin in range(count) for end in range(begin + 1, count + 1)]
    costs = [prod(static_shape(n.outputs[0])) * (1 + terms(n)) for n in part.nodes]
    kept, inner, work = (dict.fromkeys(pairs, 0) for _ in range(3))
    for pair in pairs:
        begin, end = pair
        again = set()
        for b in part.buffers:
            if begin <= b.made < end and (b.needed or b.read >= end):
                held = b.read >= end or not b.dropped
                (kept if held else inner)[pair] += b.nbytes
            if begin <= b.made < end and b.read < end and b.dropped:
                again.add(b.made)
        work[pair] = sum(costs[k] for k in again)
    return Segments(count, kept, inner, work)


def _cuts(part: Forward) -> dict[tuple[int, ...], int]:
    """The cuts with the least work for bounds from the lowest that can be met, and their work."""
    found = _segments(part)
    whole = found.kept[0, found.count] + found.inner[0, found.count]
    low, high = 0, whole
    while high - low > whole // 100 + 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _best(found, middle) else (middle, high)
    bounds = [high + (whole - high) * k // BOUNDS for k in range(BOUNDS)]
    labels = [label for bound in bounds if (label := _best(found, bound)) is not None]
    return {label.cuts: label.work for label in labels if label.cuts}


def _best(found: Segments, bound: int) -> Label | None:
    """The cuts with the least work such that no segment, with all that is kept up to its end,
    holds more than `bound` bytes; None where there are none.

    Of the ways to a place only those are followed on that no other one beats in both work and
    bytes, and of these the first few.
    """
    ways: list[list[Label]] = [[Label(0, 0, ())]]
    for end in range(1, found.count + 1):
        labels = []
        for begin in range(end):
            pair = (begin, end)
            work = found.work[pair] if end < found.count else 0
            for label in ways[begin]:
                kept = label.kept + found.kept[pair]
                if kept + found.inner[pair] <= bound:
                    cuts = label.cuts if end == found.count else (*label.cuts, end)
                    labels.append(Label(label.work + work, kept, cuts))
        ways.append(_undominated(labels))
    return ways[-1][0] if ways[-1] else None


def _undominated(labels: list[Label]) -> list[Label]:
    best: list[Label] = []
    for label in sorted(labels):
        if not best or label.kept < best[-1].kept:
            best.append(label)
    return best[:LABELS - 1] + best[-1:] if len(best) > LABELS else best
