"""Operators that draw axes together: sums, extremes, softmax, normalisation."""

from collections.abc import Callable, Mapping

import onnx_ir as ir

from ganglion.formats.tflite.read.moves import axis_of
from ganglion.formats.tflite.read.site import Site

Rule = Callable[[Site], None]

LEAST_NORM = 1e-6
"""What TensorFlow Lite divides by at least (reference_ops::L2Normalization)."""


def _reduce(name: str) -> Rule:
    """(x, axes), keep_dims."""
    def rule(site: Site) -> None:
        keep = site.options("ReducerOptions").integer("keep_dims")
        rank = len(site.shape(0))
        axes = sorted({axis_of(site, a, rank) for a in site.known(1, "axes")})
        if not axes:
            site.finish(site.real(0))
            return
        site.finish(site.op(name, site.real(0), site.g.ints(*axes), keepdims=keep))

    return rule


def _arg(name: str, table: str) -> Rule:
    """ARG_MAX, ARG_MIN: (x, axis); the first of equals."""
    def rule(site: Site) -> None:
        axes = site.known(1, "axis")
        if len(axes) != 1:
            raise site.error(f"names the axes {axes}, expected one")
        axis = axis_of(site, axes[0], len(site.shape(0)))
        site.options(table)
        found = site.op(name, site.real(0), axis=axis, keepdims=0)
        if site.output().dtype != ir.DataType.INT64:
            found = site.op("Cast", found, to=site.output().dtype)
        site.put(found)

    return rule


def _softmax(site: Site) -> None:
    """SOFTMAX of beta · x along the last axis."""
    beta = site.options("SoftmaxOptions").number("beta")
    x = site.real(0)
    if beta != 1.0:
        x = site.op("Mul", x, site.floats(beta))
    site.finish(site.op("Softmax", x, axis=-1))


def _log_softmax(site: Site) -> None:
    site.finish(site.op("LogSoftmax", site.real(0), axis=-1))


def _l2_normalization(site: Site) -> None:
    """x / max(|x|, 1e-6) along the last axis."""
    options = site.options("L2NormOptions")
    if not site.shape(0):
        raise site.error("its input has no axis")
    x = site.real(0)
    norm = site.op("ReduceL2", x, site.g.ints(len(site.shape(0)) - 1), keepdims=1)
    y = site.op("Div", x, site.op("Max", norm, site.floats(LEAST_NORM)))
    site.finish(y, activation=options.integer("fused_activation_function"))


ROWS: Mapping[str, Rule] = {
    "MEAN": _reduce("ReduceMean"), "SUM": _reduce("ReduceSum"),
    "REDUCE_MAX": _reduce("ReduceMax"), "REDUCE_MIN": _reduce("ReduceMin"),
    "REDUCE_PROD": _reduce("ReduceProd"),
    "ARG_MAX": _arg("ArgMax", "ArgMaxOptions"), "ARG_MIN": _arg("ArgMin", "ArgMinOptions"),
    "SOFTMAX": _softmax, "LOG_SOFTMAX": _log_softmax, "L2_NORMALIZATION": _l2_normalization,
}
