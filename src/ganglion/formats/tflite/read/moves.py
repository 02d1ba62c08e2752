"""Operators that only move numbers: shapes, margins, parts, joining and taking apart."""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
import onnx_ir as ir

from ganglion.formats.tflite.read.site import Site
from ganglion.ops.infer import MAX_ELEMENTS
from ganglion.ops.values import static_shape

Rule = Callable[[Site], None]


def axis_of(site: Site, axis: int, rank: int) -> int:
    """The axis counted from the front. Raises ModelError where there is none."""
    if not -rank <= axis < rank:
        raise site.error(f"names axis {axis} of {rank}")
    return axis % rank


def _reshape(site: Site) -> None:
    total = prod(site.shape(0))
    shape = _wanted_shape(site)
    if shape.count(-1) == 1:
        rest = -prod(shape)
        if rest < 1 or total % rest:
            raise site.error(f"cannot bring {list(site.shape(0))} into the shape {shape}")
        shape = [total // rest if d == -1 else d for d in shape]
    if any(d < 0 for d in shape) or prod(shape) != total:
        raise site.error(f"cannot bring {list(site.shape(0))} into the shape {shape}")
    site.carry(lambda v: site.reshaped(v, shape))


def _wanted_shape(site: Site) -> list[int]:
    """From input 1, the options, or the file's own note on the output, in this order."""
    if site.has(1) and site.constant(1) is not None:
        return site.known(1, "new shape")
    options = site.operator.options
    if not site.has(1) and options is not None and options.name == "ReshapeOptions":
        return list(options.integers("new_shape"))
    if site.output().shape is None:
        raise site.unsupported("its new shape depends on data; convert the network with fixed "
                               "shapes")
    return list(site.output().shape or ())


def _squeeze(site: Site) -> None:
    shape = site.shape(0)
    given = site.options("SqueezeOptions").integers("squeeze_dims")
    axes = {axis_of(site, a, len(shape)) for a in given} or {
        k for k, d in enumerate(shape) if d == 1}
    if any(shape[a] != 1 for a in axes):
        raise site.error(f"cannot drop the axes {sorted(axes)} of the shape {list(shape)}; only "
                         "axes of size 1 can go")
    kept = [d for k, d in enumerate(shape) if k not in axes]
    site.carry(lambda v: site.reshaped(v, kept))


def _expand_dims(site: Site) -> None:
    axes = site.known(1, "axis")
    if len(axes) != 1:
        raise site.error(f"names the axes {axes}, expected one")
    shape = list(site.shape(0))
    shape.insert(axis_of(site, axes[0], len(shape) + 1), 1)
    site.carry(lambda v: site.reshaped(v, shape))


def _transpose(site: Site) -> None:
    perm, rank = site.known(1, "order of axes"), len(site.shape(0))
    perm = [axis_of(site, p, rank) for p in perm]
    if sorted(perm) != list(range(rank)):
        raise site.error(f"its order of axes {perm} is none of {rank} axes")
    site.carry(lambda v: site.op("Transpose", v, perm=perm))


def _margins(site: Site) -> list[tuple[int, int]]:
    """(before, after) of each axis."""
    found = site.known(1, "margins")
    if len(found) != 2 * len(site.shape(0)) or min(found, default=0) < 0:
        raise site.error(f"its margins {found} are not two numbers >= 0 for each axis of "
                         f"{list(site.shape(0))}")
    return list(zip(found[::2], found[1::2]))


def _pad(site: Site) -> None:
    """PAD with zeros, PADV2 with a given number."""
    pairs = _margins(site)
    pads = site.g.ints(*(p[0] for p in pairs), *(p[1] for p in pairs))
    if not site.has(2):
        site.finish(site.op("Pad", site.real(0), pads))
        return
    if prod(site.shape(2)) != 1:
        raise site.error(f"its filling has the shape {list(site.shape(2))}, expected one number")
    fill = site.real(2, lambda v: site.reshaped(v, ()))
    site.finish(site.op("Pad", site.real(0), pads, fill))


MAX_LINES = 1 << 16
"""Of an axis that is mirrored: each is copied by its number."""


def _mirror_pad(site: Site) -> None:
    """MIRROR_PAD: one Gather an axis; REFLECT leaves the border itself out, SYMMETRIC not."""
    mode = site.options("MirrorPadOptions").integer("mode")
    pairs = _margins(site)
    if mode not in (0, 1):
        raise site.error(f"has the mode {mode}, expected 0 (REFLECT) or 1 (SYMMETRIC)")
    for size, pair in zip(site.shape(0), pairs):
        if size + sum(pair) > MAX_LINES:
            raise site.error(f"makes an axis of {size + sum(pair)} elements by mirroring, expected "
                             f"at most {MAX_LINES}")
        if max(pair) > size - (mode == 0):
            raise site.error(f"its margins {pairs} are wider than the input {list(site.shape(0))}")

    def move(x: ir.Value) -> ir.Value:
        for axis, pair in enumerate(pairs):
            if any(pair):
                rows = np.pad(np.arange(static_shape(x)[axis]), pair,
                              "reflect" if mode == 0 else "symmetric")
                x = site.op("Gather", x, site.g.ints(*rows.tolist()), axis=axis)
        return x

    site.carry(move)


def _concatenation(site: Site) -> None:
    options = site.options("ConcatenationOptions")
    if not site.count:
        raise site.error("joins nothing")
    axis = axis_of(site, options.integer("axis"), len(site.shape(0)))
    activation = options.integer("fused_activation_function")
    parts = range(site.count)
    if activation == 0 and site.like_output(parts):
        site.put(site.op("Concat", *(site.value(k) for k in parts), axis=axis))
        return
    site.finish(site.op("Concat", *(site.real(k) for k in parts), axis=axis),
                activation=activation)


def _pack(site: Site) -> None:
    if not site.count:
        raise site.error("joins nothing")
    shape = list(site.shape(0))
    axis = axis_of(site, site.options("PackOptions").integer("axis"), len(shape) + 1)
    for k in range(site.count):
        if list(site.shape(k)) != shape:
            raise site.error(f"stacks shapes {shape} and {list(site.shape(k))}")
    shape.insert(axis, 1)
    parts = range(site.count)
    if site.like_output(parts):
        site.put(site.op("Concat", *(site.reshaped(site.value(k), shape) for k in parts),
                         axis=axis))
    else:
        site.finish(site.op("Concat", *(site.reshaped(site.real(k), shape) for k in parts),
                            axis=axis))


def _split_by(site: Site, k: int, axis: int, sizes: Sequence[int],
              squeeze: bool = False) -> None:
    """Input k cut along `axis` into the operator's outputs."""
    shape = list(site.shape(k))
    outputs = len(site.operator.outputs)
    if len(sizes) != outputs or min(sizes, default=-1) < 0 or sum(sizes) != shape[axis]:
        raise site.error(f"cuts axis {axis} of {shape} into {list(sizes)[:30]} for {outputs} "
                         "outputs")
    codes = all(site.like_output([k], i) for i in range(outputs))
    x = site.value(k) if codes else site.real(k)
    parts = site.ops("Split", x, site.g.ints(*sizes), outputs=outputs, axis=axis)
    kept = [d for a, d in enumerate(shape) if a != axis]
    for i, part in enumerate(parts):
        part = site.reshaped(part, kept) if squeeze else part
        if codes:
            site.put(part, i)
        else:
            site.finish(part, i)


def _split(site: Site) -> None:
    """SPLIT: (axis, x) into equal parts."""
    count = site.options("SplitOptions").integer("num_splits")
    axis = axis_of(site, _single(site, 0), len(site.shape(1)))
    size = site.shape(1)[axis]
    if count < 1 or size % count:
        raise site.error(f"cuts {size} into {count} equal parts")
    if count != len(site.operator.outputs):
        raise site.error(f"cuts into {count} parts for {len(site.operator.outputs)} outputs")
    _split_by(site, 1, axis, [size // count] * count)


def _split_v(site: Site) -> None:
    """SPLIT_V: (x, sizes, axis); one size may be -1, the rest."""
    axis = axis_of(site, _single(site, 2), len(site.shape(0)))
    sizes = site.known(1, "sizes")
    rest = site.shape(0)[axis] - sum(s for s in sizes if s != -1)
    if sizes.count(-1) == 1:
        sizes = [rest if s == -1 else s for s in sizes]
    _split_by(site, 0, axis, sizes)


def _unpack(site: Site) -> None:
    axis = axis_of(site, site.options("UnpackOptions").integer("axis"), len(site.shape(0)))
    if site.shape(0)[axis] != len(site.operator.outputs):
        raise site.error(f"takes axis {axis} of {list(site.shape(0))} apart into "
                         f"{len(site.operator.outputs)} outputs")
    _split_by(site, 0, axis, [1] * site.shape(0)[axis], squeeze=True)


def _single(site: Site, k: int) -> int:
    found = site.known(k, "axis")
    if len(found) != 1:
        raise site.error(f"names the axes {found}, expected one")
    return found[0]


def _slice(site: Site) -> None:
    """SLICE: (x, first, size); a size of -1 goes to the end."""
    shape = site.shape(0)
    first, size = site.known(1, "beginnings"), site.known(2, "sizes")
    if len(first) != len(shape) or len(size) != len(shape):
        raise site.error(f"has beginnings {first} and sizes {size} for the shape {list(shape)}")
    ends = [d if s == -1 else b + s for d, b, s in zip(shape, first, size)]
    if any(not 0 <= b <= e <= d for b, e, d in zip(first, ends, shape)):
        raise site.error(f"takes {first} to {ends} out of {list(shape)}")
    axes = range(len(shape))
    site.carry(lambda v: site.op("Slice", v, site.g.ints(*first), site.g.ints(*ends),
                                 site.g.ints(*axes)))


def _strided_slice(site: Site) -> None:
    """STRIDED_SLICE: x[begin:end:step] of every axis, with Python's masks for what is absent."""
    shape = site.shape(0)
    cuts, result = _cuts(site)
    starts, ends, steps = [], [], []
    for (start, stop, step), size in zip(cuts, shape):
        starts.append(start)
        # An end before the first element has no number in ONNX but one below -size.
        ends.append(stop if stop >= 0 else -size - 1)
        steps.append(step)
    axes = range(len(shape))

    def move(x: ir.Value) -> ir.Value:
        if any(c != (0, d, 1) for c, d in zip(cuts, shape)):
            x = site.op("Slice", x, *(site.g.ints(*n) for n in (starts, ends, axes, steps)))
        return site.reshaped(x, result)

    site.carry(move)


def _cuts(site: Site) -> tuple[list[tuple[int, int, int]], list[int]]:
    """(start, stop, step) of each axis of x, and the result's shape (TensorFlow's StridedSlice)."""
    options, shape = site.options("StridedSliceOptions"), site.shape(0)
    begins, ends, steps = (site.known(k, n) for k, n in ((1, "begin"), (2, "end"), (3, "strides")))
    if not len(begins) == len(ends) == len(steps) <= 32:
        raise site.error(f"has begin {begins[:33]}, end {ends[:33]} and strides {steps[:33]}")

    def flag(name: str, k: int) -> bool:
        return bool(options.integer(name) >> k & 1)

    new = [flag("new_axis_mask", k) for k in range(len(begins))]
    dots = [flag("ellipsis_mask", k) and not new[k] for k in range(len(begins))]
    missing = len(shape) - (len(begins) - sum(new) - sum(dots))
    if missing < 0 or sum(dots) > 1:
        raise site.error(f"cuts more axes than its input {list(shape)} has")
    cuts: list[tuple[int, int, int]] = []
    result: list[int] = []
    for k, (begin, end, step) in enumerate(zip(begins, ends, steps)):
        if new[k]:
            result.append(1)
            continue
        if dots[k]:
            result += shape[len(cuts):len(cuts) + missing]
            cuts += [(0, d, 1) for d in shape[len(cuts):len(cuts) + missing]]
            continue
        size = shape[len(cuts)]
        if step == 0:
            raise site.error("has a stride of 0")
        if flag("shrink_axis_mask", k):
            at = begin + size if begin < 0 else begin
            if not 0 <= at < size:
                raise site.error(f"takes element {begin} of an axis of {size}")
            cuts.append((at, at + 1, 1))
            continue
        end = begin + end if options.integer("offset") else end
        cut = slice(None if flag("begin_mask", k) else begin,
                    None if flag("end_mask", k) else end, step).indices(size)
        cuts.append(cut)
        result.append(len(range(*cut)))
    result += shape[len(cuts):]
    cuts += [(0, d, 1) for d in shape[len(cuts):]]
    return cuts, result


def _gather(site: Site) -> None:
    options = site.options("GatherOptions")
    if options.integer("batch_dims"):
        raise site.unsupported(f"has batch_dims {options.integer('batch_dims')}; only 0 is read")
    axis = axis_of(site, options.integer("axis"), len(site.shape(0)))
    _check_indices(site, 1, site.shape(0)[axis])
    indices = site.value(1)
    site.carry(lambda v: site.op("Gather", v, indices, axis=axis))


def _embedding_lookup(site: Site) -> None:
    """EMBEDDING_LOOKUP: (rows, table)."""
    _check_indices(site, 0, site.shape(1)[0] if site.shape(1) else 0)
    indices = site.value(0)
    site.carry(lambda v: site.op("Gather", v, indices, axis=0), 1)


def _check_indices(site: Site, k: int, size: int) -> None:
    array = site.constant(k)
    if array is not None and array.size and not (array.min() >= 0 and array.max() < size):
        raise site.error(f"takes elements {array.min()} to {array.max()} of an axis of {size}")


def _reverse(site: Site) -> None:
    axes = [axis_of(site, a, len(site.shape(0))) for a in site.known(1, "axes")]
    ends = [-site.shape(0)[a] - 1 for a in axes]
    site.carry(lambda v: site.op("Slice", v, site.g.ints(*[-1] * len(axes)), site.g.ints(*ends),
                                 site.g.ints(*axes), site.g.ints(*[-1] * len(axes))))


def _tile(site: Site) -> None:
    repeats = site.known(1, "repeats")
    if len(repeats) != len(site.shape(0)) or min(repeats, default=0) < 0:
        raise site.error(f"repeats {list(site.shape(0))} by {repeats}")
    _check_size(site, [d * r for d, r in zip(site.shape(0), repeats)])
    site.carry(lambda v: site.op("Tile", v, site.g.ints(*repeats)))


def _broadcast_to(site: Site) -> None:
    shape = site.known(1, "shape")
    _check_size(site, shape)
    site.carry(lambda v: site.op("Expand", v, site.g.ints(*shape)))


def _fill(site: Site) -> None:
    """FILL: (shape, number)."""
    shape = site.known(0, "shape")
    _check_size(site, shape)
    site.carry(lambda v: site.op("Expand", v, site.g.ints(*shape)), 1)


def _check_size(site: Site, shape: Sequence[int]) -> None:
    if min(shape, default=0) < 0 or prod(shape) > MAX_ELEMENTS:
        raise site.error(f"asks for the shape {list(shape)[:30]}; sizes must not be negative, and "
                         f"their product at most {MAX_ELEMENTS}")


def _shape(site: Site) -> None:
    site.put(site.g.constant(np.asarray(site.shape(0), site.output().dtype.numpy()), "shape"))


def _densify(site: Site) -> None:
    """DENSIFY: sparse constants are written out as they are read."""
    site.put(site.value(0))


ROWS: Mapping[str, Rule] = {
    "DENSIFY": _densify,
    "RESHAPE": _reshape, "SQUEEZE": _squeeze, "EXPAND_DIMS": _expand_dims,
    "TRANSPOSE": _transpose, "PAD": _pad, "PADV2": _pad, "MIRROR_PAD": _mirror_pad,
    "CONCATENATION": _concatenation, "PACK": _pack, "SPLIT": _split, "SPLIT_V": _split_v,
    "UNPACK": _unpack, "SLICE": _slice, "STRIDED_SLICE": _strided_slice, "GATHER": _gather,
    "EMBEDDING_LOOKUP": _embedding_lookup, "REVERSE_V2": _reverse, "TILE": _tile,
    "BROADCAST_TO": _broadcast_to, "FILL": _fill, "SHAPE": _shape,
}
