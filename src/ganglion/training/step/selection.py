"""Which weights a run of training changes: the words of `trainable=`.

A text is a pattern (`*`, `?`, `[...]`) that is held against the names of weights and of layers;
"biases" and `biases()` mean everything that is added; `last(k)` means the last k layers. A list
means all that any of them names, less what a text behind "!" names. Whatever is not named is
frozen: a constant of the step. A weight that is frozen by itself (`weights.frozen`) is trained
where its full name is given.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import onnx_ir as ir

from ganglion.errors import DataError
from ganglion.ops import marks
from ganglion.ops.base import Moves
from ganglion.ops.exported import is_float
from ganglion.ops.facts import added_to, is_conversion, is_op, is_rearranged, movement
from ganglion.ops.marks import TRAINABLE
from ganglion.ops.named import BATCH_NORMALIZATION
from ganglion.training.step.weights import statistics, trainable


@dataclass(frozen=True)
class Biases:
    """Everything that is added: biases, and the shift of a normalisation."""


@dataclass(frozen=True)
class Last:
    """The last `blocks` layers that hold trainable weights, in the order of computation; what
    normalises a layer's result belongs to its block."""

    blocks: int

    def __post_init__(self) -> None:
        if not isinstance(self.blocks, int) or self.blocks < 1:
            raise DataError(f"last({self.blocks!r}): expected a whole number of blocks from 1 up")


Selector = str | Biases | Last
Selection = Selector | Sequence[Selector] | None
"""What `trainable=` takes; None means every weight that can be trained."""


def biases() -> Biases:
    """All biases, as `trainable=`: training needs no activations for them but those of the
    activation functions (Cai et al., "TinyTL", NeurIPS 2020, section 3.1)."""
    return Biases()


def last(blocks: int) -> Last:
    """The last `blocks` layers, as `trainable=`. Raises DataError below 1."""
    return Last(blocks)


def select(model: ir.Model, given: Selection) -> tuple[list[ir.Value], frozenset[ir.Value]]:
    """The weights of the Model to train, in its order, and those of them whose normalisation
    learns from its batches.

    A BatchNormalization learns when all its own trainable weights are chosen, or, having none,
    when its layer is; another one is marked frozen on the Model itself, and keeps its running
    statistics, as a Keras layer with trainable=False does.
    Raises DataError for what is no selector, and for one that names nothing.
    """
    given = None if given is None else _listed(given)
    weights = _candidates(model, given or ())
    if given is None:
        _let_normalise(model, weights)
        return weights, frozenset(weights)
    wanted: set[ir.Value] = set()
    layers: set[str] = set()
    for selector in [s for s in given if not _takes_away(s)] or ["*"]:
        wanted |= _matching(model, weights, selector)
        layers |= {n for n in _layers(model) if isinstance(selector, str)
                   and fnmatchcase(n, selector)}
    for selector in filter(_takes_away, given):
        wanted -= _matching(model, weights, str(selector)[1:])
    frozen: set[ir.Value] = set()
    for node in model.graph:
        if is_op(node, BATCH_NORMALIZATION):
            own = [v for v in node.inputs[1:3] if v in weights]
            if own and not wanted.issuperset(own):
                frozen.update(v for v in own if v is not None)
            elif not own and layer_of(node) not in layers:
                node.metadata_props[TRAINABLE] = "false"
    _let_normalise(model, weights)
    return [w for w in weights if w in wanted], frozenset(wanted - frozen)


def _takes_away(selector: Selector) -> bool:
    return isinstance(selector, str) and selector.startswith("!")


def _candidates(model: ir.Model, given: Sequence[Selector]) -> list[ir.Value]:
    """What can be chosen from: what is trained by itself, and what is named in full."""
    weights = set(trainable(model)) | {v for name in given if isinstance(name, str)
                                       and (v := model.graph.initializers.get(name)) is not None
                                       and is_float(v)}
    return [v for v in model.graph.initializers.values()
            if v in weights and v not in statistics(model)]


