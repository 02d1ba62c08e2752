"""Planted faults: what a wrong pass, a wrong plan or a wrong kernel would do to a build.

A fault is data: the network, where it is planted (the Model behind the passes, the Plan, or the C),
and which of the places there. `outcome` builds the network with the fault through the project's own
`compile`, in a process of its own, since a wrong loop may write anywhere.
"""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import onnx_ir as ir
from tests.support.mutated_networks import NETWORKS

import ganglion.artifact.compile  # noqa: F401
from ganglion.artifact.artifact import Artifact
from ganglion.artifact.samples import drawn, special
from ganglion.errors import CheckError, GanglionError
from ganglion.ops.values import static_shape
from ganglion.plan.types import Constant, Plan, Ref, Step

build = sys.modules["ganglion.artifact.compile"]

ROUNDING = 1e-6
"""Floats that differ by less than this share of the largest are the same but for rounding."""
TRIES = 2000
"""Inputs on which a fault that was not found is held against the build without it."""
SECONDS = 120


@dataclass(frozen=True)
class Fault:
    """One planted fault. `stage`: "model", "plan" or "code"; `place`: which of those there."""

    network: str
    stage: str
    place: int
    what: str


CAUGHT, SURVIVED, SAME, INVALID = "caught", "survived", "same", "invalid"

ModelFault = tuple[str, Callable[[ir.Model], None]]
PlanFault = tuple[str, Callable[[Plan], Plan]]


def faults(network: str) -> list[Fault]:
    """Every fault that can be planted in a network."""
    made = _made(network)
    return [*(Fault(network, "model", k, w) for k, (w, _) in enumerate(model_faults(made.model))),
            *(Fault(network, "plan", k, w) for k, (w, _) in enumerate(plan_faults(made.plan))),
            *(Fault(network, "code", k, w) for k, (w, _) in enumerate(code_faults(made.code)))]


@dataclass(frozen=True)
class Made:
    """A network as it is without a fault, stage by stage."""

    model: ir.Model
    plan: Plan
    code: str


@cache
def _made(network: str) -> Made:
    ready = build.ready_to_plan(NETWORKS[network]())
    artifact = _compile(network, check=False)
    return Made(ready, artifact.plan, artifact.files[f"{artifact.plan.name}.c"].decode())


def _compile(network: str, check: bool = True) -> Artifact:
    return build.compile(NETWORKS[network](), isas=("scalar",), name="net", check=check)


# --- the Model behind the passes -----------------------------------------------------------------


def model_faults(model: ir.Model) -> list[ModelFault]:
    """Faults of a pass, each as a function that plants it in a copy of this Model."""
    found: list[ModelFault] = []
    for k, node in enumerate(model.graph):
        name = node.name or node.op_type
        for what, plant in _node_faults(node):
            def planted(copy: ir.Model, k: int = k,
                        plant: Callable[[ir.Model, ir.Node], None] = plant) -> None:
                plant(copy, list(copy.graph)[k])
            found.append((f"{name}: {what}", planted))
    return found


def _node_faults(node: ir.Node) -> Iterator[tuple[str, Callable[[ir.Model, ir.Node], None]]]:
    inputs = [v for v in node.inputs if v is not None]
    out = node.outputs[0]
    if inputs and len(node.outputs) == 1 and _alike(inputs[0], out):
        yield "dropped", lambda m, n: _drop(n)
    if len(inputs) > 1 and node.inputs[1] is not None and _alike(inputs[0], inputs[1]):
        yield "operands swapped", lambda m, n: _swap(n, 0, 1)
    if node.op_type in ("Conv", "Gemm") and len(inputs) == 3:
        yield "bias lost", lambda m, n: n.replace_input_with(2, None)
    for name, attr in node.attributes.items():
        for what, new in _other_attributes(name, attr):
            yield f"{name} {what}", lambda m, n, name=name, new=new: _set(n, name, new)
    for k, value in enumerate(inputs):
        if value.const_value is not None and not value.is_graph_input() and value.const_value.size:
            yield (f"constant {value.name} wrong",
                   lambda m, n, k=k: _perturb(m, n, k))


