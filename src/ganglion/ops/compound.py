"""Operators that are made of others: each row says of which.

`passes.simplify.lay_open` writes these in their place. What is so made is compiled, trained,
quantised and pruned as what it is made of.
"""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from ganglion.errors import UnsupportedOp
from ganglion.ops.attr import get_float, get_int, get_ints, get_str
from ganglion.ops.base import Array, Attrs, Axes, Dims, Infer, Made, Op, Reference
from ganglion.ops.building import Builder
from ganglion.ops.gradients import constant_ints, optional, rank, source, target
from ganglion.ops.quantization import quantize_linear
from ganglion.ops.values import attributes, dims


def _centred(g: Builder, x: ir.Value, axes: Sequence[int], epsilon: float) -> ir.Value:
    """(x - mean) / sqrt(variance + epsilon), both over these axes."""
    shift = g.sub(x, g.op("ReduceMean", x, g.ints(*axes)))
    spread = g.op("ReduceMean", g.mul(shift, shift), g.ints(*axes))
    return g.div(shift, g.op("Sqrt", g.add(spread, epsilon)))


def _divides(name: str, value: int, size: int, by: int | None = None) -> None:
    """Raises ValueError unless the attribute (or `by`) divides a size."""
    if value < 1 or size % (by or value):
        raise ValueError(f"{name}={value} does not divide {size}")


def _by_channel(g: Builder, value: ir.Value, count: int) -> ir.Value:
    """A number a channel, in front of `count` axes of positions."""
    return g.op("Unsqueeze", value, g.ints(*range(1, count + 1))) if count else value


def _instance_norm(g: Builder, node: ir.Node) -> Made:
    x, scale, bias = (source(node, k) for k in range(3))
    space = rank(x) - 2
    y = _centred(g, x, range(2, rank(x)), get_float(attributes(node), "epsilon", 1e-5))
    return [g.add(g.mul(y, _by_channel(g, scale, space)), _by_channel(g, bias, space))]


def _group_norm(g: Builder, node: ir.Node) -> Made:
    x, scale, bias = (source(node, k) for k in range(3))
    attrs, space, channels = attributes(node), rank(x) - 2, dims(x)[1]
    count = get_int(attrs, "num_groups", 1)
    if isinstance(channels, int):
        _divides("num_groups", count, channels)
    groups = g.op("Reshape", x, g.ints(0, count, -1))
    y = _centred(g, groups, [2], get_float(attrs, "epsilon", 1e-5))
    y = g.op("Reshape", y, target(g, x))
    return [g.add(g.mul(y, _by_channel(g, scale, space)), _by_channel(g, bias, space))]


def _mean_variance_norm(g: Builder, node: ir.Node) -> Made:
    axes, x = get_ints(attributes(node), "axes", [0, 2, 3]), source(node, 0)
    shift = g.sub(x, g.op("ReduceMean", x, g.ints(*axes)))
    spread = g.op("ReduceMean", g.mul(shift, shift), g.ints(*axes))
    return [g.div(shift, g.add(g.op("Sqrt", spread), 1e-9))]


def _lp_norm(g: Builder, node: ir.Node) -> Made:
    attrs, x = attributes(node), source(node, 0)
    name = {1: "ReduceL1", 2: "ReduceL2"}.get(get_int(attrs, "p", 2))
    if name is None:
        raise UnsupportedOp(f"node {node.name!r} (LpNormalization): p is neither 1 nor 2")
    size = g.op(name, x, g.ints(get_int(attrs, "axis", -1)))
    none = g.op("Equal", size, g.scalar(0.0, x))
    return [g.op("Where", none, g.scalar(0.0, x), g.div(x, size))]


