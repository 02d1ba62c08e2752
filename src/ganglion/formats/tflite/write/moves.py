"""Operators that only move numbers: codes stay codes, and a Transpose is no operator at all."""

from collections.abc import Mapping

import numpy as np

from ganglion.errors import ModelError
from ganglion.formats.tflite.write.products import padded
from ganglion.formats.tflite.write.site import Rule, Site, constant_of, plain
from ganglion.ops.attr import get_str
from ganglion.ops.values import static_shape


def alias(site: Site) -> None:
    """Identity, and Dropout when not training: the same tensor."""
    held = site.held(0)
    site.put(held.tensor, held.perm)


def transpose(site: Site) -> None:
    """The same tensor, its axes called otherwise."""
    order = site.wholes("perm", list(reversed(range(site.rank))))
    held = site.held(0)
    site.put(held.tensor, tuple(order.index(axis) for axis in held.perm))


def reshape(site: Site) -> None:
    """Reshape, Flatten."""
    site.put(site.reshaped(site.moved(), static_shape(site.node.outputs[0])))


def squeeze(site: Site) -> None:
    """Squeeze: the axes of size 1 go, the others stay in the order in which they are stored."""
    held, shape = site.held(0), site.shape(0)
    gone = [a % site.rank for a in site.known(1, "axes")] if site.has(1) else [
        a for a, n in enumerate(shape) if n == 1]
    kept = [a for a in held.perm if a not in gone]
    order = sorted(kept)
    site.put(site.reshaped(held.tensor, [shape[a] for a in kept]),
             tuple(order.index(a) for a in kept))


def unsqueeze(site: Site) -> None:
    """Unsqueeze: the others stay in the order in which they are stored."""
    held, out = site.held(0), static_shape(site.node.outputs[0])
    new = sorted(a % len(out) for a in site.known(1, "axes"))
    rest = [a for a in range(len(out)) if a not in new]
    perm = [rest[a] for a in held.perm]
    for axis in new:
        perm.insert(axis, axis)
    site.put(site.reshaped(held.tensor, [out[a] for a in perm]), tuple(perm))


def axis_of(site: Site, k: int = 0, default: int = 0) -> int:
    """The attribute `axis`, counted from the front."""
    axis = site.whole("axis", default)
    return axis + len(site.shape(k)) if axis < 0 else axis


def concat(site: Site) -> None:
    """Concat; codes of different scales are requantised first, as the operator needs."""
    axis, count = axis_of(site), len(site.node.inputs)
    quants = [site.quant(k) for k in range(count)]
    aim = quants[0] if all(q == quants[0] for q in quants) else None
    if aim is None and all(q is not None for q in quants):
        aim = site.aim()
    perm = next((site.held(k).perm for k in range(count) if site.constant(k) is None),
                plain(site.rank))
    tensors = [site.values.with_quant(site.moved(k, perm), aim, site.name) for k in range(count)]
    shape = tuple(static_shape(site.node.outputs[0])[k] for k in perm)
    y = site.op("CONCATENATION", tensors, shape,
                ("ConcatenationOptions", {"axis": perm.index(axis)}), like=tensors[0])
    site.put(y, perm)


def pad(site: Site) -> None:
    """Pad with a constant, or by reflection."""
    rank, mode = site.rank, get_str(site.attrs, "mode", "constant")
    pads = site.known(1, "pads")
    axes = [a % rank for a in site.known(3, "axes")] if site.has(3) else list(range(rank))
    widths = {a: (pads[k], pads[k + len(axes)]) for k, a in enumerate(axes)}
    if any(n < 0 for n in pads):
        raise site.unsupported(f"has negative pads {pads}; use Slice")
    held = site.held(0)
    ordered = [widths.get(axis, (0, 0)) for axis in held.perm]
    if mode == "constant":
        array = site.constant(2)
        if site.has(2) and array is None:
            raise site.unsupported("its fill is computed; a constant is needed")
        fill = 0.0 if array is None else float(array.reshape(-1)[0])
        site.put(padded(site, held.tensor, ordered, fill), held.perm)
        return
    if mode != "reflect":
        raise site.unsupported(f"pads by mode {mode!r}; constant and reflect are written")
    source = site.flat.tensors[held.tensor]
    shape = [a + n + b for n, (a, b) in zip(source.shape, ordered)]
    margins = site.flat.constant(np.asarray(ordered, np.int32), "margins")
    site.put(site.op("MIRROR_PAD", [held.tensor, margins], shape, ("MirrorPadOptions", {"mode": 0}),
                     like=held.tensor), held.perm)


