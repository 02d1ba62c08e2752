"""Transposes meet and cancel."""

import onnx_ir as ir

from ganglion.ops.facts import is_op
from ganglion.ops.graph import GraphBuilder
from ganglion.ops.movement import permutation
from ganglion.ops.named import DROPOUT, TRANSPOSE
from ganglion.passes.base import Pass, before, elements, put, redirect, sweep
from ganglion.passes.simplify.transposable import Moved, Perm, Site, rule_of


class CancelTransposes(Pass):
    """Transpose(p) → Relu → Transpose(p⁻¹)  ⇒  Relu

    Each Transpose is moved behind its readers as far as `transposable.rule_of` allows: through
    element-wise operators (per-channel constants are permuted), Concat, Pad, Slice, reductions,
    Softmax and quantisation with their axes renamed. Where it meets another, the two become one,
    or none. The result is kept only when fewer elements are moved than before, so a Transpose
    that meets nothing stays where it was. Exact, save that reductions may add in another order.
    """

    def rewrite(self, model: ir.Model) -> bool:
        trial = model.clone()
        if not _sink(trial, self):
            return False
        sweep(trial)
        if _moved(trial) >= _moved(model):
            return False
        return _sink(model, self)


def _moved(model: ir.Model) -> tuple[int, int]:
    """Elements that the Transposes of the graph move, and how many Transposes there are."""
    total = count = 0
    for node in model.graph:
        if is_op(node, TRANSPOSE) and node.inputs[0] is not None:
            # A dimension that is not known yet counts as large.
            shape = tuple(d if isinstance(d, int) else 1000 for d in node.inputs[0].shape or ())
            order = [k for k in permutation(node) if shape[k] != 1]
            total += elements(shape) if order != sorted(order) else 0
            count += 1
    return total, count


def _sink(model: ir.Model, reads: Pass) -> bool:
    """Moves every Transpose towards the outputs as far as it goes, merging those that meet."""
    g, changed, again = GraphBuilder.extending(model), False, True
    while again:
        again = False
        for node in list(model.graph):
            if node.graph is not None and is_op(node, TRANSPOSE):
                again |= _advance(g, node, reads)
        changed |= again
    return changed


def _advance(g: GraphBuilder, node: ir.Node, reads: Pass) -> bool:
    source, out, perm = node.inputs[0], node.outputs[0], permutation(node)
    if source is None or source.shape is None:
        return False
    if perm == tuple(range(len(perm))):
        return _drop(node) if redirect(out, source) else False
    changed = False
    for use in list(out.uses()):
        reader = use.node
        if reader.graph is None:
            continue
        site = Site(g, reads, reader, use.idx, source, perm)
        if is_op(reader, TRANSPOSE):
            joined = [perm[k] for k in permutation(reader)]
            changed |= _replace(site, Moved([source], tuple(range(len(joined)))), joined)
        elif (rule := rule_of(reader)) is not None and _simple(reader):
            moved = rule(site)
            changed |= moved is not None and _replace(site, moved)
    if not out.uses() and not out.is_graph_output():
        _drop(node)
    return changed


def _simple(node: ir.Node) -> bool:
    """Only the mask of Dropout is an output that no rule speaks of."""
    return not is_op(node, DROPOUT) or not any(
        v.uses() or v.is_graph_output() for v in node.outputs[1:])


def _replace(site: Site, moved: Moved, joined: list[int] | None = None) -> bool:
    """The reader reads the source instead, and its outputs are transposed back."""
    old, g = site.node, site.g
    attrs = dict(old.attributes)
    for name, number in moved.attrs.items():
        attrs[name] = ir.AttrInt64(name, number)
    if joined is not None:
        attrs["perm"] = ir.AttrInt64s("perm", joined)
    new = ir.node(old.op_type, moved.inputs, attrs, num_outputs=len(old.outputs),
                  name=g.fresh(old.name or old.op_type.lower()))
    new.metadata_props.update(old.metadata_props)
    put(g, old, new)
    for was, now in zip(old.outputs, new.outputs):
        if was.uses() or was.is_graph_output():
            redirect(was, _back(site, now, moved.perm))
    return _drop(old)


def _back(site: Site, value: ir.Value, perm: Perm) -> ir.Value:
    if perm == tuple(range(len(perm))):
        return value
    return before(site.node, site.g.op("Transpose", value, perm=list(perm)))


def _drop(node: ir.Node) -> bool:
    if node.graph is not None:
        node.graph.remove(node, safe=True)
    return True