def _alike(a: ir.Value, b: ir.Value) -> bool:
    return a.dtype == b.dtype and a.shape is not None and b.shape is not None and (
        static_shape(a) == static_shape(b))


def _drop(node: ir.Node) -> None:
    node.op_type, node.domain = "Identity", ""
    node.attributes.clear()
    node.resize_inputs(1)


def _swap(node: ir.Node, i: int, j: int) -> None:
    a, b = node.inputs[i], node.inputs[j]
    node.replace_input_with(i, b)
    node.replace_input_with(j, a)


def _set(node: ir.Node, name: str, attr: ir.Attr) -> None:
    node.attributes[name] = attr


def _other_attributes(name: str, attr: ir.Attr) -> Iterator[tuple[str, ir.Attr]]:
    if attr.type == ir.AttributeType.INTS and name == "pads":
        pads = list(attr.as_ints())
        half = len(pads) // 2
        if pads[:half] != pads[half:]:
            yield "swapped", ir.AttrInt64s(name, [*pads[half:], *pads[:half]])
        elif any(pads):
            moved = [*(p + 1 for p in pads[:half]), *(p - 1 for p in pads[half:])]
            if min(moved) >= 0:
                yield "moved", ir.AttrInt64s(name, moved)
    if attr.type == ir.AttributeType.INTS and name == "perm":
        perm = list(attr.as_ints())
        yield "of other axes", ir.AttrInt64s(name, [perm[-1], *perm[1:-1], perm[0]])
    if attr.type == ir.AttributeType.INT and name in ("axis", "linear_before_reset", "keepdims",
                                                      "count_include_pad", "lo", "hi"):
        yield "one higher", ir.AttrInt64(name, attr.as_int() + 1)
        yield "one lower", ir.AttrInt64(name, attr.as_int() - 1)
    if attr.type == ir.AttributeType.FLOAT:
        yield "a quarter more", ir.AttrFloat32(name, attr.as_float() * 1.25 + 0.01)
    if name == "mode":
        other = {"DCR": "CRD", "CRD": "DCR", "constant": "edge", "edge": "reflect"}
        if attr.as_string() in other:
            yield "another", ir.AttrString(name, other[attr.as_string()])


def _perturb(model: ir.Model, node: ir.Node, index: int) -> None:
    """One element of integers moved by a few, of floats by a tenth; all of a scale by a
    hundredth."""
    value = [v for v in node.inputs if v is not None][index]
    array = np.array(value.const_value.numpy())  # type: ignore[union-attr]
    name = f"{value.name}_wrong"
    if array.dtype.kind == "f":
        if array.size == 1 or "scale" in str(value.name):
            array = (array * array.dtype.type(1.02)).astype(array.dtype)
        else:
            at = int(np.argmax(np.abs(array)))
            array.reshape(-1)[at] += array.dtype.type(0.1) * np.abs(array).max() + 0.01
    else:
        step = 1 if array.size <= 8 else 20
        flat = array.reshape(-1)
        flat[-1] = flat[-1] + step if flat[-1] < step else flat[-1] - step
    new = ir.Value(name=name, const_value=ir.tensor(array, name=name),
                   type=value.type, shape=value.shape)
    model.graph.register_initializer(new)
    node.replace_input_with(list(node.inputs).index(value), new)


# --- the Plan ------------------------------------------------------------------------------------


def plan_faults(plan: Plan) -> list[PlanFault]:
    """Faults of planning and packing, each as a function from the right Plan to the wrong one."""
    found: list[PlanFault] = []
    for k, step in enumerate(plan.steps):
        found.append((f"{step.node}: step left out", lambda p, k=k: replace(
            p, steps=(*p.steps[:k], *p.steps[k + 1:]))))
        for i, ref in enumerate(step.operands):
            if ref.place == "arena" and ref.offset >= 64:
                found.append((f"{step.node}: operand {i} begins earlier",
                              lambda p, k=k, i=i: _operand(p, k, i, -4)))
        for i, j in _pairs(step):
            found.append((f"{step.node}: operands {i} and {j} exchanged",
                          lambda p, k=k, i=i, j=j: _exchanged(p, k, i, j)))
    for k, constant in enumerate(plan.constants):
        for share in (0.0, 0.37, 0.8):
            found.append((f"constant {constant.name}: element at {share:.0%} wrong",
                          lambda p, k=k, share=share: _constant(p, k, share)))
    return found


