"""Control flow written out, so that what is left is one flat graph.

If whose condition is a constant or follows from shapes: the branch that it takes. Another If: both
branches, of which Where picks the outputs, which must have the same shapes. Loop whose end is
known, Scan over axes of a known size: the body, once an iteration. What is known is found by
folding what a value depends on.
"""

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from itertools import count

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from ganglion.errors import ModelError, UnsupportedOp
from ganglion.formats.limits import MAX_ITERATIONS, Limits
from ganglion.formats.onnx.safety import graphs, held
from ganglion.ops.shapes import Shapes, with_shapes
from ganglion.passes.simplify.fold_constants import FoldConstants

Normalise = Callable[[ir.Model], None]
"""Brings a flat graph to the project's own opset, in place, and infers its types."""
ADVICE = ("give the sizes of its inputs with load(path, shapes=...), or export the network with "
          "static control flow, recurrent layers as LSTM, GRU or RNN nodes")
MAX_DEPENDS = 200
"""Nodes that a value carried by a loop may depend on to be computed while reading."""


def write_out(proto: onnx.ModelProto, normalise: Normalise, limits: Limits,
              shapes: Shapes | None = None) -> None:
    """Writes out every If, Loop and Scan of the graph, in place, the nodes in order.

    Raises UnsupportedOp naming the node whose end or whose branch is not known, ModelError beyond
    `limits` and for a body that does not fit its node.
    """
    if not any(map(held, proto.graph.node)):
        return
    _Writer(proto, normalise, limits, shapes or {}).run()


