"""Is what was built what was meant? The build's answers against the reference's.

A Model of integer arithmetic must agree bit for bit. Floats may differ by rounding, and how much
that is depends on the network: it is measured on the network itself. The reference is evaluated in
float64, then again several times with the inputs and every node's result disturbed by noise of the
size that float32 rounding has there: 4 · 2^-24 · |y| for an input or an element-wise node,
4 · 2^-24 · sqrt(k) · max|y| for one that adds k terms, which may cancel (rounding errors of a sum
grow as the square root of its length, Higham and Mary, "A New Approach to Probabilistic Rounding
Error Analysis", SIAM J. Sci. Comput. 41, 2019), 2^-8 · max|y| for a hybrid one, whose input may
round to the next of 256 codes. What the noise changes in an output, times `SAFETY`, is that
output's tolerance (the idea of Monte Carlo arithmetic, Parker 1997).

Where rounding decides between two answers far apart (a Relu's input, or the gradient that Adam
divides by its size, is zero but for rounding), a few draws may all fall on one side: a build that
seems wrong is judged again with `MORE` of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
import onnx_ir as ir

from ganglion.errors import CheckError
from ganglion.ops.base import GANGLION_DOMAIN, Pointwise
from ganglion.ops.evaluate import evaluate
from ganglion.ops.fake_quantization import is_fake_quantize
from ganglion.ops.graph import static_shape
from ganglion.ops.registry import find

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], dict[str, np.ndarray]]
"""Runs the build on one set of inputs by name; outputs (and new state) by name."""

DRAWS, MORE = 3, 24
SAFETY = 8.0
UNIT = 2.0 ** -24
MOVED_LEAST, MOVED_SHARE = 4, 1e-3
"""How many elements of a FakeQuantize the noise moves by a step."""
STEP = 2.0 ** -8
REDUCED: Mapping[str, Callable[[ir.Node], float]] = {
    "ReduceMean": lambda node: 1 / sqrt(terms(node)),
    "ReduceSum": lambda node: sqrt(terms(node)),
    "BatchNormalization": lambda node: 1 - node.attributes.get_float("momentum", 0.9)}
"""The weight of a mean term in these sums, less the factor sqrt(k) that the noise has anyway."""
INEXACT = {"Exp", "Log", "Tanh", "Erf", "Sigmoid", "Sin", "Cos", "Pow", "Softplus", "Gelu", "Elu",
           "Selu", "Mish", "Celu"}


@dataclass(frozen=True)
class Finding:
    """One output's largest difference, and what was allowed."""

    output: str
    difference: float
    tolerance: float


def check(model: ir.Model, run: Run, samples: Sequence[Arrays]) -> dict[str, object]:
    """Compares on every sample; the figures for the manifest.

    `model` is the one that was planned. Raises CheckError naming the output that differs most.
    """
    exact = is_exact(model)
    worst: dict[str, Finding] = {}
    for index, sample in enumerate(samples):
        found = run(sample)
        for finding in _judged(model, sample, found, exact, seed=index):
            name = finding.output
            if name not in worst or _excess(finding) > _excess(worst[name]):
                worst[name] = finding
    for finding in worst.values():
        if not finding.difference <= finding.tolerance:
            raise CheckError(
                f"output {finding.output!r} of the build differs from the reference by "
                f"{finding.difference:.3g}, allowed are {finding.tolerance:.3g}. This is a defect "
                "of the generated code or of the compiler: try another compiler (cc=) or the "
                "scalar kernels (isas=('scalar',)), and please report it with the Model")
    return {"status": "passed", "samples": len(samples), "exact": exact,
            "outputs": {f.output: {"difference": f.difference, "tolerance": f.tolerance}
                        for f in worst.values()}}


def _judged(model: ir.Model, sample: Arrays, found: Arrays, exact: bool, seed: int
            ) -> list[Finding]:
    """The findings of one sample, by more draws if by a few there are too large ones."""
    findings: list[Finding] = []
    for draws in (DRAWS, MORE):
        expected, allowed = _expected(model, sample, exact, seed, draws)
        findings = [_compare(n, array, expected[n], allowed[n]) for n, array in found.items()]
        if exact or all(f.difference <= f.tolerance for f in findings):
            break
    return findings


def _excess(finding: Finding) -> float:
    return finding.difference - finding.tolerance


def is_exact(model: ir.Model) -> bool:
    """Whether every node's arithmetic is the same to the bit in the reference and in any build.

    Integer operators, moves, and element-wise float operations that IEEE 754 rounds correctly, as
    long as some of the network is integer: a float network's sums are never exact.
    """
    integer = any((n.domain == GANGLION_DOMAIN
                   and n.op_type.startswith(("QLinear", "Table", "Hybrid")))
                  or n.op_type.startswith(("QLinear", "Quantize", "Dequantize"))
                  for n in model.graph)
    return integer and all(_node_is_exact(n) for n in model.graph)


def _node_is_exact(node: ir.Node) -> bool:
    if node.op_type.startswith(("QLinear", "Hybrid")) or node.op_type in (
            "QuantizeLinear", "DequantizeLinear", "Table"):
        return True
    row = find(node.domain, node.op_type)
    if row is not None and isinstance(row.lower, Pointwise):
        return node.op_type not in INEXACT
    dtype = node.outputs[0].dtype
    moves = {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Concat", "Split", "Slice",
             "Pad", "Expand", "Tile", "Gather", "Identity", "MaxPool", "Resize", "ArgMax"}
    return node.op_type in moves or (dtype is not None and dtype.is_integer())


