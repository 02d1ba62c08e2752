"""State: an output that becomes an input at the next call (`TrainingInfoProto` in the ONNX IR).

A bound input is a graph input that is also an initializer: its const_value is the state's first
value, and ONNX lets a caller override it. So whatever folds constants must leave alone every
initializer for which `is_graph_input()` holds. The bindings stand in the Model's metadata under
`marks.BINDINGS`, as a JSON list of [output name, input name], in the order of the state block.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from ganglion.errors import ModelError
from ganglion.ops import marks


@dataclass(frozen=True)
class Binding:
    """The value of graph output `output` is the value of graph input `input` at the next call."""

    output: str
    input: str


def bindings(model: ir.Model) -> tuple[Binding, ...]:
    """The Model's bindings, none for a Model without state.

    Raises ModelError when the metadata is malformed or names what the graph does not have.
    """
    text = model.metadata_props.get(marks.BINDINGS)
    if text is None:
        return ()
    try:
        pairs = json.loads(text)
    except json.JSONDecodeError as error:
        raise ModelError(f"metadata {marks.BINDINGS!r} is not JSON: {error}") from error
    if not (isinstance(pairs, list) and all(
            isinstance(p, list) and len(p) == 2 and all(isinstance(n, str) for n in p)
            for p in pairs)):
        raise ModelError(f"metadata {marks.BINDINGS!r} is {text[:80]!r}; expected a JSON list of "
                         '["output name", "input name"]')
    found = tuple(Binding(output, name) for output, name in pairs)
    _check(model, found)
    return found


def set_bindings(model: ir.Model, bound: Iterable[Binding]) -> None:
    """Writes the bindings into the Model's metadata, replacing those it had.

    Raises ModelError when an output or input does not exist, is bound twice, has no first value,
    or when dtype or shape of the two differ.
    """
    found = tuple(bound)
    _check(model, found)
    if found:
        model.metadata_props[marks.BINDINGS] = json.dumps([[b.output, b.input] for b in found])
    else:
        model.metadata_props.pop(marks.BINDINGS, None)


def initial_value(model: ir.Model, binding: Binding) -> ir.TensorProtocol:
    """The first value of a bound input; ModelError when it has none."""
    value = model.graph.initializers.get(binding.input)
    if value is None or value.const_value is None:
        raise ModelError(f"bound input {binding.input!r} has no first value; register it as an "
                         "initializer of the graph")
    return value.const_value


def _check(model: ir.Model, found: tuple[Binding, ...]) -> None:
    inputs = {v.name: v for v in model.graph.inputs}
    outputs = {v.name: v for v in model.graph.outputs}
    for names, role in (([b.input for b in found], "input"),
                        ([b.output for b in found], "output")):
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ModelError(f"{role} {twice[0]!r} is bound twice; a binding joins one output to "
                             "one input")
    for b in found:
        if b.input not in inputs:
            raise ModelError(f"bound input {b.input!r} is not a graph input; the graph has "
                             f"{sorted(str(n) for n in inputs)}")
        if b.output not in outputs:
            raise ModelError(f"bound output {b.output!r} is not a graph output; the graph has "
                             f"{sorted(str(n) for n in outputs)}")
        initial_value(model, b)
        source, target = outputs[b.output], inputs[b.input]
        if source.dtype != target.dtype or source.shape != target.shape:
            raise ModelError(
                f"output {b.output!r} is {source.dtype} {source.shape} but the input {b.input!r} "
                f"that it is bound to is {target.dtype} {target.shape}; they must be equal")
