"""Operators that draw axes together: sums, extremes, softmax, normalisation."""

from collections.abc import Mapping

import numpy as np

from ganglion.formats.tflite.write.moves import axis_of
from ganglion.formats.tflite.write.pointwise import UNIT, apply, arithmetic
from ganglion.formats.tflite.write.site import Perm, Rule, Site, plain
from ganglion.ops.values import static_shape


def reduction(name: str, *, integer: bool = False, moving: bool = False) -> Rule:
    """(x, axes). `integer`: there is one for int8 codes; `moving`: it chooses among codes."""
    def rule(site: Site) -> None:
        rank = site.rank
        axes = {a % rank for a in site.known(1, "axes")} if site.has(1) else set(range(rank))
        keep = site.whole("keepdims", 1) == 1
        if integer and site.quant(0) is not None:
            site.target = site.aim()
        held = site.held(0).perm
        perm = held if keep else plain(rank)
        x = site.moved(0, perm) if moving else site.read(0, perm)
        places = sorted(perm.index(a) for a in axes)
        source = site.flat.tensors[x].shape
        out = [1 if k in places else n for k, n in enumerate(source) if keep or k not in places]
        y = site.op(name, [x, site.flat.ints(*places)], out, ("ReducerOptions", {
            "keep_dims": keep}), like=x if moving else None)
        site.put(y, perm if keep else None)

    return rule


def argument(name: str) -> Rule:
    """ArgMax, ArgMin."""
    def rule(site: Site) -> None:
        if site.whole("select_last_index", 0):
            raise site.unsupported("the last of equals is not sought; the first is")
        axis, out = axis_of(site), static_shape(site.node.outputs[0])
        given = site.flat.constant(np.asarray(axis, np.int32), "axis")
        shape = [n for k, n in enumerate(site.shape(0)) if k != axis]
        y = site.op(name, [site.moved(), given], shape, (
            f"{'ArgMax' if name == 'ARG_MAX' else 'ArgMin'}Options", {"output_type": 4}),
            dtype=np.dtype(np.int64))
        site.put(site.reshaped(y, out))

    return rule


def _axis_last(site: Site, axis: int) -> Perm:
    """An order that ends with `axis`, the stored one if it does."""
    held = site.held(0).perm
    if held[-1] == axis:
        return held
    return (*(k for k in range(site.rank) if k != axis), axis)


def softmax(site: Site) -> None:
    """Softmax along one axis; int8 where its results are in steps of 1/256."""
    if site.quant(0) is not None and site.aim() == UNIT:
        site.target = UNIT
    perm = _axis_last(site, axis_of(site, 0, -1))
    site.put(apply(site, "SOFTMAX", site.read(0, perm), options=("SoftmaxOptions", {"beta": 1.0})),
             perm)


def log_softmax(site: Site) -> None:
    perm = _axis_last(site, axis_of(site, 0, -1))
    site.put(apply(site, "LOG_SOFTMAX", site.read(0, perm), options=("LogSoftmaxOptions", {})),
             perm)


def layer_normalization(site: Site) -> None:
    """LayerNormalization along the last axis, of operators that each runtime has."""
    rank = site.rank
    if axis_of(site, 0, -1) != rank - 1:
        raise site.unsupported("only normalisation of the last axis is written")
    scale, shift = site.constant(1), site.constant(2)
    if scale is None or (site.has(2) and shift is None):
        raise site.unsupported("its scale and bias must be constant")
    x, shape = site.read(0), site.shape(0)
    narrow, axes = (*shape[:-1], 1), site.flat.ints(rank - 1)
    keep = ("ReducerOptions", {"keep_dims": True})
    centred = arithmetic(site, "SUB", x, site.op("MEAN", [x, axes], narrow, keep))
    spread = site.op("MEAN", [arithmetic(site, "MUL", centred, centred), axes], narrow, keep)
    step = apply(site, "RSQRT", arithmetic(site, "ADD", spread,
                                           site.number(site.real("epsilon", 1e-5))))
    y = arithmetic(site, "MUL", arithmetic(site, "MUL", centred, step),
                   site.flat.constant(scale, site.values.fresh("scale")))
    if shift is not None:
        y = arithmetic(site, "ADD", y, site.flat.constant(shift, site.values.fresh("shift")))
    site.put(y)


ROWS: Mapping[str, Rule] = {
    "ReduceMean": reduction("MEAN", integer=True), "ReduceSum": reduction("SUM"),
    "ReduceMax": reduction("REDUCE_MAX", moving=True),
    "ReduceMin": reduction("REDUCE_MIN", moving=True), "ReduceProd": reduction("REDUCE_PROD"),
    "ArgMax": argument("ARG_MAX"), "ArgMin": argument("ARG_MIN"), "Softmax": softmax,
    "LogSoftmax": log_softmax, "LayerNormalization": layer_normalization}