def _step(plan: Plan, k: int, step: Step) -> Plan:
    return replace(plan, steps=(*plan.steps[:k], step, *plan.steps[k + 1:]))


def _operand(plan: Plan, k: int, i: int, by: int) -> Plan:
    step = plan.steps[k]
    ref = replace(step.operands[i], offset=step.operands[i].offset + by)
    return _step(plan, k, replace(step, operands=(*step.operands[:i], ref, *step.operands[i + 1:])))


def _pairs(step: Step) -> list[tuple[int, int]]:
    """Operands of one kind, that a slip may exchange."""
    refs = list(step.operands)
    return [(i, i + 1) for i in range(len(refs) - 1)
            if refs[i].place == refs[i + 1].place == "const" or (
                i + 1 < len(refs) - 1 and {refs[i].place, refs[i + 1].place} <= {"arena", "input"})]


def _exchanged(plan: Plan, k: int, i: int, j: int) -> Plan:
    refs: list[Ref] = list(plan.steps[k].operands)
    refs[i], refs[j] = refs[j], refs[i]
    return _step(plan, k, replace(plan.steps[k], operands=tuple(refs)))


def _constant(plan: Plan, k: int, share: float) -> Plan:
    old = plan.constants[k]
    array = np.frombuffer(old.data, np.dtype(old.dtype)).copy()
    at = int(share * (array.size - 1))
    if array.dtype.kind == "f":
        array[at] += array.dtype.type(0.1 * max(float(np.abs(array).max()), 0.1))
    else:
        step = 24 if array.dtype.itemsize == 1 else 1000  # about a code of what a product gives
        array[at] = array[at] - step if array[at] > 0 else array[at] + step
    constants = (*plan.constants[:k], Constant(old.name, old.dtype, array.tobytes()),
                 *plan.constants[k + 1:])
    return replace(plan, constants=constants)


# --- the C ---------------------------------------------------------------------------------------

RULES: Sequence[tuple[str, str, str]] = (
    (r"(for \([^;]*;[^;]*) < ", r"\1 <= ", "a loop goes one too far"),
    (r"(for \([^;]*; \w+ < )(\d+)(;)", r"\1(\2 - 1)\3", "a loop ends one early"),
    (r"(for \([\w ]+ = )0(;)", r"\g<1>1\2", "a loop begins one late"),
    (r"(?<=[\w)\]]) \+ (?=[\w(])", " - ", "+ for -"),
    (r"(?<=[\w)\]]) - (?=[\w(])", " + ", "- for +"),
    (r" \+= ", " = ", "a sum that keeps its last term only"),
    (r" < 0 \|\|", " < 1 ||", "a border too wide"),
    (r"(\|\| \w+ >= )(\d+)", r"\1(\2 - 1)", "a last row that counts as padding"),
    (r"\bv1([fi])_max\b", r"v1\1_min", "minimum for maximum"),
    (r"\bv1([fi])_min\b", r"v1\1_max", "maximum for minimum"),
    (r"v1f_rint", "v1f_floor", "rounding down"),
    (r"v1f_(add|sub|mul)\b", r"v1f_max", "another operation"),
    (r" > (?=best|top)", " < ", "the least for the greatest"),
    (r"(?<=\* )(\d+)\b", r"(\1 + 1)", "a stride one too large"),
    (r"(?<=% )(\d+)\b", r"(\1 + 1)", "a remainder of another number"),
    (r"(?<=/ )(\d+)\b", r"(\1 + 1)", "a quotient by another number"),
    (r"(?<=\()(-?\d+\.\d+(?:e[-+]?\d+)?)f(?=\))", r"(\g<1>f * 1.05f + 0.01f)", "a wrong constant"),
    (r"^( +)(y\[[^\n]*|sum [^\n]*|\w+ \+= [^\n]*|v1\w+_store[^\n]*);$", r"\1;", "a line left out"),
    (r"^( +)(k\d+_\w+\([^\n]*\));$", r"\1;", "a call left out"),
)


