"""Is what was built what was meant? The build's answers against the Model's as it was given.

Two comparisons: with the network as it was planned, bit for bit, where its arithmetic is exact
(integers), or where its products are hybrid, whose codes the Model as given does not have; and with
the Model as it was given, before any pass, within the tolerance that the network itself has
(`artifact.oracle`). A build for streaming, which takes one step a call, is called for every step of
a sequence, and held against the given Model's answer to the whole of it.

The tolerance says how sharp the check was. Where it is above `BLUNT` of the output's largest
element, or where most elements of an output of integers may be another, the output counts as not
checked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.artifact.noise import Arrays
from ganglion.artifact.oracle import REWRITTEN, WORK, Finding, Oracle
from ganglion.errors import CheckError, UnsupportedOp
from ganglion.ops.base import Array
from ganglion.ops.bindings import bindings
from ganglion.ops.evaluate import evaluate
from ganglion.ops.facts import is_exact as node_is_exact
from ganglion.ops.facts import is_op, reads_codes
from ganglion.ops.named import CONV, GEMM, HYBRID_CONV, HYBRID_GEMM, MATMUL

Run = Callable[[Arrays], dict[str, np.ndarray]]
"""Runs the build on one set of inputs by name; outputs (and new state) by name."""
Walk = Callable[[Sequence[Arrays]], list[dict[str, np.ndarray]]]
"""Runs the build on one set of inputs after another, its state kept between them."""

BLUNT = 0.05
CODE_OFFSET = 128


@dataclass(frozen=True)
class Subject:
    """What is checked: a function of a build.

    `planned`: the Model that was planned; `given`: the one it was made of, whose inputs have the
    same names. `walk` and `axes` (the time axis of each input that is a sequence) for a network
    that takes one step of a sequence at a call. `spreads`: a kernel of the build mixes neighbouring
    elements, as Winograd's convolution does, so that NaN may reach more than by the operator's
    meaning.
    """

    run: Run
    planned: ir.Model
    given: ir.Model
    walk: Walk | None = None
    axes: Mapping[str, int] | None = None
    spreads: bool = False


def check(subject: Subject, samples: Sequence[Arrays], special: Sequence[Arrays] = ()
          ) -> dict[str, object]:
    """Compares on every sample; the figures for the manifest.

    `special`: samples with NaN and infinity. Raises CheckError naming the output that differs most.
    """
    return _Check(subject).figures(samples, special)


class _Check:
    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.exact = is_exact(subject.planned)
        hybrid = _hybrid(subject.planned)
        apart = self.exact or hybrid or subject.axes
        self.planned = Oracle(subject.planned, self.exact) if apart else None
        self.reason = ""
        try:
            self.given = Oracle(subject.given, hybrid=_known_to(hybrid, subject.given))
        except UnsupportedOp as error:
            self.reason = str(error)
            self.given = Oracle(subject.planned)
        self.codes = _codes(subject)
        self.source = self._source()
        self.worst: dict[str, Finding] = {}
        self.bits: dict[str, Finding] = {}
        self.sizes: dict[str, float] = {}
        self.allowed: dict[str, float] = {}
        self.count = self.steps = 0

    def _source(self) -> Oracle | None:
        """What gives the codes that are known."""
        if not self.codes:
            return None
        source = self.planned if self.planned is not None and self.exact else Oracle(
            self.subject.planned, exact=True)
        source.keep = frozenset(self.codes)
        return source

    def figures(self, samples: Sequence[Arrays], special: Sequence[Arrays]) -> dict[str, object]:
        for sample in samples:
            if self.count and self.given.work * (self.count + 1) > WORK:
                break
            self._compare(sample, self.subject.run(sample), strict=True)
        if self.given.work * (self.count + 1) <= WORK:
            for sample in special:
                self._compare(sample, self.subject.run(sample), strict=not self.subject.spreads)
        if self.subject.axes:
            self._compare_steps(samples)
        return self._manifest(len(samples) + len(special))

    def _compare(self, sample: Arrays, found: Arrays, strict: bool) -> None:
        seed = self.count
        self.count += 1
        if self.planned is not None:
            self._judge(self.planned.findings(sample, found, seed=seed, strict=strict), GENERATED,
                        self.bits if self.exact else self.worst)
        if self.subject.axes:
            return
        known: Mapping[str, Array] = {}
        if self.source is not None:
            known = self.source.kept if self.source is self.planned else self.source.values(sample)
            known = {n: _as_given(a, self.codes[n]) for n, a in known.items()}
        findings = self.given.findings(sample, found, known=known, seed=seed, strict=strict)
        self._judge(findings, self._cause(sample, found, findings), self.worst)

    def _cause(self, sample: Arrays, found: Arrays, findings: Sequence[Finding]) -> str:
        """Whose fault a difference is: where the build does what was planned, that of a pass."""
        if all(f.within for f in findings):
            return ""
        planned = self.planned or Oracle(self.subject.planned)
        as_planned = all(f.within for f in planned.findings(sample, found))
        return REWRITTEN if as_planned else GENERATED

    def _compare_steps(self, samples: Sequence[Arrays]) -> None:
        """A build that takes one step at a call, on every step of a sequence."""
        lengths = {_steps(v, self.subject.axes[v.name or ""])
                   for v in self.subject.given.graph.inputs
                   if self.subject.axes and v.name in self.subject.axes}
        self.steps = max(lengths)
        walk = self.subject.walk or _walked(self.subject.planned)
        rows = [samples[t % len(samples)] for t in range(self.steps)]
        made = walk(rows)
        axes = self.subject.axes or {}
        whole = {n: np.concatenate([r[n] for r in rows], axes[n]) if n in axes else rows[0][n]
                 for n in rows[0]}
        wanted = {v.name or "" for v in self.subject.given.graph.outputs}
        findings = self.given.findings(whole, {n: a for n in made[0] if n in wanted
                                               and (a := self._joined(n, made)) is not None})
        self._judge(findings, REWRITTEN, self.worst)

    def _joined(self, name: str, made: Sequence[Arrays]) -> Array:
        """All steps of an output that the given Model has them all of, the last one of others."""
        given = next(v for v in self.subject.given.graph.outputs if v.name == name)
        last = made[-1][name]
        for axis, size in enumerate(given.shape or ()):
            varies = not isinstance(size, int) and axis > 0
            if (varies or size == self.steps) and last.shape[axis] == 1 and self.steps > 1:
                return np.concatenate([m[name] for m in made], axis)
        return last

    def _judge(self, findings: Sequence[Finding], cause: str, worst: dict[str, Finding]) -> None:
        for f in findings:
            if not f.within:
                raise CheckError(
                    f"output {f.output!r} of the build differs from the reference by "
                    f"{f.difference:.3g}, allowed are {f.tolerance:.3g}. {cause}")
            if f.output not in worst or f.strain > worst[f.output].strain:
                worst[f.output] = f
            if worst is self.bits:
                continue
            self.sizes[f.output] = max(self.sizes.get(f.output, 0.0), f.size)
            self.allowed[f.output] = max(self.allowed.get(f.output, 0.0), f.tolerance)

    def _manifest(self, count: int) -> dict[str, object]:
        outputs: dict[str, dict[str, object]] = {}
        blunt = []
        for name, f in {**self.bits, **self.worst}.items():
            ratio = _ratio(self.allowed.get(name, 0.0), self.sizes.get(name, 0.0))
            if f.open >= 1 or ratio > BLUNT:
                blunt.append(name)
            held = self.bits.get(name, f)
            outputs[name] = {"status": "not checked" if name in blunt else "passed",
                             "difference": held.difference, "tolerance": held.tolerance,
                             "ratio": ratio}
            if name in self.bits and name in self.worst:
                outputs[name]["given"] = {"difference": f.difference, "tolerance": f.tolerance}
        missing = [v.name or "" for v in self.subject.planned.graph.outputs
                   if v.name not in outputs]
        found: dict[str, object] = {"status": "passed"}
        if blunt or missing:
            found = {"status": "not checked", "reason": _blunt(blunt, missing, outputs)}
        return {**found, "samples": self.count, "exact": self.exact,
                "compared": self._compared(count), "outputs": outputs}

    def _compared(self, count: int) -> list[str]:
        """What was held against what, in words."""
        lines = []
        if self.exact:
            lines.append("the build with the network as planned, bit for bit")
        elif self.planned is not None:
            lines.append("the build with the network as planned, within its rounding")
        if self.steps:
            lines.append(f"{self.steps} calls, one step each, with the network as given on the "
                         "whole sequence")
        elif self.reason:
            lines.append(f"not with the network as given, which has no reference: {self.reason}")
        else:
            lines.append("the build with the network as given")
        if self.codes:
            lines.append(f"{len(self.codes)} tensors of codes with the network as given")
        if self.count < count:
            lines.append(f"{self.count} of {count} inputs, as the reference takes "
                         f"{self.given.work:,} operations for one")
        return lines


GENERATED = ("The code does something else than what was planned, by a defect of the generated "
             "code or of the C compiler: try another compiler (cc=) or the scalar kernels "
             "(isas=('scalar',)), and please report it with the Model")


def _ratio(tolerance: float, size: float) -> float:
    """The tolerance as a share of the output's largest element; 0 where nothing is allowed."""
    if not tolerance:
        return 0.0
    return tolerance / size if size else 1.0