class _Writer:
    def __init__(self, proto: onnx.ModelProto, normalise: Normalise, limits: Limits,
                 shapes: Shapes) -> None:
        self._proto, self._normalise = proto, normalise
        self._limits, self._shapes = limits, shapes
        self._done: list[onnx.NodeProto] = []
        self._makers: dict[str, int] = {}
        self._constants = {t.name: t for t in proto.graph.initializer}
        self._inputs = {v.name: v for v in proto.graph.input}
        self._numbers = count()
        self._names = _all_names(proto.graph)

    def run(self) -> None:
        graph = self._proto.graph
        for node in graph.node:
            self._add(node)
        del graph.node[:]
        graph.node.extend(self._done)
        del graph.initializer[:]
        graph.initializer.extend(self._constants.values())

    def _add(self, node: onnx.NodeProto) -> None:
        """Appends a node, written out where it holds graphs."""
        if not held(node):
            self._makers.update(dict.fromkeys(filter(None, node.output), len(self._done)))
            self._done.append(node)
            self._limits.check_nodes(len(self._done), "the network, its loops written out,")
        elif node.op_type == "If" and node.domain in ("", "ai.onnx"):
            self._branch(node)
        elif node.op_type == "Loop" and node.domain in ("", "ai.onnx"):
            self._loop(node)
        elif node.op_type == "Scan" and node.domain in ("", "ai.onnx") and self._opset() >= 9:
            self._scan(node)
        else:
            raise UnsupportedOp(f"node {node.name!r} ({node.op_type}) holds a subgraph, and only "
                                f"If, Loop and Scan (of opset 9 and newer) are written out: "
                                f"{ADVICE}")

    def _branch(self, node: onnx.NodeProto) -> None:
        bodies = {a.name: a.g for a in node.attribute if a.HasField("g")}
        if set(bodies) != {"then_branch", "else_branch"} or len(node.input) != 1:
            raise ModelError(f"node {node.name!r} (If) lacks its condition or one of its branches")
        known = self._known(node.input[0])
        if known is not None:
            taken = bodies["then_branch" if known.reshape(-1)[:1].any() else "else_branch"]
            for name, made in zip(node.output, self._inner(node, taken, []), strict=True):
                self._op("Identity", [made], name)
            return
        both = [self._inner(node, bodies[name], []) for name in ("then_branch", "else_branch")]
        flag = self._op("Reshape", [node.input[0], self._constant(np.zeros(0, np.int64))])
        for name, first, second in zip(node.output, *both, strict=True):
            pair = [first, second]
            kinds = [(v.dtype, v.shape) for v in self._values(pair, self._depends(pair))]
            if kinds[0] != kinds[1] or not _fixed(kinds[0][1]):
                raise UnsupportedOp(f"node {node.name!r} (If) chooses by its data between "
                                    f"{kinds[0][1]} and {kinds[1][1]}; only tensors of one known "
                                    f"shape can be chosen between: {ADVICE}")
            self._op("Where", [flag, first, second], name)

    def _loop(self, node: onnx.NodeProto) -> None:
        body = held(node)[0]
        carried = list(node.input[2:])
        results, left = len(carried), self._trips(node)
        if len(body.input) != results + 2 or len(body.output) < results + 1 or \
                len(node.output) > len(body.output) - 1:
            raise ModelError(f"node {node.name!r} (Loop) carries {results} values, and its body "
                             f"takes {len(body.input)} and gives {len(body.output)}")
        rows: list[list[str]] = [[] for _ in body.output[results + 1:]]
        going = not node.input[1] or self._decided(node, node.input[1])
        k = 0
        while going and (left is None or k < left):
            _check_iterations(node, k + 1)
            given = [self._constant(np.asarray(k, np.int64)), self._constant(np.asarray(True))]
            made = self._inner(node, body, [*given, *carried])
            going = self._decided(node, made[0])
            carried = self._settled(made[1:results + 1])
            for row, value in zip(rows, made[results + 1:]):
                row.append(value)
            k += 1
        self._finish(node, carried, rows, [0] * len(rows))

    def _scan(self, node: onnx.NodeProto) -> None:
        body = held(node)[0]
        results = len(node.input) - sum(a.i for a in node.attribute if a.name == "num_scan_inputs")
        gathered = len(body.output) - results
        if not 0 <= results < len(node.input) or len(body.input) != len(node.input) or \
                gathered < 0 or len(node.output) > len(body.output):
            raise ModelError(f"node {node.name!r} (Scan) carries {results} of {len(node.input)} "
                             f"inputs, and its body takes {len(body.input)} and gives "
                             f"{len(body.output)}")
        scanned = list(node.input[results:])
        axes = _each(node, "scan_input_axes", len(scanned))
        backwards = _each(node, "scan_input_directions", len(scanned))
        steps = self._steps(node, scanned, axes)
        carried, rows = list(node.input[:results]), [list[str]() for _ in range(gathered)]
        for k in range(steps):
            places = [steps - 1 - k if back else k for back in backwards]
            cut = [self._op("Gather", [x, self._constant(np.asarray(at, np.int64))], axis=axis)
                   for x, at, axis in zip(scanned, places, axes)]
            made = self._inner(node, body, [*carried, *cut])
            carried = self._settled(made[:results])
            for row, value in zip(rows, made[results:]):
                row.append(value)
        turned = _each(node, "scan_output_directions", gathered)
        self._finish(node, carried, [row[::-1] if back else row for row, back in zip(rows, turned)],
                     _each(node, "scan_output_axes", gathered))

    def _steps(self, node: onnx.NodeProto, scanned: Sequence[str], axes: Sequence[int]) -> int:
        """How many entries the scanned inputs have along their axes."""
        shapes = [v.shape for v in self._values(scanned, self._depends(scanned))]
        sizes = [shape[a] if shape is not None and -len(shape) <= a < len(shape) else None
                 for shape, a in zip(shapes, axes)]
        steps = sizes[0]
        if not isinstance(steps, int) or any(size != steps for size in sizes):
            raise UnsupportedOp(f"node {node.name!r} (Scan) goes along axes of the sizes "
                                f"{[str(size) for size in sizes]}, expected one known size: "
                                f"{ADVICE}")
        _check_iterations(node, steps)
        return steps

    def _finish(self, node: onnx.NodeProto, carried: Sequence[str], rows: Sequence[Sequence[str]],
                axes: Sequence[int]) -> None:
        """The node's outputs: what was carried, then each row of values along a new axis."""
        if not all(rows):
            raise UnsupportedOp(f"node {node.name!r} ({node.op_type}) runs no iteration, so that "
                                "what it gathers is empty; export the network without it")
        for name, value in zip(node.output, carried):
            if name:
                self._op("Identity", [value], name)
        for name, row, axis in zip(node.output[len(carried):], rows, axes):
            if name:
                self._op("Concat", [self._unsqueezed(v, axis) for v in row], name, axis=axis)

    def _unsqueezed(self, value: str, axis: int) -> str:
        if self._opset() < 13:
            return self._op("Unsqueeze", [value], axes=[axis])
        return self._op("Unsqueeze", [value, self._constant(np.asarray([axis], np.int64))])

    def _trips(self, node: onnx.NodeProto) -> int | None:
        """The number of iterations, None where the condition alone ends the loop."""
        if len(node.input) < 2:
            raise ModelError(f"node {node.name!r} (Loop) lacks its condition")
        if not node.input[0]:
            return None
        known = self._known(node.input[0])
        if known is None:
            raise UnsupportedOp(f"node {node.name!r} (Loop) runs as often as its data say: "
                                f"{ADVICE}")
        return int(known.reshape(-1)[0])

    def _decided(self, node: onnx.NodeProto, condition: str) -> bool:
        known = self._known(condition, MAX_DEPENDS)
        if known is None:
            raise UnsupportedOp(f"node {node.name!r} (Loop) ends when its data say so: {ADVICE}")
        return bool(known.reshape(-1)[:1].any())

    def _settled(self, names: Sequence[str]) -> list[str]:
        """The same values, those as constants that are known: counters, mostly."""
        return [name if array is None else self._constant(array)
                for name, array in ((n, self._known(n, MAX_DEPENDS)) for n in names)]

    def _inner(self, node: onnx.NodeProto, body: onnx.GraphProto, given: Sequence[str]
               ) -> list[str]:
        """Appends a body with its own names made new; the names of its outputs."""
        if len(given) != len(body.input):
            raise ModelError(f"node {node.name!r} ({node.op_type}): its body takes "
                             f"{len(body.input)} inputs, {len(given)} expected")
        names = {v.name: new for v, new in zip(body.input, given)}
        for tensor in body.initializer:
            names[tensor.name] = self._constant(tensor)
        for each in body.node:
            names |= {o: self._fresh(o) for o in each.output if o}
        for each in body.node:
            self._add(_renamed(each, names))
        return [names.get(v.name, v.name) for v in body.output]

    def _op(self, kind: str, inputs: Sequence[str], output: str | None = None,
            **attrs: int | Sequence[int]) -> str:
        made = output or self._fresh(kind.lower())
        node = helper.make_node(kind, list(inputs), [made], name=self._fresh(kind))
        node.attribute.extend(helper.make_attribute(k, v) for k, v in attrs.items())
        self._add(node)
        return made

    def _constant(self, array: np.ndarray | onnx.TensorProto) -> str:
        tensor = deepcopy(array) if isinstance(array, onnx.TensorProto) else \
            numpy_helper.from_array(array)
        tensor.name = self._fresh("inner")
        self._constants[tensor.name] = tensor
        return str(tensor.name)

    def _fresh(self, base: str) -> str:
        name = f"{base}_{next(self._numbers)}"
        while name in self._names:
            name = f"{base}_{next(self._numbers)}"
        self._names.add(name)
        return name

    def _opset(self) -> int:
        return next((int(o.version) for o in self._proto.opset_import
                     if o.domain in ("", "ai.onnx")), 0)

    def _known(self, name: str, most: int | None = None) -> np.ndarray | None:
        """The array of a value that depends on no input's numbers; None for another, and for one
        that depends on more than `most` nodes."""
        if name in self._constants and name not in self._inputs:
            return numpy_helper.to_array(self._constants[name])
        nodes = self._depends([name], most)
        if not nodes:
            return None
        maker = self._values([name], nodes)[0].producer()
        source = None if maker is None or maker.op_type != "Identity" else maker.inputs[0]
        constant = None if source is None or source.is_graph_input() else source.const_value
        return None if constant is None else constant.numpy()

    def _values(self, names: Sequence[str], nodes: Sequence[onnx.NodeProto]) -> list[ir.Value]:
        """These values, made by `nodes`, typed, and folded where they can be."""
        read = {i for n in nodes for i in n.input} | set(names)
        outputs = [self._op_of(name) for name in names]
        graph = helper.make_graph(
            [*nodes, *outputs], "part", [v for k, v in self._inputs.items() if k in read],
            [onnx.ValueInfoProto(name=o.output[0]) for o in outputs],
            [t for k, t in self._constants.items() if k in read])
        part = helper.make_model(graph, opset_imports=list(self._proto.opset_import),
                                 ir_version=self._proto.ir_version)
        model = ir.from_proto(part)
        self._normalise(model)
        given = {k: v for k, v in self._shapes.items()
                 if any(k == i.name for i in model.graph.inputs)}
        model = with_shapes(model, given) if given else model
        FoldConstants()(model)
        return list(model.graph.outputs)

    def _op_of(self, name: str) -> onnx.NodeProto:
        """An output of its own, so that a constant and one value twice can be asked for."""
        return helper.make_node("Identity", [name], [self._fresh("asked")])

    def _depends(self, names: Sequence[str], most: int | None = None) -> list[onnx.NodeProto]:
        """The nodes that these values depend on, in order; none where there are more than `most`.
        """
        found: set[int] = set()
        waiting = list(names)
        while waiting:
            k = self._makers.get(waiting.pop())
            if k is not None and k not in found:
                found.add(k)
                waiting += self._done[k].input
                if most is not None and len(found) > most:
                    return []
        return [self._done[k] for k in sorted(found)]


