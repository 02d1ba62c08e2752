"""Element by element: activations, arithmetic with broadcasting, comparisons, casts."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ganglion.formats.tflite.write.flat import Options, Quant
from ganglion.formats.tflite.write.site import Array, Perm, Rule, Site, Stored, activation_of, plain
from ganglion.ops.attr import get_str
from ganglion.ops.values import static_shape

UNIT = Quant((1 / 256,), (-128,))
SIGNED = Quant((1 / 128,), (0,))
"""What TensorFlow Lite's int8 LOGISTIC and SOFTMAX, and TANH, give always."""

SELU = (1.67326319217681884765625, 1.05070102214813232421875)
"""alpha and gamma (ONNX Selu)."""


def unary(name: str, *, integer: bool = False, fixed: Quant | None = None,
          options: Callable[[Site], Options] | None = None) -> Rule:
    """An operator of one input. `integer`: there is one for int8 codes; `fixed`: it gives these."""
    def rule(site: Site) -> None:
        if integer and site.quant(0) is not None:
            aim = site.aim()
            site.target = aim if fixed is None or aim == fixed else None
        perm = site.held(0).perm
        x = site.read(0, perm)
        made = None if options is None else options(site)
        site.put(site.op(name, [x], site.flat.tensors[x].shape, made), perm)

    return rule


def _leaky(site: Site) -> Options:
    return "LeakyReluOptions", {"alpha": site.real("alpha", 0.01)}


def _gelu_options(site: Site) -> Options:
    return "GeluOptions", {"approximate": get_str(site.attrs, "approximate", "none") == "tanh"}


def elu(site: Site) -> None:
    """Elu with alpha 1."""
    if site.real("alpha", 1.0) != 1.0:
        raise site.unsupported("only alpha = 1 is written")
    unary("ELU", integer=True)(site)


def composed(formula: Callable[[Site, int], int]) -> Rule:
    """A formula of several operators on real numbers."""
    def rule(site: Site) -> None:
        perm = site.held(0).perm
        site.put(formula(site, site.read(0, perm)), perm)

    return rule


def apply(site: Site, name: str, *tensors: int, options: Options | None = None) -> int:
    """An operator between tensors of the first one's shape."""
    return site.op(name, tensors, site.flat.tensors[tensors[0]].shape, options)


def arithmetic(site: Site, name: str, a: int, b: int) -> int:
    """ADD, SUB, MUL, DIV of tensors, `b` of a's shape or smaller."""
    return apply(site, name, a, b, options=(f"{name.capitalize()}Options", {}))


def bounded(site: Site, x: int, low: float, high: float) -> int:
    """x held between two numbers; infinite ones do not bound."""
    if high != np.inf:
        x = apply(site, "MINIMUM", x, _bound(site, x, high))
    if low != -np.inf:
        x = apply(site, "MAXIMUM", x, _bound(site, x, low))
    return x


def _bound(site: Site, x: int, number: float) -> int:
    """A constant as codes of x, or as it is."""
    q = site.flat.tensors[x].quant
    if q is None:
        return site.number(number)
    code = np.clip(np.rint(np.float32(number) / np.float32(q.scale[0])) + q.zero[0], -128, 127)
    return site.flat.constant(code.reshape(1).astype(np.int8), "bound", q)


def _selu(site: Site, x: int) -> int:
    alpha = np.float32(site.real("alpha", SELU[0]))
    gamma = np.float32(site.real("gamma", SELU[1]))
    above = arithmetic(site, "MUL", apply(site, "RELU", x), site.number(float(gamma)))
    below = bounded(site, apply(site, "ELU", x), -np.inf, 0.0)
    return arithmetic(site, "ADD", above,
                      arithmetic(site, "MUL", below, site.number(float(gamma * alpha))))


def _softplus(site: Site, x: int) -> int:
    """max(x, 0) + log(1 + exp(-|x|)), which never overflows."""
    small = apply(site, "EXP", apply(site, "NEG", apply(site, "ABS", x)))
    grown = apply(site, "LOG", arithmetic(site, "ADD", small, site.number(1.0)))
    return arithmetic(site, "ADD", apply(site, "RELU", x), grown)