def _blunt(blunt: Sequence[str], missing: Sequence[str],
           outputs: Mapping[str, Mapping[str, object]]) -> str:
    told = [f"the tolerance of output {n!r} is {outputs[n]['ratio']:.0%} of its size" for n in blunt
            ] + [f"no sample gives output {n!r} a defined answer" for n in missing]
    return ("; ".join(told) + ": rounding decides what this network answers to the inputs tried; "
            "give real ones (calibration=)")


def _steps(value: ir.Value, axis: int) -> int:
    """The length of a sequence; a few steps where it may have any."""
    size = None if value.shape is None else value.shape[axis]
    return size if isinstance(size, int) else SOME_STEPS


SOME_STEPS = 4


def _walked(planned: ir.Model) -> Walk:
    """The planned network itself, computed step by step: for a build that cannot be called so
    here. Each call is compared on its own."""
    def walk(rows: Sequence[Arrays]) -> list[dict[str, np.ndarray]]:
        state: dict[str, Array] = {}
        made = []
        for row in rows:
            made.append(evaluate(planned, {**row, **state}))
            state = {b.input: made[-1][b.output] for b in bindings(planned)}
        return made

    return walk


def _hybrid(planned: ir.Model) -> frozenset[str]:
    """The values that products in int8 give a network of floats."""
    return frozenset(v.name or "" for n in planned.graph for v in n.outputs
                     if is_op(n, HYBRID_CONV, HYBRID_GEMM))


