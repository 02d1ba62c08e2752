"""Element by element: activations, arithmetic, comparisons, choices, and changes of type."""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from ganglion.formats.tflite.read.site import Site

Rule = Callable[[Site], None]


def _unary(*names: str) -> Rule:
    """ONNX operators (or clamps) of one input, one behind the other."""
    def rule(site: Site) -> None:
        y = site.real(0)
        for name in names:
            y = site.named_activation(y, name)
        site.finish(y)

    return rule


def _binary(name: str, options: str | None = None) -> Rule:
    """An ONNX operator of two inputs that broadcast, with a fused activation where `options`."""
    def rule(site: Site) -> None:
        y = site.op(name, site.real(0), site.real(1))
        number = site.options(options).integer("fused_activation_function") if options else 0
        site.finish(y, activation=number)

    return rule


def _not_equal(site: Site) -> None:
    site.finish(site.op("Not", site.op("Equal", site.real(0), site.real(1))))


def _squared_difference(site: Site) -> None:
    d = site.op("Sub", site.real(0), site.real(1))
    site.finish(site.op("Mul", d, d))


def _square(site: Site) -> None:
    site.finish(site.op("Mul", site.real(0), site.real(0)))


def _leaky_relu(site: Site) -> None:
    alpha = site.options("LeakyReluOptions").number("alpha")
    site.finish(site.op("LeakyRelu", site.real(0), alpha=alpha))


def _gelu(site: Site) -> None:
    rough = site.options("GeluOptions").integer("approximate")
    site.finish(site.op("Gelu", site.real(0), approximate="tanh" if rough else "none"))


def _floor_div(site: Site) -> None:
    """FLOOR_DIV: the quotient rounded down; ONNX's of whole numbers is rounded towards zero."""
    a, b = site.real(0), site.real(1)
    y = site.op("Div", a, b)
    if _floating(y):
        site.finish(site.op("Floor", y))
        return
    rest = site.op("Sub", a, site.op("Mul", y, b))
    above = site.op("Not", site.op("Equal", rest, site.op("Mod", a, b)))
    site.finish(site.op("Sub", y, site.op("Cast", above, to=y.dtype or ir.DataType.INT32)))


def _floor_mod(site: Site) -> None:
    """FLOOR_MOD: the rest, with the sign of the divisor. ONNX's of floats has the dividend's."""
    a, b = site.real(0), site.real(1)
    if not _floating(a):
        site.finish(site.op("Mod", a, b))
        return
    zero, rest = site.floats(0.0), site.op("Mod", a, b, fmod=1)
    apart = site.op("Xor", site.op("Less", rest, zero), site.op("Less", b, zero))
    moved = site.op("And", apart, site.op("Not", site.op("Equal", rest, zero)))
    site.finish(site.op("Where", moved, site.op("Add", rest, b), rest))


def _floating(value: ir.Value) -> bool:
    return value.dtype is not None and value.dtype.is_floating_point()


def _add_n(site: Site) -> None:
    site.finish(site.op("Sum", *(site.real(k) for k in range(site.count))))


def _select(site: Site) -> None:
    """SELECT: the condition has x's shape, or chooses whole rows of x."""
    condition, rank = site.value(0), len(site.shape(1))
    rows = len(site.shape(0)) == 1 and rank > 1
    if rows:
        condition = site.reshaped(condition, (*site.shape(0), *[1] * (rank - 1)))
    _chosen(site, condition)


def _select_v2(site: Site) -> None:
    _chosen(site, site.value(0))


def _chosen(site: Site, condition: ir.Value) -> None:
    if condition.dtype != ir.DataType.BOOL:
        raise site.error(f"its condition is {condition.dtype}, expected BOOL")
    site.finish(site.op("Where", condition, site.real(1), site.real(2)))


def _cast(site: Site) -> None:
    dtype = site.output().dtype
    wanted = ir.DataType.FLOAT if dtype == ir.DataType.FLOAT16 else dtype
    site.put(site.op("Cast", site.value(0), to=wanted))


def _quantize(site: Site) -> None:
    """QUANTIZE: from real numbers, or from other codes."""
    if site.output().quantization is None:
        raise site.error("its output has no scale")
    if site.like_output([0]):
        site.put(site.value(0))
    else:
        site.finish(site.real(0))


def _dequantize(site: Site) -> None:
    """DEQUANTIZE; float16 constants are float32 already."""
    site.put(site.real(0))


ROWS: Mapping[str, Rule] = {
    "RELU": _unary("Relu"), "RELU6": _unary("Relu6"), "RELU_N1_TO_1": _unary("ReluN1To1"),
    "RELU_0_TO_1": _unary("Relu0To1"), "LOGISTIC": _unary("Sigmoid"), "TANH": _unary("Tanh"),
    "ELU": _unary("Elu"), "HARD_SWISH": _unary("HardSwish"), "LEAKY_RELU": _leaky_relu,
    "PRELU": _binary("PRelu"), "GELU": _gelu,
    "EXP": _unary("Exp"), "LOG": _unary("Log"), "SQRT": _unary("Sqrt"),
    "RSQRT": _unary("Sqrt", "Reciprocal"), "SQUARE": _square, "ABS": _unary("Abs"),
    "NEG": _unary("Neg"), "FLOOR": _unary("Floor"), "CEIL": _unary("Ceil"),
    "ROUND": _unary("Round"), "SIN": _unary("Sin"), "COS": _unary("Cos"), "SIGN": _unary("Sign"),
    "ADD": _binary("Add", "AddOptions"), "SUB": _binary("Sub", "SubOptions"),
    "MUL": _binary("Mul", "MulOptions"), "DIV": _binary("Div", "DivOptions"),
    "POW": _binary("Pow"), "MAXIMUM": _binary("Max"), "MINIMUM": _binary("Min"),
    "SQUARED_DIFFERENCE": _squared_difference, "ADD_N": _add_n,
    "FLOOR_DIV": _floor_div, "FLOOR_MOD": _floor_mod,
    "EQUAL": _binary("Equal"), "NOT_EQUAL": _not_equal, "GREATER": _binary("Greater"),
    "GREATER_EQUAL": _binary("GreaterOrEqual"), "LESS": _binary("Less"),
    "LESS_EQUAL": _binary("LessOrEqual"), "LOGICAL_AND": _binary("And"),
    "LOGICAL_OR": _binary("Or"), "LOGICAL_NOT": _unary("Not"),
    "SELECT": _select, "SELECT_V2": _select_v2,
    "CAST": _cast, "QUANTIZE": _quantize, "DEQUANTIZE": _dequantize,
}