def slices(site: Site) -> None:
    """Slice as STRIDED_SLICE, behind a REVERSE_V2 where it walks backwards."""
    shape, rank = site.shape(0), site.rank
    starts, ends = site.known(1, "starts"), site.known(2, "ends")
    axes = [a % rank for a in site.known(3, "axes")] if site.has(3) else list(range(len(starts)))
    steps = site.known(4, "steps") if site.has(4) else [1] * len(starts)
    cuts = {a: slice(b, e, s).indices(shape[a]) for a, b, e, s in zip(axes, starts, ends, steps)}
    held = site.held(0)
    tensor, ordered = held.tensor, []
    for place, a in enumerate(held.perm):
        begin, end, step = cuts.get(a, (0, shape[a], 1))
        if step < 0:
            tensor = turned_round(site, tensor, place)
            begin, end, step = shape[a] - 1 - begin, shape[a] - 1 - end, -step
        ordered.append((begin, end, step))
    out = tuple(static_shape(site.node.outputs[0])[a] for a in held.perm)
    if out != site.flat.tensors[tensor].shape:
        parts = [site.flat.ints(*(cut[n] for cut in ordered)) for n in range(3)]
        tensor = site.op("STRIDED_SLICE", [tensor, *parts], out, ("StridedSliceOptions", {}),
                         like=tensor)
    site.put(tensor, held.perm)


def turned_round(site: Site, tensor: int, axis: int) -> int:
    """The tensor from the last place of an axis to the first."""
    return site.op("REVERSE_V2", [tensor, site.flat.ints(axis)], site.flat.tensors[tensor].shape,
                   ("ReverseV2Options", {}), like=tensor)


def split(site: Site) -> None:
    """Split as SPLIT, or SPLIT_V where the parts differ."""
    axis, held = axis_of(site), site.held(0)
    shapes = [static_shape(v) for v in site.node.outputs]
    source = site.flat.tensors[held.tensor]
    made = [site.tensor(tuple(s[a] for a in held.perm), source.quant, source.dtype)
            for s in shapes]
    place = site.flat.constant(np.asarray(held.perm.index(axis), np.int32), "axis")
    count = {"num_splits": len(made)}
    if len(set(shapes)) == 1:
        site.flat.op("SPLIT", [place, held.tensor], made, ("SplitOptions", count), site.name)
    else:
        site.flat.op("SPLIT_V", [held.tensor, site.flat.ints(*(s[axis] for s in shapes)), place],
                     made, ("SplitVOptions", count), site.name)
    for k, tensor in enumerate(made):
        site.put(tensor, held.perm, k)


def gather(site: Site) -> None:
    """Gather; constant indices from the end are counted from the front."""
    axis, rank = axis_of(site), site.rank
    indices = constant_of(site.value(1))
    x = site.moved()
    if indices is None:
        places = site.moved(1)
    else:
        size = site.shape(0)[axis]
        places = site.flat.constant(np.where(indices < 0, indices + size, indices).astype(np.int32),
                                    site.values.fresh("indices"))
    if not 0 <= axis < rank:
        raise ModelError(f"node {site.name!r} gathers along axis {axis} of {rank}")
    site.put(site.op("GATHER", [x, places], static_shape(site.node.outputs[0]),
                     ("GatherOptions", {"axis": axis}), like=x))


def expand(site: Site) -> None:
    """Expand as BROADCAST_TO."""
    out = static_shape(site.node.outputs[0])
    shape = site.shape(0)
    x = site.reshaped(site.moved(), (*[1] * (len(out) - len(shape)), *shape))
    site.put(site.op("BROADCAST_TO", [x, site.flat.ints(*out)], out, ("BroadcastToOptions", {}),
                     like=x))


def tile(site: Site) -> None:
    """Tile."""
    counts, held = site.known(1, "repeats"), site.held(0)
    out = tuple(static_shape(site.node.outputs[0])[a] for a in held.perm)
    site.put(site.op("TILE", [held.tensor, site.flat.ints(*(counts[a] for a in held.perm))], out,
                     ("TileOptions", {}), like=held.tensor), held.perm)


ROWS: Mapping[str, Rule] = {
    "Identity": alias, "Dropout": alias, "Transpose": transpose, "Reshape": reshape,
    "Flatten": reshape, "Squeeze": squeeze, "Unsqueeze": unsqueeze, "Concat": concat, "Pad": pad,
    "Slice": slices, "Split": split, "Gather": gather, "Expand": expand, "Tile": tile}