def _known_to(hybrid: frozenset[str], given: ir.Model) -> frozenset[str]:
    """Those values in the Model as given; a name that it does not have stands for all products."""
    names = {v.name for n in given.graph for v in n.outputs}
    if hybrid <= names:
        return hybrid
    return hybrid | {v.name or "" for n in given.graph for v in n.outputs
                     if is_op(n, CONV, GEMM, MATMUL)}


def _codes(subject: Subject) -> dict[str, ir.DataType]:
    """The tensors of 8-bit codes that the planned network computes exactly and the given one has
    under the same name, and their type there."""
    if subject.axes:
        return {}
    sure = {v for v in (*subject.planned.graph.inputs, *subject.planned.graph.initializers.values())
            if not (v.is_graph_input() and v.const_value is not None)}
    made = set()
    for node in subject.planned.graph:
        if node_is_exact(node) and all(v is None or v in sure for v in node.inputs):
            sure.update(node.outputs)
            made |= {v.name for v in node.outputs if v.dtype in BYTES}
    return {v.name: v.dtype for n in subject.given.graph for v in n.outputs
            if v.name and v.name in made and v.dtype in BYTES}


BYTES = (ir.DataType.INT8, ir.DataType.UINT8)


def _as_given(codes: Array, dtype: ir.DataType) -> Array:
    """Codes as the given Model has them: `passes.quantized.unsigned_codes` adds 128."""
    if dtype == ir.DataType.INT8 and codes.dtype == np.uint8:
        return (codes.astype(np.int16) - CODE_OFFSET).astype(np.int8)
    return codes


def is_exact(model: ir.Model) -> bool:
    """Whether every node's arithmetic is the same to the bit in the reference and in any build.

    Integer operators, moves, and element-wise float operations that IEEE 754 rounds correctly, as
    long as some of the network is integer: a float network's sums are never exact.
    """
    return any(map(reads_codes, model.graph)) and all(map(node_is_exact, model.graph))