def _each(node: onnx.NodeProto, name: str, count: int) -> list[int]:
    """The numbers of an attribute, one for each of `count` values; 0 where it is left out."""
    found = next((list(a.ints) for a in node.attribute if a.name == name), [0] * count)
    if len(found) != count:
        raise ModelError(f"node {node.name!r} ({node.op_type}): {name} has {len(found)} numbers, "
                         f"expected {count}")
    return found


def _check_iterations(node: onnx.NodeProto, count: int) -> None:
    """Raises UnsupportedOp for more than `MAX_ITERATIONS`."""
    if count > MAX_ITERATIONS:
        raise UnsupportedOp(f"node {node.name!r} ({node.op_type}) runs more than {MAX_ITERATIONS} "
                            f"times, which is too often to be written out: {ADVICE}")


def _fixed(shape: ir.Shape | None) -> bool:
    return shape is not None and all(isinstance(d, int) for d in shape)


def _all_names(graph: onnx.GraphProto) -> set[str]:
    found: set[str] = set()
    for each in graphs(graph.node, graph):
        found |= {v.name for v in (*each.input, *each.initializer, *each.output)}
        for node in each.node:
            found |= {*node.output, node.name}
    return found


def _renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    """A copy of a node that reads and writes new names, in the graphs that it holds too."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    _rename(made.input, names)
    _rename(made.output, names)
    for inner in held(made):
        own = {v.name for v in (*inner.input, *inner.initializer)}
        own |= {o for n in inner.node for o in n.output}
        outer = {old: new for old, new in names.items() if old not in own}
        inner_nodes = [_renamed(n, outer) for n in inner.node]
        del inner.node[:]
        inner.node.extend(inner_nodes)
        for output in inner.output:
            output.name = outer.get(output.name, output.name)
    return made


def _rename(values: Iterable[str], names: dict[str, str]) -> None:
    for k, old in enumerate(list(values)):
        values[k] = names.get(old, old)  # type: ignore[index]