def _let_normalise(model: ir.Model, weights: Sequence[ir.Value]) -> None:
    """Marks a BatchNormalization without weights of its own, and not of a layer that decides
    about it, as one that learns its statistics."""
    if any(TRAINABLE in v.metadata_props for v in model.graph.initializers.values()):
        return
    for node in model.graph:
        if (is_op(node, BATCH_NORMALIZATION)
                and not any(v in weights for v in node.inputs[1:3])):
            node.metadata_props.setdefault(TRAINABLE, "true")


def layer_of(node: ir.Node) -> str:
    """The layer that a node belongs to, or the path in front of its name, or the name."""
    name = str(node.name).strip("/")
    return node.metadata_props.get(marks.LAYER) or name.rpartition("/")[0] or name


def _listed(given: Selector | Sequence[Selector]) -> list[Selector]:
    listed = [given] if isinstance(given, str | Biases | Last) else given
    if not isinstance(listed, list | tuple) or not listed or not all(
            isinstance(s, str | Biases | Last) for s in listed):
        raise DataError(f"trainable={given!r}: expected a pattern such as 'dense*', 'biases', "
                        "last(2), or a list of them")
    return [Biases() if s == "biases" else s for s in listed]


def _matching(model: ir.Model, weights: Sequence[ir.Value], selector: Selector) -> set[ir.Value]:
    """The weights that a selector names; DataError when there are none."""
    if isinstance(selector, Last):
        return _last(model, weights, selector.blocks)
    if isinstance(selector, Biases):
        found = {w for w in weights if _is_added(w)}
        known = "the network has none: no trained weight is added to anything"
    else:
        found = {w for w in weights if any(fnmatchcase(n, selector) for n in _names(w))}
        if not found and any(fnmatchcase(n, selector) for n in _layers(model)):
            return set()
        known = _nearest(selector, {n for w in weights for n in _names(w)})
    if not found:
        raise DataError(f"trainable={selector!r} names no trainable weight and no layer with one; "
                        f"{known}")
    return found


def _nearest(selector: str, names: Iterable[str]) -> str:
    ordered = sorted(names)
    near = difflib.get_close_matches(selector, ordered, n=3, cutoff=0.4)
    if near:
        return f"the nearest names are {', '.join(map(repr, near))}"
    return f"there are {', '.join(map(repr, ordered[:12]))}"


def _names(weight: ir.Value) -> set[str]:
    """A weight's own name, every path in front of it, and the layers that read it."""
    name = str(weight.name)
    ends = [m.start() for m in re.finditer(r"[/.]", name)]
    return {name, *(name[:end] for end in ends if end), *(layer_of(n) for n, _ in _readers(weight))}


def _layers(model: ir.Model) -> set[str]:
    """The layers that normalise by a batch: they may be named without a weight of their own."""
    return {layer_of(n) for n in model.graph if is_op(n, BATCH_NORMALIZATION)}


def _readers(weight: ir.Value) -> list[tuple[ir.Node, int]]:
    """The nodes that use a weight, and at which input, seen through what only moves it."""
    found, stack = [], [weight]
    while stack:
        for use in stack.pop().uses():
            if is_rearranged(use.node) or movement(use.node) is Moves.JOIN \
                    or is_conversion(use.node):
                stack.extend(use.node.outputs)
            else:
                found.append((use.node, use.idx))
    return found


def _is_added(weight: ir.Value) -> bool:
    readers = _readers(weight)
    return bool(readers) and all(k in added_to(n) for n, k in readers)


def _last(model: ir.Model, weights: Sequence[ir.Value], count: int) -> set[ir.Value]:
    place = {node: i for i, node in enumerate(model.graph)}
    blocks: list[tuple[str, set[ir.Value]]] = []
    first = {w: min(((place[n], n) for n, _ in _readers(w)), key=lambda at: at[0])
             for w in weights if _readers(w)}
    for weight, (_, node) in sorted(first.items(), key=lambda item: item[1][0]):
        name = layer_of(node)
        joins = blocks and (blocks[-1][0] == name or "Normalization" in node.op_type)
        if not joins:
            blocks.append((name, set()))
        blocks[-1][1].add(weight)
    if count > len(blocks):
        raise DataError(f"trainable=last({count}): the network has trainable weights in "
                        f"{len(blocks)} of its layers: {', '.join(name for name, _ in blocks)}")
    return {w for _, block in blocks[-count:] for w in block}