def _expected(model: ir.Model, sample: Arrays, exact: bool, seed: int, draws: int
              ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    if exact:
        answers = evaluate(model, sample)
        return answers, {name: np.zeros(()) for name in answers}
    answers = evaluate(model, sample, dtype=np.float64)
    allowed = {name: np.full((), SAFETY * UNIT * _largest(a)) for name, a in answers.items()}
    for draw in range(draws):
        noise = _Noise(np.random.default_rng((seed, draw)))
        disturbed = evaluate(model, noise.inputs(sample), dtype=np.float64, on_node=noise)
        for name, answer in answers.items():
            with np.errstate(invalid="ignore"):
                change = np.abs(disturbed[name].astype(np.float64) - answer.astype(np.float64))
            change = np.where(np.isfinite(change), change, 0.0)
            if answer.dtype.kind == "f":
                step = np.full((), SAFETY * float(change.max(initial=0.0)))
                allowed[name] = np.maximum(allowed[name], step)
            else:
                allowed[name] = np.maximum(allowed[name], np.where(change > 0, np.inf, 0.0))
    return answers, allowed


class _Noise:
    """Disturbs every float result by what float32 rounding may have done to it."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.steps: dict[ir.Value, np.ndarray] = {}
        self.reduced: dict[ir.Value | None, float] = {}

    def inputs(self, sample: Arrays) -> dict[str, np.ndarray]:
        """The inputs themselves, disturbed: a node that takes a mean off them (normalisation)
        rounds by their size, which its own results no longer show."""
        return {name: self._disturb(x, np.abs(x), 4 * UNIT) if x.dtype.kind == "f" else x
                for name, x in sample.items()}

    def __call__(self, node: ir.Node, outputs: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
        row = find(node.domain, node.op_type)
        alone = row is not None and isinstance(row.lower, Pointwise)
        size = 4 * UNIT * sqrt(terms(node))
        if node.op_type.startswith("Hybrid"):
            size = max(size, STEP)  # rounding before it may have moved a number to the next code
        # A cell's state is a mixture by gates: what 1 - gate loses is of the size of 1.
        least = 1.0 if node.op_type.startswith(("LSTM", "GRU", "RNN")) else 0.0
        # All sums may cancel at once (the means of standardised data); their terms round still.
        if node.op_type in REDUCED:
            least = self.reduced.get(node.inputs[0], 0.0) * REDUCED[node.op_type](node)
        if is_fake_quantize(node):
            outputs = (self._rounded_otherwise(node, outputs[0]),)
        for value, y in zip(node.outputs, outputs):
            if any(is_fake_quantize(u.node) and u.idx == 1 for u in value.uses()):
                self.steps[value] = y
            if any(u.node.op_type in REDUCED for u in value.uses()):
                self.reduced[value] = float(np.abs(y).mean()) if y.size else 0.0
        return tuple(self._disturb(y, np.abs(y) if alone else max(_largest(y), least), size)
                     if y.dtype.kind == "f" and y.size else y for y in outputs)

    def _rounded_otherwise(self, node: ir.Node, y: np.ndarray) -> np.ndarray:
        """A few elements one step up or down: what stands between two codes may go either way,
        and noise of a rounding's size would rarely show it."""
        scale = node.inputs[1]
        if scale is None or not y.size:
            return y
        constant = scale.const_value
        step = self.steps.get(scale) if constant is None else constant.numpy()
        if step is None:
            return y
        moved = np.array(y, np.float64)
        count = max(MOVED_LEAST, int(MOVED_SHARE * y.size))
        at = np.unravel_index(self.generator.integers(0, y.size, count), y.shape)
        moved[at] += self.generator.choice([-1.0, 1.0], count) * np.broadcast_to(step, y.shape)[at]
        return moved

    def _disturb(self, y: np.ndarray, scale: np.ndarray | float, size: float) -> np.ndarray:
        return y.astype(np.float64) + size * scale * self.generator.uniform(-1, 1, y.shape)


def _largest(array: np.ndarray) -> float:
    finite = np.abs(array[np.isfinite(array)]) if array.dtype.kind == "f" else np.zeros(0)
    return float(finite.max(initial=0.0))


def terms(node: ir.Node) -> int:
    """How many terms the sums of a node have (1 for element-wise ones)."""
    if node.op_type in ("Conv", "ConvTranspose") and node.inputs[1] is not None:
        return max(1, prod(static_shape(node.inputs[1])[1:]))
    if node.op_type in ("MatMul", "Gemm") and node.inputs[0] is not None:
        return max(1, static_shape(node.inputs[0])[-1])
    read = [prod(static_shape(v)) for v in node.inputs if v is not None]
    made = max(1, max((prod(static_shape(v)) for v in node.outputs if v.shape is not None),
                      default=1))
    return max(1, max(read, default=1) // made)


def _compare(name: str, found: np.ndarray, expected: np.ndarray, allowed: np.ndarray) -> Finding:
    if found.shape != expected.shape:
        raise CheckError(f"output {name!r} of the build has shape {list(found.shape)}, the "
                         f"reference's has {list(expected.shape)}")
    if not expected.size:
        return Finding(name, 0.0, 0.0)
    wanted = expected.astype(np.float64)
    given = found.astype(np.float64)
    same = (given == wanted) | (np.isnan(given) & np.isnan(wanted))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(given - wanted))
    difference = np.where(np.isnan(difference), np.inf, difference)
    limit = np.broadcast_to(allowed, difference.shape)
    at = int(np.argmax(np.where(difference <= limit, -1.0, 0.0) * 1e300 + difference))
    if (difference <= limit).all():
        return Finding(name, float(difference.max()), float(np.min(limit)) if np.isfinite(
            np.min(limit)) else 0.0 if difference.max() == 0 else float(difference.max()))
    return Finding(name, float(difference.reshape(-1)[at]), float(limit.reshape(-1)[at]))