def _hard_sigmoid(site: Site, x: int) -> int:
    scaled = arithmetic(site, "MUL", x, site.number(site.real("alpha", 0.2)))
    moved = arithmetic(site, "ADD", scaled, site.number(site.real("beta", 0.5)))
    return bounded(site, moved, 0.0, 1.0)


def _reciprocal(site: Site, x: int) -> int:
    return arithmetic(site, "DIV", site.flat.constant(np.ones(
        site.flat.tensors[x].shape, np.float32), "ones"), x)


def clip(site: Site) -> None:
    """Clip as RELU, RELU6, RELU_N1_TO_1, or MINIMUM and MAXIMUM."""
    name, fused = activation_of(site.node), {"RELU": 1, "RELU6": 1}
    if name is not None:
        unary(name, integer=name in fused)(site)
        return
    bounds = []
    for k, free in ((1, -np.inf), (2, np.inf)):
        array = site.constant(k)
        if site.has(k) and array is None:
            raise site.unsupported("its bounds are computed; constants are needed")
        bounds.append(free if array is None else float(array))
    aim = site.aim() if site.quant(0) is not None else None
    perm = site.held(0).perm
    if aim is None:
        site.put(bounded(site, site.read(0, perm), *bounds), perm)
        return
    site.target = aim
    x = site.values.with_quant(site.read(0, perm), aim, site.name)
    site.put(bounded(site, x, *bounds), perm)


def binary(name: str, *, integer: bool = False, fuses: bool = False, alike: bool = False,
           dtype: type[np.generic] | None = None) -> Rule:
    """An operator of two inputs (or more, one after another) that broadcast.

    `integer`: there is one for int8 codes; `alike`: only for codes of one scale; `fuses`: an
    activation may follow within it; `dtype`: the kind of elements that it gives, if not x's.
    """
    def rule(site: Site) -> None:
        count = len(site.node.inputs)
        coded = all(site.quant(k) is not None or _single(site, k) is not None
                    for k in range(count))
        if integer and coded and any(site.quant(k) is not None for k in range(count)) and (
                count == 2 or alike):
            site.target = site.aim()
        perm = common_perm(site)
        tensors = [operand(site, k, perm, alike) for k in range(count)]
        number = site.activation() if fuses and count == 2 else 0
        options: Options | None = (f"{name.capitalize()}Options",
                                   {"fused_activation_function": number}) if fuses else None
        if name in OPTIONED:
            options = (OPTIONED[name], {})
        y = tensors[0]
        shape = tuple(static_shape(site.node.outputs[0])[k] for k in perm)
        for other in tensors[1:]:
            kind = np.dtype(dtype) if dtype is not None else None
            if kind is None and site.target is None:
                kind = site.flat.tensors[y].dtype
            y = site.op(name, [y, other], shape, options, dtype=kind)
        site.put(y, perm)

    return rule


OPTIONED = {"MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions"}


def common_perm(site: Site) -> Perm:
    """The order in which most of the work is there: that of the first computed input as wide as
    the result."""
    rank = len(static_shape(site.node.outputs[0]))
    for k in range(len(site.node.inputs)):
        if site.constant(k) is None and len(site.shape(k)) == rank:
            return site.held(k).perm
    return plain(rank)


def operand(site: Site, k: int, perm: Perm, alike: bool = False) -> int:
    """Input k with the result's number of axes in the order `perm`."""
    rank, shape = len(perm), site.shape(k)
    wide = (*[1] * (rank - len(shape)), *shape)
    single, array = _single(site, k), site.constant(k)
    if site.target is not None and single is not None:
        # The code 1 in steps of the number itself means the number exactly.
        q = Quant((abs(single) or 1.0,), (0,))
        tensor = site.flat.constant(np.asarray([np.sign(single)], np.int8), "number", q)
    elif site.target is None and array is not None:
        turned: Array = array.reshape(wide).transpose(perm)
        tensor = site.flat.constant(turned.reshape(1) if array.size == 1 else turned,
                                    site.values.fresh(str(site.value(k).name)))
    elif len(shape) == rank:
        tensor = site.read(k, perm)
    else:
        flat = site.reshaped(site.read(k), wide)
        tensor = site.values.ordered(Stored(flat, plain(rank)), perm, site.name)
    if alike and site.target is not None:
        tensor = site.values.with_quant(tensor, site.target, site.name)
    return tensor


