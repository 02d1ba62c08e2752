"""What a Model answers row by row, and what LiteRT answers from a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from ganglion.ops.evaluate import evaluate

Feeds = Mapping[str, np.ndarray]


def rows(model: ir.Model, xs: Sequence[np.ndarray]) -> list[Feeds]:
    """What the inputs of each row alone are."""
    names = [str(v.name) for v in model.graph.inputs]
    return [{n: x[k:k + 1] for n, x in zip(names, xs)} for k in range(len(xs[0]))]


def answers(model: ir.Model, xs: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The outputs for each row alone, as the file computes them."""
    return [evaluate(model, feeds) for feeds in rows(model, xs)]


def largest(a: Sequence[Feeds], b: Sequence[Feeds]) -> float:
    """The largest difference of any output."""
    assert [list(row) for row in a] == [list(row) for row in b]
    return max(float(np.abs(x[k].astype(np.float64) - y[k]).max())
               for x, y in zip(a, b) for k in x)


def litert(path: Path, model: ir.Model, given: Sequence[Feeds], *, reference: bool = False
           ) -> list[dict[str, np.ndarray]]:
    """LiteRT's answers from the file of the Model, one for each set of inputs, by its optimised or
    by its reference operators."""
    lite = pytest.importorskip("ai_edge_litert.interpreter")
    kind = lite.OpResolverType.BUILTIN_REF if reference else lite.OpResolverType.AUTO
    runner = lite.Interpreter(str(path), experimental_op_resolver_type=kind)
    runner.allocate_tensors()
    places = {d["name"]: d["index"] for d in (*runner.get_input_details(),
                                              *runner.get_output_details())}
    found = []
    for feeds in given:
        runner.reset_all_variables()
        for name, x in feeds.items():
            runner.set_tensor(places[name], x)
        runner.invoke()
        found.append({str(v.name): runner.get_tensor(places[str(v.name)])
                      for v in model.graph.outputs})
    return found
