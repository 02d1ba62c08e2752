"""Structured pruning: whole channels and units removed, so that the network is really smaller."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from ganglion.compression.pruning.channels import Channels, Layer, Line, atom_sets, trace
from ganglion.errors import DataError, ModelError
from ganglion.ops.facts import is_op
from ganglion.ops.graph import require_model
from ganglion.ops.named import BATCH_NORMALIZATION
from ganglion.passes.infer import InferShapes
from ganglion.passes.quantized.qdq import Editor, array_of
from ganglion.passes.simplify.fold_constants import FoldConstants

IMPORTANCES = ("l1", "l2", "bn")


@dataclass(frozen=True)
class ChannelReport:
    """What structured pruning did, by layer (the node's name).

    `removed`: indices of the units taken away. `units`: (before, after). `whole`: layers left as
    they are, and why.
    """

    removed: Mapping[str, tuple[int, ...]]
    units: Mapping[str, tuple[int, int]]
    whole: Mapping[str, str]


def prune_channels(model: ir.Model, fraction: float | Mapping[str, float] = 0.5, *,
                   importance: str = "l1") -> tuple[ir.Model, ChannelReport]:
    """A smaller copy of the Model, without the least important channels and dense units.

    `fraction`: of each layer's units to remove, for all layers or by layer: "conv2d" stands for
    the nodes "conv2d" and "conv2d/...". At least one unit of a layer stays.
    `importance`: "l1" or "l2" norm of a unit's weights, or "bn", the size of its batch
    normalisation's scale (Liu et al., Learning Efficient Convolutional Networks through Network
    Slimming, 2017).
    Everything that depends on a removed unit goes with it: biases, normalisation, the rows of the
    next layers' weights, depthwise filters, the twin channels of a residual sum. Outputs of the
    network never shrink. Layers that cannot be followed stay whole; the report says why.
    Accuracy drops: train on afterwards (`training.fit`).

    Raises DataError for a bad fraction or an unknown layer, ModelError for unfixed inner shapes.
    """
    require_model(model, "prune_channels")
    if importance not in IMPORTANCES:
        raise DataError(f"importance {importance!r} is not one of {', '.join(IMPORTANCES)}")
    copy = model.clone(deep_copy=True)
    InferShapes()(copy)
    FoldConstants()(copy)
    found = trace(copy)
    names = [_name(layer) for layer in found.layers]
    wanted = _wanted(fraction, names)
    scores = _scores(copy, found, importance)
    gone: set[int] = set()
    for together in atom_sets(found, found.layers):
        share = max((wanted.get(_name(layer), 0.0) for layer in together), default=0.0)
        gone |= _least(found, together, share, scores)
    report = _report(found, gone, importance, scores)
    _apply(copy, found, gone)
    InferShapes()(copy)
    return copy, report


def _name(layer: Layer) -> str:
    return layer.node.name or layer.node.op_type


def _wanted(fraction: float | Mapping[str, float], names: list[str]) -> dict[str, float]:
    """The fraction for each layer that has one, by node name."""
    given = fraction if isinstance(fraction, Mapping) else dict.fromkeys(names, fraction)
    found: dict[str, float] = {}
    for name, share in given.items():
        meant = [n for n in names if n == name or n.startswith(f"{name}/")]
        if not meant:
            raise DataError(f"no layer is called {name!r}; the prunable ones are {sorted(names)}")
        if not 0 <= share < 1:
            raise DataError(f"fraction {share} for {name!r} must lie in [0, 1)")
        found.update(dict.fromkeys(meant, share))
    return found


def _scores(model: ir.Model, found: Channels, importance: str) -> dict[int, float]:
    """Importance of each root atom: the mean-normalised norms of all its units, added."""
    scores: dict[int, float] = {}
    sources = _scales(model, found) if importance == "bn" else [
        (layer.atoms, _norms(layer, importance)) for layer in found.layers]
    for atoms, values in sources:
        mean = float(values.mean()) or 1.0
        for atom, value in zip(found.roots(atoms), values):
            scores[int(atom)] = scores.get(int(atom), 0.0) + float(value) / mean
    return scores


def _norms(layer: Layer, importance: str) -> np.ndarray:
    weights = layer.node.inputs[1]
    if weights is None or weights.const_value is None:
        return np.zeros(len(layer.atoms))
    w = array_of(weights).astype(np.float64)
    if not np.isfinite(w).all():
        raise ModelError(f"weights {weights.name!r} hold NaN or infinity; train again from a good "
                         "state before pruning")
    others = tuple(k for k in range(w.ndim) if k != layer.axis)
    if importance == "l1":
        return np.asarray(np.abs(w).sum(axis=others))
    return np.asarray(np.sqrt((w ** 2).sum(axis=others)))


def _scales(model: ir.Model, found: Channels) -> list[tuple[np.ndarray, np.ndarray]]:
    """|gamma| of every batch normalisation."""
    return [(cut.atoms, np.abs(array_of(value)).astype(np.float64)) for cut in found.cuts
            if is_op(cut.node, BATCH_NORMALIZATION) and cut.place == 1
            and (value := cut.node.inputs[1]) is not None]


def _least(found: Channels, together: list[Layer], share: float,
           scores: Mapping[int, float]) -> set[int]:
    """The roots to remove of layers that share atoms: the least important `share` of them."""
    roots = {int(r) for layer in together for r in found.roots(layer.atoms)}
    free = sorted((r for r in roots if r not in found.reasons and r in scores),
                  key=lambda r: (scores[r], r))
    gone = set(free[:int(share * len(roots))])
    for layer in together:
        mine = found.roots(layer.atoms)
        if gone.issuperset(mine.tolist()):
            gone.discard(max(mine.tolist(), key=lambda r: (scores[r], r)))
    return gone


def _report(found: Channels, gone: set[int], importance: str,
            scores: Mapping[int, float]) -> ChannelReport:
    removed, units, whole = {}, {}, {}
    for layer in found.layers:
        roots = found.roots(layer.atoms).tolist()
        out = tuple(k for k, root in enumerate(roots) if root in gone)
        name, count = _name(layer), len(roots)
        units[name] = (count, count - len(out))
        if out:
            removed[name] = out
            continue
        reasons = [found.reasons[r] for r in roots if r in found.reasons]
        if count == 1:
            whole[name] = "it has one unit"
        elif reasons:
            whole[name] = reasons[0]
        elif importance == "bn" and not any(r in scores for r in roots):
            whole[name] = "no batch normalisation follows it"
        else:
            whole[name] = "the fraction asks for no whole unit of it"
    return ChannelReport(removed, units, whole)


def _apply(model: ir.Model, found: Channels, gone: set[int]) -> None:
    edit = Editor.extending(model)
    for cut in found.cuts:
        keep = _kept(found, cut.atoms, gone)
        value = cut.node.inputs[cut.place]
        if value is None or len(keep) == len(cut.atoms):
            continue
        smaller = np.take(array_of(value), keep, axis=cut.axis)
        if len(value.uses()) > 1:
            cut.node.replace_input_with(cut.place, edit.constant(smaller, f"{value.name}_cut"))
            continue
        value.const_value = ir.tensor(np.ascontiguousarray(smaller), name=value.name)
        value.shape = ir.Shape(smaller.shape)
    for node, atoms in found.depthwise:
        node.attributes["group"] = ir.AttrInt64("group", len(_kept(found, atoms, gone)))
    for node, line in found.reshapes:
        _reshape(edit, node, line, len(_kept(found, line.atoms, gone)))


def _kept(found: Channels, atoms: np.ndarray, gone: set[int]) -> np.ndarray:
    return np.array([k for k, root in enumerate(found.roots(atoms)) if int(root) not in gone],
                    np.int64)


def _reshape(edit: Editor, node: ir.Node, line: Line, count: int) -> None:
    """Writes the new number of units into a Reshape's constant shape, where it stands as such."""
    value = node.inputs[1]
    if value is None:
        return
    shape = array_of(value).copy()
    if shape[line.axis] == len(line.atoms) != count:
        shape[line.axis] = count
        node.replace_input_with(1, edit.constant(shape, f"{value.name}_cut"))