def _local_response_norm(g: Builder, node: ir.Node) -> Made:
    """The sum over neighbouring channels is one of the channels moved by each place."""
    attrs, x = attributes(node), source(node, 0)
    size = get_int(attrs, "size", 1)
    square = g.mul(x, x)
    total = square
    for by in (k for k in range(-((size - 1) // 2), size // 2 + 1) if k):
        total = g.add(total, _moved(g, square, 1, -by))
    factor = g.add(g.mul(total, get_float(attrs, "alpha", 1e-4) / size),
                   get_float(attrs, "bias", 1.0))
    return [g.div(x, g.op("Pow", factor, g.scalar(get_float(attrs, "beta", 0.75), x)))]


def _moved(g: Builder, x: ir.Value, axis: int, by: int) -> ir.Value:
    """The elements `by` places on along an axis, zeros where none come from."""
    count = rank(x)
    front, back = [0] * count, [0] * count
    front[axis], back[axis] = max(by, 0), max(-by, 0)
    wide = g.op("Pad", x, g.ints(*front, *back))
    start, stop = (0, -by) if by > 0 else (-by, np.iinfo(np.int64).max)
    return g.op("Slice", wide, g.ints(start), g.ints(stop), g.ints(axis))


def _depth_to_space(g: Builder, node: ir.Node) -> Made:
    attrs, x = attributes(node), source(node, 0)
    b, (_, c, h, w) = get_int(attrs, "blocksize", 1), dims(x)
    if not (isinstance(c, int) and isinstance(h, int) and isinstance(w, int)):
        return None
    _divides("blocksize", b, c, b * b)
    column = get_str(attrs, "mode", "DCR") == "CRD"
    parts = [c // b**2, b, b] if column else [b, b, c // b**2]
    perm = [0, 1, 4, 2, 5, 3] if column else [0, 3, 4, 1, 5, 2]
    y = g.op("Transpose", g.op("Reshape", x, g.ints(0, *parts, h, w)), perm=perm)
    return [g.op("Reshape", y, g.ints(0, c // b**2, h * b, w * b))]


def _space_to_depth(g: Builder, node: ir.Node) -> Made:
    x, b = source(node, 0), get_int(attributes(node), "blocksize", 1)
    _, c, h, w = dims(x)
    if not (isinstance(c, int) and isinstance(h, int) and isinstance(w, int)):
        return None
    _divides("blocksize", b, h)
    _divides("blocksize", b, w)
    y = g.op("Reshape", x, g.ints(0, c, h // b, b, w // b, b))
    y = g.op("Transpose", y, perm=[0, 3, 5, 1, 2, 4])
    return [g.op("Reshape", y, g.ints(0, c * b**2, h // b, w // b))]


def _reduced(g: Builder, node: ir.Node, name: str, x: ir.Value) -> ir.Value:
    """A reduction of `x` over the axes and with the attributes of the node."""
    given = [v for v in node.inputs[1:2] if v is not None]
    return g.op(name, x, *given, attrs=attributes(node))


def _sum_of_sizes(g: Builder, node: ir.Node) -> Made:
    return [_reduced(g, node, "ReduceSum", g.op("Abs", source(node, 0)))]


def _floats(node: ir.Node) -> ir.Value:
    """The first input. Raises UnsupportedOp where it has no logarithm."""
    x = source(node, 0)
    if x.dtype is not None and not x.dtype.is_floating_point():
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}): a logarithm of {x.dtype} is not "
                            "computed; put a Cast to float32 in front of it and one back behind it")
    return x


def _log_of_sum(g: Builder, node: ir.Node) -> Made:
    return [g.op("Log", _reduced(g, node, "ReduceSum", _floats(node)))]


def _log_of_sum_of_powers(g: Builder, node: ir.Node) -> Made:
    """The largest is taken off first, so that no power overflows."""
    x, attrs = _floats(node), attributes(node)
    axes = constant_ints(node, 1) if optional(node, 1) is not None else []
    if not axes and get_int(attrs, "noop_with_empty_axes", 0):
        return [x]
    axes = axes or list(range(rank(x)))
    most = g.op("ReduceMax", x, g.ints(*axes))
    finite = g.op("Less", g.op("Abs", most), g.scalar(np.inf, x))
    most = g.op("Where", finite, most, g.scalar(0.0, x))
    y = g.add(g.op("Log", g.total(g.op("Exp", g.sub(x, most)), axes)), most)
    return [y if get_int(attrs, "keepdims", 1) else g.op("Squeeze", y, g.ints(*axes))]


def _running_sum(g: Builder, node: ir.Node) -> Made:
    """Sums of 1, 2, 4 ... neighbours, each added to those as far away (Hillis and Steele, 1986)."""
    y, attrs = source(node, 0), attributes(node)
    axis = constant_ints(node, 1)[0] % rank(y)
    n, way = dims(y)[axis], -1 if get_int(attrs, "reverse", 0) else 1
    if not isinstance(n, int):
        return None
    if get_int(attrs, "exclusive", 0):
        y = _moved(g, y, axis, way)
    reach = 1
    while reach < n:
        y = g.add(y, _moved(g, y, axis, way * reach))
        reach *= 2
    return [y]


def _half(rows: int, columns: int, k: int, upper: bool) -> Array:
    """True on one side of the diagonal `k`, which may lie anywhere."""
    ones, k = np.ones((rows, columns), bool), max(-rows, min(k, columns))
    return np.triu(ones, k) if upper else np.tril(ones, k)


def _triangle_reference(attrs: Attrs, x: Array, k: Array | None = None) -> tuple[Array, ...]:
    at = 0 if k is None else int(k.reshape(-1)[0])
    mask = _half(x.shape[-2], x.shape[-1], at, bool(get_int(attrs, "upper", 1)))
    return (np.where(mask, x, np.zeros((), x.dtype)),)


def _triangle(g: Builder, node: ir.Node) -> Made:
    x = source(node, 0)
    rows, columns = dims(x)[-2:]
    k = constant_ints(node, 1)[0] if optional(node, 1) is not None else 0
    if not (isinstance(rows, int) and isinstance(columns, int)):
        return None
    mask = _half(rows, columns, k, bool(get_int(attributes(node), "upper", 1)))
    return [g.op("Where", g.constant(mask, "triangle"), x, g.scalar(0.0, x))]


def _tan(g: Builder, node: ir.Node) -> Made:
    return [g.div(g.op("Sin", source(node, 0)), g.op("Cos", source(node, 0)))]


def _cosh(g: Builder, node: ir.Node) -> Made:
    x = source(node, 0)
    return [g.mul(g.add(g.op("Exp", x), g.op("Exp", g.op("Neg", x))), 0.5)]


def _sinh(g: Builder, node: ir.Node) -> Made:
    """tanh · cosh keeps small arguments exact, where a difference of powers would not."""
    return [g.mul(g.op("Tanh", source(node, 0)), g.op("Cosh", source(node, 0)))]


def _dynamic_codes(g: Builder, node: ir.Node) -> Made:
    """uint8 codes of a tensor by its own range, which holds 0."""
    x = source(node, 0)
    zero = g.scalar(0.0, x)
    most = g.op("Max", g.op("ReduceMax", x, keepdims=0), zero)
    least = g.op("Min", g.op("ReduceMin", x, keepdims=0), zero)
    scale = g.div(g.sub(most, least), 255.0)
    steps = g.op("Round", g.op("Clip", g.div(g.op("Neg", least), scale), zero,
                               g.scalar(255.0, x)))
    point = g.op("Cast", steps, to=ir.DataType.UINT8)
    return [g.op("QuantizeLinear", x, scale, point), scale, point]


def _integer_product(g: Builder, node: ir.Node) -> Made:
    return [g.op("MatMul", *(_off_zero(g, node, k) for k in (0, 1)))]


def _off_zero(g: Builder, node: ir.Node, place: int) -> ir.Value:
    """Codes less their zero point, int32; that of A may be one a row, that of B one a column."""
    codes = g.op("Cast", source(node, place), to=ir.DataType.INT32)
    point = optional(node, place + 2)
    if point is None:
        return codes
    zero = g.op("Cast", point, to=ir.DataType.INT32)
    if place == 0 and rank(point) == 1 and dims(point) != [1]:
        zero = g.op("Unsqueeze", zero, g.ints(-1))
    return g.sub(codes, zero)


def _normalised(x: Array, axes: Sequence[int], epsilon: float) -> Array:
    mean = x.mean(tuple(axes), keepdims=True)
    return np.asarray((x - mean) / np.sqrt(x.var(tuple(axes), keepdims=True) + epsilon))


def _group_norm_reference(attrs: Attrs, x: Array, scale: Array, bias: Array) -> tuple[Array, ...]:
    groups = x.reshape(len(x), get_int(attrs, "num_groups", 1), -1)
    y = _normalised(groups, [2], get_float(attrs, "epsilon", 1e-5)).reshape(x.shape)
    shape = [-1, *[1] * (x.ndim - 2)]
    return (np.asarray(y * scale.reshape(shape) + bias.reshape(shape), x.dtype),)


def _mean_variance_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    axes = tuple(get_ints(attrs, "axes", [0, 2, 3]))
    spread = x.std(axes, keepdims=True) + x.dtype.type(1e-9)
    return (np.asarray((x - x.mean(axes, keepdims=True)) / spread, x.dtype),)


def _lp_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    """ONNX's own does not take the sizes of the elements for p = 1. Zeros stay zeros."""
    size = np.linalg.norm(x, get_int(attrs, "p", 2), get_int(attrs, "axis", -1), keepdims=True)
    with np.errstate(all="ignore"):
        return (np.asarray(np.where(size == 0, 0, x / size), x.dtype),)


def _response_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    """ONNX's own takes the batch for the channels."""
    size, count = get_int(attrs, "size", 1), x.shape[1]
    total = np.stack([(x[:, max(0, c - (size - 1) // 2):min(count, c + size // 2 + 1)] ** 2).sum(1)
                      for c in range(count)], 1)
    factor = get_float(attrs, "bias", 1.0) + get_float(attrs, "alpha", 1e-4) / size * total
    return (np.asarray(x / factor ** get_float(attrs, "beta", 0.75), x.dtype),)


def _dynamic_reference(attrs: Attrs, x: Array) -> tuple[Array, ...]:
    """Rounded as float32, so that the codes are those of every build; NaN gives the point 0."""
    single = x.astype(np.float32)
    most, least = (np.float32(f(0, e)) for f, e in ((np.maximum, single.max(initial=0)),
                                                    (np.minimum, single.min(initial=0))))
    with np.errstate(all="ignore"):
        scale = (most - least) / np.float32(255)
        steps = np.rint(np.clip(-least / scale, 0, 255))
    point = np.asarray(0 if np.isnan(steps) else steps, np.uint8)
    codes, = quantize_linear({}, single, np.asarray(scale), point)
    return codes, np.asarray(scale, x.dtype), point


def _like_first(attrs: Attrs, inputs: Sequence[ir.Value | None]
                ) -> list[tuple[ir.DataType, Dims]]:
    """ONNX infers no shape for what it defines by a function."""
    x = inputs[0]
    if x is None or x.dtype is None or x.shape is None:
        raise ValueError("the first input has no type")
    return [(x.dtype, dims(x))]


def _row(name: str, since: str, made_of: Callable[[Builder, ir.Node], Made],
         reads: tuple[str, ...] = (), learned: tuple[int, ...] = (),
         reference: Reference | None = None, infer: Infer | None = None,
         axes: Axes | None = None, divides: bool = False) -> Op:
    return Op(name, source=f"ONNX {name}-{since}", reads=reads, made_of=made_of, learned=learned,
              reference=reference, infer=infer, axes=axes, divides=divides)


REDUCES = ("keepdims", "noop_with_empty_axes")

ROWS = (
    _row("InstanceNormalization", "6", _instance_norm, ("epsilon",), (1, 2),
         axes=Axes.PLANES),
    _row("GroupNormalization", "21", _group_norm, ("epsilon", "num_groups"), (1, 2),
         _group_norm_reference, _like_first),
    _row("MeanVarianceNormalization", "13", _mean_variance_norm, ("axes",),
         reference=_mean_variance_reference, infer=_like_first),
    _row("LpNormalization", "1", _lp_norm, ("axis", "p"), reference=_lp_reference),
    _row("LRN", "13", _local_response_norm, ("alpha", "beta", "bias", "size"),
         reference=_response_reference),
    _row("DepthToSpace", "13", _depth_to_space, ("blocksize", "mode")),
    _row("SpaceToDepth", "13", _space_to_depth, ("blocksize",)),
    _row("ReduceL1", "18", _sum_of_sizes, REDUCES),
    _row("ReduceLogSum", "18", _log_of_sum, REDUCES),
    _row("ReduceLogSumExp", "18", _log_of_sum_of_powers, REDUCES),
    _row("CumSum", "14", _running_sum, ("exclusive", "reverse")),
    _row("Trilu", "14", _triangle, ("upper",), reference=_triangle_reference),
    _row("Tan", "7", _tan), _row("Sinh", "9", _sinh), _row("Cosh", "9", _cosh),
    _row("DynamicQuantizeLinear", "11", _dynamic_codes, reference=_dynamic_reference,
         divides=True),
    _row("MatMulInteger", "10", _integer_product),
)