def _single(site: Site, k: int) -> float | None:
    """The number that every element of a float constant is."""
    array = site.constant(k)
    if array is None or array.dtype != np.float32 or array.size == 0:
        return None
    first = array.reshape(-1)[0]
    return float(first) if (array == first).all() else None


def prelu(site: Site) -> None:
    """PRelu with a constant slope, spread over the axes behind the batch; a single one is that of
    LEAKY_RELU, as LiteRT does not spread it reliably."""
    slope, perm = site.constant(1), site.held(0).perm
    if slope is None:
        raise site.unsupported("its slope is computed; a constant is needed")
    if slope.size == 1:
        alpha: Options = ("LeakyReluOptions", {"alpha": float(slope.reshape(()))})
        unary("LEAKY_RELU", integer=True, options=lambda _: alpha)(site)
        return
    wide = slope.reshape((*[1] * (site.rank - slope.ndim), *slope.shape))
    if perm[0] != 0 or wide.shape[0] != 1:
        perm = plain(site.rank)
    w = site.flat.constant(wide.transpose(perm)[0], site.values.fresh("slope"))
    site.put(apply(site, "PRELU", site.read(0, perm), w), perm)


def cast(site: Site) -> None:
    """Cast between the element types that a file holds."""
    kind = site.node.outputs[0].dtype
    if kind is None:
        raise site.unsupported("its result has no element type")
    perm = site.held(0).perm
    x = site.read(0, perm)
    site.put(site.op("CAST", [x], site.flat.tensors[x].shape, ("CastOptions", {}),
                     dtype=np.dtype(kind.numpy())), perm)


def where(site: Site) -> None:
    """Where as SELECT_V2."""
    perm = common_perm(site)
    tensors: Sequence[int] = [operand(site, k, perm) for k in range(3)]
    shape = [static_shape(site.node.outputs[0])[k] for k in perm]
    site.put(site.op("SELECT_V2", tensors, shape, ("SelectV2Options", {}),
                     dtype=site.flat.tensors[tensors[1]].dtype), perm)


def logical_not(site: Site) -> None:
    perm = site.held(0).perm
    x = site.read(0, perm)
    site.put(site.op("LOGICAL_NOT", [x], site.flat.tensors[x].shape, dtype=np.dtype(np.bool_)),
             perm)


ROWS: Mapping[str, Rule] = {
    "Relu": unary("RELU", integer=True), "Clip": clip, "LeakyRelu": unary(
        "LEAKY_RELU", integer=True, options=_leaky),
    "Sigmoid": unary("LOGISTIC", integer=True, fixed=UNIT),
    "Tanh": unary("TANH", integer=True, fixed=SIGNED),
    "Elu": elu, "Gelu": unary("GELU", integer=True, options=_gelu_options),
    "HardSwish": unary("HARD_SWISH", integer=True), "PRelu": prelu,
    "Exp": unary("EXP"), "Log": unary("LOG"), "Sqrt": unary("SQRT"), "Abs": unary("ABS"),
    "Neg": unary("NEG"), "Floor": unary("FLOOR"), "Ceil": unary("CEIL"), "Sin": unary("SIN"),
    "Cos": unary("COS"), "Round": unary("ROUND"),
    "Selu": composed(_selu), "Softplus": composed(_softplus),
    "HardSigmoid": composed(_hard_sigmoid), "Reciprocal": composed(_reciprocal),
    "Add": binary("ADD", integer=True, fuses=True), "Sub": binary("SUB", integer=True, fuses=True),
    "Mul": binary("MUL", integer=True, fuses=True), "Div": binary("DIV", fuses=True),
    "Sum": binary("ADD", integer=True, fuses=True), "Pow": binary("POW"),
    "Max": binary("MAXIMUM", integer=True, alike=True),
    "Min": binary("MINIMUM", integer=True, alike=True),
    "Equal": binary("EQUAL", dtype=np.bool_), "Greater": binary("GREATER", dtype=np.bool_),
    "GreaterOrEqual": binary("GREATER_EQUAL", dtype=np.bool_),
    "Less": binary("LESS", dtype=np.bool_), "LessOrEqual": binary("LESS_EQUAL", dtype=np.bool_),
    "And": binary("LOGICAL_AND", dtype=np.bool_), "Or": binary("LOGICAL_OR", dtype=np.bool_),
    "Not": logical_not, "Where": where, "Cast": cast}
