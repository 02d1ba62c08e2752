"""The scalar kernels of a Plan with `double` in the place of `float`, so that finite differences
can be taken of generated C itself.

The Plan keeps its steps; every float32 buffer becomes float64 and every byte offset doubles, which
leaves room for each of them. In the text only the element type and the vocabulary change: what
scalar.h and math.h define through the bits of a float comes from the C library instead.
"""

import ctypes
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from ganglion.emit.c import emit
from ganglion.kernels.shake import definitions, shaken
from ganglion.kernels.source import MACROS
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.planner import plan as make_plan
from ganglion.plan.types import Constant, Plan, Port, Ref, StateTensor
from ganglion.toolchain.compilers import compile_sources
from ganglion.toolchain.targets import host

PROTOTYPES = "".join(f"double {name}(double);\n" for name in (
    "fabs", "sqrt", "rint", "floor", "ceil", "exp", "log", "tanh", "erf", "sin", "cos")) + """\
double copysign(double, double);
double pow(double, double);
double fmod(double, double);
"""
FROM_THE_LIBRARY = """\
GG_INLINE v1f v1f_abs(v1f a) { return fabs(a); }
GG_INLINE v1f v1f_copysign(v1f a, v1f b) { return copysign(a, b); }
GG_INLINE v1f v1f_sqrt(v1f a) { return sqrt(a); }
GG_INLINE v1f v1f_rint(v1f a) { return rint(a); }
GG_INLINE v1f v1f_floor(v1f a) { return floor(a); }
GG_INLINE v1f v1f_ceil(v1f a) { return ceil(a); }
GG_INLINE v1f v1f_exp(v1f a) { return exp(a); }
GG_INLINE v1f v1f_log(v1f a) { return log(a); }
GG_INLINE v1f v1f_tanh(v1f a) { return tanh(a); }
GG_INLINE v1f v1f_sigmoid(v1f a) { return 1 / (1 + exp(-a)); }
GG_INLINE v1f v1f_erf(v1f a) { return erf(a); }
GG_INLINE v1f v1f_sin(v1f a) { return sin(a); }
GG_INLINE v1f v1f_cos(v1f a) { return cos(a); }
GG_INLINE v1f v1f_pow(v1f a, v1f b) { return pow(a, b); }
GG_INLINE v1f v1f_fmod(v1f a, v1f b) { return fmod(a, b); }
"""
END_OF_PRELUDE = "#if defined(__BYTE_ORDER__)"
FLOAT, DOUBLE = "float32", "float64"


def widened(plan: Plan) -> Plan:
    """The Plan for elements of twice the size."""
    places = {"arena", "state"}

    def far(ref: Ref) -> Ref:
        if ref.place in ("input", "output"):
            ports = plan.inputs if ref.place == "input" else plan.outputs
            return replace(ref, offset=ref.offset * (1 + (ports[ref.index].dtype == FLOAT)))
        return replace(ref, offset=2 * ref.offset) if ref.place in places else ref

    steps = tuple(replace(s, operands=tuple(map(far, s.operands)),
                          scratch=None if s.scratch is None else far(s.scratch))
                  for s in plan.steps)
    return replace(
        plan, steps=steps, arena_bytes=2 * plan.arena_bytes, state_bytes=2 * plan.state_bytes,
        inputs=tuple(map(_port, plan.inputs)), outputs=tuple(map(_port, plan.outputs)),
        constants=tuple(map(_constant, plan.constants)), state=tuple(map(_state, plan.state)))


def _port(port: Port) -> Port:
    return replace(port, dtype=DOUBLE) if port.dtype == FLOAT else port


def _constant(constant: Constant) -> Constant:
    if constant.dtype != FLOAT:
        return constant
    return replace(constant, dtype=DOUBLE, data=_wide(constant.data))


def _state(tensor: StateTensor) -> StateTensor:
    tensor = replace(tensor, offset=2 * tensor.offset)
    if tensor.dtype != FLOAT:
        return tensor
    return replace(tensor, dtype=DOUBLE, initial=_wide(tensor.initial))


def _wide(data: bytes) -> bytes:
    return np.frombuffer(data, "<f4").astype("<f8").tobytes()


def doubled(text: str) -> str:
    """Generated C with `double` for `float`, over the vocabulary above."""
    start = text.index(MACROS) + len(MACROS)
    end = text.index(END_OF_PRELUDE)
    replaced = {d.name for d in definitions(FROM_THE_LIBRARY)}
    kept = [d.text for d in definitions(text[start:end]) if d.name not in replaced]
    types = [each for each in kept if each.splitlines()[-1].startswith("typedef")]
    rest = [each for each in kept if each not in types]
    kernels = text[end:]
    used = shaken("\n".join([*types, FROM_THE_LIBRARY, *rest]), kernels)
    whole = f"{PROTOTYPES}{text[:start]}{used}\n{kernels}"
    whole = re.sub(r"\bfloat\b", "double", whole)
    return re.sub(r"(?<![\w.])((?:0x)?[0-9][0-9a-fA-F]*\.[0-9a-fA-F]*(?:[ep][-+]?[0-9]+)?|"
                  r"[0-9]+e[-+]?[0-9]+)f\b", r"\1", whole)


class DoubleNetwork:
    """A Model's scalar C in float64, loaded into this process."""

    def __init__(self, model: ir.Model, folder: Path) -> None:
        self.plan = widened(make_plan(ready_to_plan(model), ("scalar",), "wide"))
        sources = emit(self.plan)
        sources = {name: doubled(text) if name.endswith(".c") else text
                   for name, text in sources.items()}
        target = host().with_isas(("scalar",))
        built = compile_sources(sources, target, name="wide")
        assert built.library is not None
        # The loader hands back the old library where a path is used again.
        library = Path(tempfile.mkdtemp(dir=folder)) / "wide.so"
        library.write_bytes(built.files[built.library])
        self._library = ctypes.CDLL(str(library))

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One call; float arrays of any precision in, float64 out."""
        plan = self.plan
        inputs = [np.ascontiguousarray(feeds[p.name], p.dtype) for p in plan.inputs]
        outputs = [np.zeros(p.shape, p.dtype) for p in plan.outputs]
        arena, state = (_aligned(n) for n in (plan.arena_bytes, plan.state_bytes))
        self._library.wide_reset(ctypes.c_void_p(state.ctypes.data))
        status = self._library.wide_run(
            _pointers(inputs), _pointers(outputs), ctypes.c_void_p(state.ctypes.data),
            ctypes.c_void_p(arena.ctypes.data))
        assert status == 0
        return {p.name: y for p, y in zip(plan.outputs, outputs)}


def _pointers(arrays: list[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * max(1, len(arrays)))(*(a.ctypes.data for a in arrays))


def _aligned(nbytes: int) -> np.ndarray:
    block = np.zeros(nbytes + 128, np.uint8)
    start = -block.ctypes.data % 64
    return block[start:start + nbytes + 64]
