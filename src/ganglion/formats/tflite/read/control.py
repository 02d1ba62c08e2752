"""WHILE of TensorFlow Lite, written out: its body once an iteration, as for a Loop of ONNX.

Its condition must be known while reading: it follows from constants and shapes, as where a
recurrent layer counts its steps.
"""

from collections.abc import Callable, Mapping, Sequence

import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.formats.limits import MAX_ITERATIONS
from ganglion.formats.tflite.read.site import Site, Values

Run = Callable[[Values, int, Sequence[ir.Value]], list[ir.Value]]
"""Converts the subgraph of this number once more, given its inputs; its outputs."""


def while_loop(site: Site, run: Run) -> None:
    """WHILE: the values that it carries, until its condition says no."""
    options = site.options("WhileOptions")
    condition, body = (options.integer(f"{n}_subgraph_index") for n in ("cond", "body"))
    carried = [site.value(k) for k in range(site.count)]
    for _ in range(MAX_ITERATIONS):
        if not _goes_on(site, run(site.values, condition, carried)):
            break
        carried = run(site.values, body, carried)
        if len(carried) != site.count:
            raise site.error(f"carries {site.count} values, and its body gives {len(carried)}")
    else:
        raise site.unsupported(f"runs more than {MAX_ITERATIONS} times, which is too often to be "
                               "written out; export recurrent layers as LSTM or RNN operators")
    if len(site.operator.outputs) > len(carried):
        raise site.error(f"has {len(site.operator.outputs)} outputs and carries {len(carried)}")
    for k in range(len(site.operator.outputs)):
        site.put(carried[k], k)


def _goes_on(site: Site, answers: Sequence[ir.Value]) -> bool:
    held = answers[0].const_value if len(answers) == 1 else None
    if held is None or held.size != 1:
        raise site.unsupported("ends when its data say so; only loops whose number of iterations "
                               "follows from constants and shapes are read")
    return bool(held.numpy().reshape(-1)[0])


def require_outside(number: int, running: Sequence[int]) -> None:
    """Raises ModelError for a subgraph that runs itself."""
    if number in running:
        raise ModelError(f"subgraph {number} runs itself, so that it never ends")


RULES: Mapping[str, Callable[[Site, Run], None]] = {"WHILE": while_loop}
"""Operators that run subgraphs."""