def code_faults(code: str) -> list[tuple[str, str]]:
    """Faults of a kernel: what, and the whole text with the fault in it."""
    start = code.index("static void k0_")
    found = []
    for pattern, new, what in RULES:
        for match in re.finditer(pattern, code[start:], re.MULTILINE):
            a, b = match.start() + start, match.end() + start
            line = code[code.rindex("\n", 0, a) + 1:code.index("\n", a)].strip()
            if line.startswith(("static void", "const size_t", '"', "if (!arena")):
                continue
            text = re.sub(pattern, new, code[a:b], count=1, flags=re.MULTILINE)
            if text == code[a:b]:  # a pattern that looks around itself
                text = match.expand(new)
            found.append((f"{what}: {line}", code[:a] + text + code[b:]))
    return found


# --- planting and judging ------------------------------------------------------------------------


def outcome(fault: Fault) -> str:
    """What becomes of a build with this fault: "caught" by the check (or by a crash while it ran),
    "same" where it answers as without the fault, "invalid" where nothing was built, "survived"."""
    reader, writer = os.pipe()
    _made(fault.network)
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.alarm(SECONDS)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.write(writer, _outcome(fault).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as told:
        text = told.read()
    _, status = os.waitpid(child, 0)
    return text if os.WIFEXITED(status) and text else CAUGHT


def _outcome(fault: Fault) -> str:
    right = _compile(fault.network, check=False)
    with_fault = _planted(fault)
    try:
        with_fault(True)
    except CheckError:
        return CAUGHT
    except (GanglionError, ValueError, IndexError, KeyError, AttributeError, TypeError,
            AssertionError, NotImplementedError, ZeroDivisionError):
        return INVALID
    return SAME if _same(right, with_fault(False)) else SURVIVED


def _planted(fault: Fault) -> Callable[[bool], Artifact]:
    made = _made(fault.network)
    ready, planned, emitted = build.ready_to_plan, build._planned, build.emit

    def built(check: bool) -> Artifact:
        return _compile(fault.network, check)

    if fault.stage == "model":
        plant = model_faults(made.model)[fault.place][1]

        def wrong_model(*args: object, **kwargs: object) -> ir.Model:
            model = ready(*args, **kwargs)
            plant(model)
            return model

        build.ready_to_plan = wrong_model  # type: ignore[attr-defined]
    elif fault.stage == "plan":
        change = plan_faults(made.plan)[fault.place][1]
        build._planned = lambda *a, **k: change(planned(*a, **k))  # type: ignore[attr-defined]
    else:
        text = code_faults(made.code)[fault.place][1]
        build.emit = lambda plan: {**emitted(plan), "net.c": text}  # type: ignore[attr-defined]
    return built


def _same(right: Artifact, wrong: Artifact) -> bool:
    """Whether two builds answer alike on thousands of inputs, drawn, edges, NaN among them."""
    a, b = right.session(), wrong.session()
    values = [ir.Value(name=p.name, type=ir.TensorType(ir.DataType.from_numpy(np.dtype(p.dtype))),
                       shape=ir.Shape(p.shape)) for p in a.inputs]
    samples: list[Mapping[str, np.ndarray]] = [*drawn(values, TRIES, seed=1), *special(values)]
    return all(_alike_answers(a.run(*s.values()), b.run(*s.values())) for s in samples)


def _alike_answers(a: object, b: object) -> bool:
    first = a if isinstance(a, tuple) else (a,)
    second = b if isinstance(b, tuple) else (b,)
    return all(_close(np.asarray(x), np.asarray(y)) for x, y in zip(first, second))


def _close(x: np.ndarray, y: np.ndarray) -> bool:
    if x.dtype.kind != "f":
        return bool((x == y).all())
    with np.errstate(invalid="ignore"):
        near = np.abs(x - y) <= ROUNDING * np.abs(x[np.isfinite(x)]).max(initial=0.0)
    return bool(((x == y) | near | (np.isnan(x) & np.isnan(y))).all())
