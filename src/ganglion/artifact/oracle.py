"""What a Model answers, and how far an answer of the same network may be from it.

The Model is evaluated in float64. Where a build's answer is not the same within `SAFETY` roundings
of float32, the evaluation is repeated with noise (`artifact.noise`), a few times and, where that
does not explain the difference, many times: what the noise changes in an output of floats, times 1,
2 or at most `SAFETY`, is its tolerance; an element of an output of integers may be what it was in
any of the draws, or between.

Codes that are known, because integer arithmetic gives them, take the place of the Model's own, each
time after a comparison: they may differ where the Model's own number lies between two codes within
rounding, and nowhere else. So every stretch between two tensors of codes is held against the
Model's meaning with the sharpness of one rounding, and rounding of one layer never excuses the
next.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from ganglion.artifact.noise import HALF_UNITS, SAFETY, UNIT, Arrays, Noise, largest, work
from ganglion.errors import CheckError
from ganglion.ops.base import Array
from ganglion.ops.evaluate import Reference
from ganglion.ops.limits import undefined

DRAWS, MORE = 4, 24
LADDER = ((0, 0.0, False), (DRAWS // 2, 1.0, False), (0, 2.0, False), (0, SAFETY, False),
          (DRAWS // 2, 1.0, True), (DRAWS // 2, 2.0, True), (0, SAFETY, True),
          (MORE, SAFETY, True))
"""What is tried in turn until it explains a difference: so many draws with noise, and how many
times what all of them changed is allowed; at last decisions are pushed besides, in half of the
draws one way, in half the other. The first that does, for each output by itself, is its tolerance,
so that what is reported is never wider than what was needed."""
WORK = 3_000_000_000
"""About how many operations of NumPy a check may take, beyond the first evaluation."""
FLOAT32_MAX = float(np.finfo(np.float32).max)
FILLS = (0, 1, -1)
"""What takes the place of an answer that its operator does not define: what changes with it in an
output is left open. -1 stands for the greatest number of the type."""


@dataclass(frozen=True)
class Finding:
    """One output's largest difference, the tolerance there, the size of its largest element.

    `open`: the share of its elements that were not compared, having no defined answer.
    """

    output: str
    difference: float
    tolerance: float
    size: float = 0.0
    open: float = 0.0

    @property
    def within(self) -> bool:
        return self.difference <= self.tolerance

    @property
    def strain(self) -> float:
        """The difference as a share of what is allowed."""
        return self.difference / self.tolerance if self.tolerance else self.difference


@dataclass
class Bounds:
    """What an output, or a tensor of codes, may be: `low` <= element <= `high`; `open` anything."""

    answer: Array
    low: Array
    high: Array
    open: Array
    change: float = 0.0

    def widen(self, other: Array) -> None:
        """Takes in what a draw gave."""
        if self.answer.dtype.kind != "f":
            self.low, self.high = np.minimum(self.low, other), np.maximum(self.high, other)
            return
        with np.errstate(invalid="ignore"):
            change = np.abs(other - self.answer)
        self.change = max(self.change, float(change[np.isfinite(change)].max(initial=0.0)))

    def allow(self, times: float) -> None:
        """Lets floats differ by this many times what the draws have changed."""
        if self.change:
            self.low = np.minimum(self.low, self.answer - times * self.change)
            self.high = np.maximum(self.high, self.answer + times * self.change)

    def finding(self, name: str, found: Array) -> Finding:
        """The element that is furthest outside, or where all are inside the furthest one."""
        if found.shape != self.answer.shape:
            raise CheckError(f"output {name!r} of the build has shape {list(found.shape)}, the "
                             f"reference's has {list(self.answer.shape)}")
        wanted = self.answer
        if not found.size:
            return Finding(name, 0.0, 0.0)
        if wanted.dtype.kind == "f":
            found = found.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            same = (found == wanted) | ((found != found) & (wanted != wanted)) | self.open
            inside = same | ((found >= self.low) & (found <= self.high))
            difference = np.where(same, 0.0, _distance(found, wanted))
            allowed = np.maximum(_distance(self.high, wanted), _distance(wanted, self.low))
        difference = np.where(np.isnan(difference), np.inf, difference)
        allowed = np.where(np.isnan(allowed) | (np.isinf(allowed) & ~inside), 0.0, allowed)
        rank = np.where(inside, difference, np.inf)
        at = int(np.argmax(rank))
        most = float(difference.reshape(-1)[at])
        tolerance = float(allowed.reshape(-1)[at]) if not inside.all() else max(
            most, float(allowed[~self.open].max(initial=0.0)))
        if not inside.all() and most <= tolerance:
            most = np.nextafter(tolerance, np.inf)
        size = largest(wanted) if wanted.dtype.kind == "f" else float(
            np.abs(wanted.astype(np.float64)).max())
        return Finding(name, most, tolerance, size, float(np.mean(self.open)))


def _distance(a: Array, b: Array) -> Array:
    """|a - b| as float64, exact for integers that fit."""
    if a.dtype.kind in "iu" and a.dtype.itemsize == 8:
        a, b = np.maximum(a, b), np.minimum(a, b)
        return (a.astype(np.uint64) - b.astype(np.uint64)).astype(np.float64)
    return np.asarray(np.abs(a.astype(np.float64) - b.astype(np.float64)))


@dataclass
class Evaluation:
    """What one evaluation without noise saw besides the answers."""

    work: int = 0
    nothing: set[str] = field(default_factory=set)
    """Values that follow from what NaN or infinity leave undefined."""
    open: bool = False
    """Whether an operator left elements undefined."""


class Oracle:
    """One Model as the reference of many samples.

    `exact`: its arithmetic is that of any build, to the bit; it is then computed in its own types,
    and nothing is allowed. `hybrid`: values that the build takes from int8 products. `limit`: about
    how many operations the draws of one sample may take. Raises what `ops.evaluate.Reference`
    raises.
    """

    def __init__(self, model: ir.Model, exact: bool = False, hybrid: frozenset[str] = frozenset(),
                 limit: int = WORK) -> None:
        self.reference = Reference(model, None if exact else np.float64)
        self.exact, self.hybrid, self.limit = exact, hybrid, limit
        self.work = 0
        self.keep: frozenset[str] = frozenset()
        """The values that `kept` is to have, of the last sample without undefined answers."""
        self.kept: dict[str, Array] = {}
        self._types = {v.name or "": v.dtype for v in model.graph.outputs}

    def findings(self, sample: Arrays, found: Arrays, *, known: Mapping[str, Array] | None = None,
                 seed: int = 0, strict: bool = True) -> list[Finding]:
        """The findings of one sample; outputs without a defined answer are left out.

        `strict`: no element may be NaN or infinite that is a number by the Model.

        `known`: tensors of codes by name. Raises CheckError naming one that the Model does not
        give, within rounding, for those known before it.
        """
        known = known or {}
        codes: dict[str, Bounds] = {}
        bounds = self._answers(sample, known, codes)
        for name, bound in () if strict else bounds.items():
            if bound.answer.dtype.kind == "f" and name in found:
                bound.open |= np.isfinite(bound.answer) & ~np.isfinite(found[name])
        made: dict[str, Finding] = {}
        wrong: dict[str, Finding] = {}
        for rung, (draws, times, pushed) in enumerate(LADDER[:1] if self.exact else LADDER):
            if draws > DRAWS and self.work * draws > self.limit:
                break
            for draw in range(draws):
                push = 1 - 2 * (draw % 2) if pushed else 0
                self._draw(sample, known, codes, bounds, (seed, rung, draw), push)
            for bound in bounds.values():
                bound.allow(times)
            made |= {n: bounds[n].finding(n, a) for n, a in found.items()
                     if n in bounds and not (n in made and made[n].within)}
            wrong = {n: f for n, b in codes.items() if not (f := b.finding(n, known[n])).within}
            if not wrong and all(f.within for f in made.values()):
                return list(made.values())
        if wrong:
            name, worst = next(iter(wrong.items()))
            raise CheckError(
                f"tensor {name!r} of the network as it was rewritten to integers differs by "
                f"{worst.difference:.3g} codes from the network as given, allowed are "
                f"{worst.tolerance:.3g}. {REWRITTEN}")
        return list(made.values())

    def values(self, sample: Arrays) -> Mapping[str, Array]:
        """The values named by `keep`; none where an operator left something undefined."""
        self._answers(sample, {}, {})
        return self.kept

    def _answers(self, sample: Arrays, known: Mapping[str, Array], codes: dict[str, Bounds]
                 ) -> dict[str, Bounds]:
        """The Model's answers; what an operator leaves undefined in them is open."""
        seen = Evaluation()
        self.kept = {}
        answers = self._run(sample, known, seen, codes, 0)
        self.work = max(self.work, seen.work)
        self.kept = {} if seen.open else self.kept
        bounds = {n: self._bounds(n, a) for n, a in answers.items() if n not in seen.nothing}
        for fill in FILLS[1:] if seen.open else ():
            others = self._run(sample, known, Evaluation(), None, fill)
            for name, bound in bounds.items():
                a, b = bound.answer, others[name]
                bound.open |= (a != b) & ~((a != a) & (b != b))
        return bounds

    def _bounds(self, name: str, answer: Array) -> Bounds:
        allowed = 0.0
        if answer.dtype.kind == "f" and not self.exact:
            unit = HALF_UNITS.get(self._types[name], UNIT)
            allowed = SAFETY * unit * largest(answer)
        low, high = (answer - allowed, answer + allowed) if allowed else (answer, answer)
        return Bounds(answer, low, high, np.zeros(answer.shape, bool))

    def _run(self, sample: Arrays, known: Mapping[str, Array], seen: Evaluation,
             codes: dict[str, Bounds] | None, fill: int) -> dict[str, Array]:
        masks: dict[ir.Node, Array] = {}

        def before(node: ir.Node, arrays: list[Array | None]) -> list[Array | None]:
            if any(v is not None and v.name in seen.nothing for v in node.inputs):
                seen.nothing.update(v.name or "" for v in node.outputs)
            made, mask = undefined(node, arrays, self._is_hybrid(node))
            if mask is not None:
                masks[node] = mask
                seen.open = True
                if any(a is not None and a.dtype.kind == "f" and not np.isfinite(a).all()
                       for a in arrays):
                    seen.nothing.update(v.name or "" for v in node.outputs)
            return made

        def after(node: ir.Node, arrays: list[Array | None], outputs: tuple[Array, ...]
                  ) -> tuple[Array, ...]:
            seen.work += work(node, arrays, outputs)
            if self.keep and codes is not None:
                self.kept |= {v.name: y for v, y in zip(node.outputs, outputs)
                              if v.name in self.keep}
            if not self.exact:
                outputs = tuple(_in_float32(y) for y in outputs)
            if node in masks:
                outputs = (_filled(outputs[0], masks[node], fill), *outputs[1:])
            return self._taken(node, outputs, known, codes)

        return self.reference.run(sample, before, after)

    def _is_hybrid(self, node: ir.Node) -> bool:
        return any(v.name in self.hybrid for v in node.outputs)

    def _taken(self, node: ir.Node, outputs: tuple[Array, ...], known: Mapping[str, Array],
               codes: dict[str, Bounds] | None) -> tuple[Array, ...]:
        """The outputs, known codes in the place of own ones, which are noted."""
        if not any(v.name in known for v in node.outputs):
            return outputs
        taken = list(outputs)
        for k, (value, y) in enumerate(zip(node.outputs, outputs)):
            name = value.name or ""
            if name not in known or known[name].shape != y.shape:
                continue
            if codes is not None and name not in codes:
                codes[name] = Bounds(y, y, y, np.zeros(y.shape, bool))
            elif codes is not None:
                codes[name].widen(y)
            taken[k] = known[name]
        return tuple(taken)

    def _draw(self, sample: Arrays, known: Mapping[str, Array], codes: dict[str, Bounds],
              bounds: Mapping[str, Bounds], seed: tuple[int, int, int], push: int) -> None:
        *rest, draw = seed
        noise = Noise((*rest, draw // 2 if push else draw), push, self.hybrid, frozenset(known))
        masks: dict[ir.Node, Array] = {}

        def before(node: ir.Node, arrays: list[Array | None]) -> list[Array | None]:
            made, mask = undefined(node, noise.before(node, arrays), self._is_hybrid(node))
            if mask is not None:
                masks[node] = mask
            return made

        def after(node: ir.Node, arrays: list[Array | None], outputs: tuple[Array, ...]
                  ) -> tuple[Array, ...]:
            outputs = tuple(_in_float32(y) for y in noise.after(node, arrays, outputs))
            if node in masks:
                outputs = (_filled(outputs[0], masks[node], 0), *outputs[1:])
            return self._taken(node, outputs, known, codes)

        for name, disturbed in self.reference.run(sample, before, after).items():
            if name in bounds:
                bounds[name].widen(disturbed)


REWRITTEN = ("This is a defect of the project's rewriting of the network, not of the network: "
             "please report it with the Model; passes run before planning, so another compiler "
             "or other kernels do not help")


def _in_float32(y: Array) -> Array:
    """What float32 cannot hold becomes infinite, as in the build."""
    if y.dtype.kind != "f" or not y.size or (y.max() <= FLOAT32_MAX and y.min() >= -FLOAT32_MAX):
        return y
    with np.errstate(invalid="ignore"):
        beyond = np.abs(y) > FLOAT32_MAX
    return np.where(beyond, np.copysign(np.inf, y), y) if beyond.any() else y


def _filled(y: Array, mask: Array, fill: int) -> Array:
    number: float | int = fill
    if y.dtype.kind in "iu" and fill < 0:
        number = np.iinfo(y.dtype).max
    return np.where(np.broadcast_to(mask, y.shape), np.asarray(number).astype(y.dtype), y)
