"""SVDF: a fully connected layer whose filters are of low rank and look back over the last calls.

Inputs (reference kernel svdf.h): 0 x [B, I]; 1 features [F, I]; 2 times [F, M]; 3 bias [U],
optional; 4 state [B, F·M], the last M answers of each filter, the newest behind. F = U · rank
filters.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from ganglion.formats.tflite.read.products import bias, positive
from ganglion.formats.tflite.read.site import Site
from ganglion.ops.values import static_shape

X, FEATURES, TIMES, BIAS, STATE = range(5)


def svdf(site: Site) -> None:
    """[B, I] to [B, U]: y = act(Σ over rank and time of times · state + bias)."""
    options = site.options("SVDFOptions")
    rank, = positive(site, options, "rank")
    batch, filters, memory = _sizes(site, rank)
    units = filters // rank
    newest = site.op("MatMul", site.real(X), site.weight(FEATURES, (1, 0)))
    state = _state(site, (batch, filters, memory))
    after = site.op("Concat", _older(site, state), _codes(
        site, site.reshaped(newest, (batch, filters, 1))), axis=2)
    site.values.variables.now[str(state.name)] = after
    q = site.tensor(STATE).quantization
    seen = after if q is None else site.dequantized(after, q, 0)
    terms = site.op("Mul", site.reshaped(seen, (batch, units, rank * memory)), site.real(
        TIMES, lambda v: site.reshaped(v, (units, rank * memory))))
    y = site.op("ReduceSum", terms, site.g.ints(2), keepdims=0)
    # Its codes count in steps of the state's scale times that of `times`.
    b = bias(site, BIAS, STATE, TIMES, units)
    site.finish(y if b is None else site.op("Add", y, b),
                activation=options.integer("fused_activation_function"))


def _sizes(site: Site, rank: int) -> tuple[int, int, int]:
    """B, F and M. Raises ModelError where the inputs do not fit each other."""
    shapes = [site.shape(k) for k in (X, FEATURES, TIMES)]
    x, features, times = shapes
    fit = [len(s) for s in shapes] == [2, 2, 2] and x[1] == features[1] and \
        features[0] == times[0] and min(x + features + times) > 0 and features[0] % rank == 0
    state = site.tensor(STATE)
    if not fit or (state.shape or ())[-1:] != (features[0] * times[1],):
        raise site.error(f"its input {list(x)}, features {list(features)}, times {list(times)}, "
                         f"rank {rank} and state {list(state.shape or ())} do not fit; expected "
                         "[B, I], [F, I], [F, M], a rank that divides F, [B, F·M]")
    return x[0], features[0], times[1]


def _state(site: Site, shape: tuple[int, int, int]) -> ir.Value:
    """What the filters answered in the calls before: the Model's own input, zeros at first."""
    tensor = site.tensor(STATE)
    if site.values.value(tensor) is not None:
        raise site.unsupported(f"its state {tensor.name!r} is no variable of its own")
    q = tensor.quantization
    if q is not None and (not q.per_tensor or q.zero.any()):
        raise site.unsupported(f"its state {tensor.name!r} has the zero points "
                               f"{q.zero.tolist()[:4]}, expected 0")
    first = site.g.constant(np.zeros(shape, tensor.dtype.numpy()), f"{tensor.name}_state",
                            share=False)
    site.g.graph.inputs.append(first)
    site.values.variables.inputs[str(first.name)] = first
    site.values.made[tensor.index] = first
    return first


def _older(site: Site, state: ir.Value) -> ir.Value:
    """The state without its oldest answers [B, F, M - 1]."""
    memory = static_shape(state)[2]
    return site.op("Slice", state, site.g.ints(1), site.g.ints(memory), site.g.ints(2))


def _codes(site: Site, newest: ir.Value) -> ir.Value:
    """Real numbers in the state's own elements."""
    tensor = site.tensor(STATE)
    q = tensor.quantization
    return newest if q is None else site.codes(newest, q, tensor.dtype)


ROWS: Mapping[str, Callable[[Site], None]] = {"SVDF": svdf}
