"""Variables of TensorFlow Lite: state that a network reads and writes from call to call.

VAR_HANDLE names a variable, READ_VARIABLE and ASSIGN_VARIABLE follow its value through the network;
CALL_ONCE runs a subgraph before the first call, which gives the first values. What is read before
it is written becomes an input of the Model that is bound to an output.
"""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir
import tflite

from ganglion.errors import ModelError
from ganglion.formats.tflite.file import Network, Operator, Tensor
from ganglion.formats.tflite.read.site import Site, Values
from ganglion.ops.bindings import Binding, set_bindings


def name_of(operator: Operator) -> str:
    """The variable that a VAR_HANDLE stands for."""
    options = operator.options
    if options is None or options.name != "VarHandleOptions":
        raise ModelError(f"operator {operator.index} VAR_HANDLE does not name its variable")
    return "/".join(filter(None, (options.text("container"), options.text("shared_name"))))


def var_handle(site: Site) -> None:
    """VAR_HANDLE: the place of the variable stands for it."""
    place = site.output()
    if place.declared != tflite.TensorType.RESOURCE:
        raise site.error(f"gives a variable as {place.name!r}, which is declared to hold numbers")
    site.values.handles[place.index] = name_of(site.operator)
    site.values.made[place.index] = site.g.constant(np.asarray(0, np.int32), "handle", share=False)


def _variable(site: Site) -> str:
    """The name behind input 0."""
    index = site.operator.inputs[0] if site.operator.inputs else -1
    if index not in site.values.handles:
        raise site.error("its first input is no VAR_HANDLE")
    return site.values.handles[index]


def read_variable(site: Site) -> None:
    """READ_VARIABLE: what was assigned last, in this call or in the one before."""
    name, tensor, state = _variable(site), site.output(), site.values.variables
    if name not in state.now:
        first = _first(site, state.first.get(name), tensor)
        value = site.g.constant(first, name or "variable", share=False)
        site.g.graph.inputs.append(value)
        state.now[name] = state.inputs[name] = value
    site.put(state.now[name])


def _first(site: Site, given: np.ndarray | None, tensor: Tensor) -> np.ndarray:
    if given is not None:
        return given
    if tensor.shape is None:
        raise site.error(f"reads a variable whose size is not known ({tensor.name!r})")
    dtype = ir.DataType.FLOAT if tensor.dtype == ir.DataType.FLOAT16 else tensor.dtype
    zero = 0 if tensor.quantization is None else int(tensor.quantization.zero[0])
    return np.full(tensor.shape, zero, dtype.numpy())


def assign_variable(site: Site) -> None:
    """ASSIGN_VARIABLE: (handle, value)."""
    site.values.variables.now[_variable(site)] = site.value(1)


def call_once(site: Site) -> None:
    """CALL_ONCE: the first values, which its subgraph must know as constants."""
    options = site.options("CallOnceOptions")
    started = site.values.inner.networks.get(options.integer("init_subgraph_index"))
    if started is None:
        raise site.error("names no subgraph")
    for name, array in _given(site, started).items():
        site.values.variables.first[name] = array


def _given(site: Site, network: Network) -> Mapping[str, np.ndarray]:
    handles: dict[int, str] = {}
    found: dict[str, np.ndarray] = {}
    for operator in network.operators:
        if operator.name == "VAR_HANDLE" and operator.outputs:
            handles[operator.outputs[0]] = name_of(operator)
            continue
        known = operator.name == "ASSIGN_VARIABLE" and len(operator.inputs) == 2
        index = operator.inputs[1] if known else -1
        data = network.tensors[index].data if index >= 0 else None
        if not known or data is None or operator.inputs[0] not in handles:
            raise site.unsupported(f"its subgraph does more than give constants to variables "
                                   f"({operator.name})")
        found[handles[operator.inputs[0]]] = (
            data.astype(np.float32) if data.dtype == np.float16 else data)
    return found


def bind(values: Values, model: ir.Model) -> None:
    """The values that the variables end with become the next call's. Raises ModelError where one
    ends with another shape or type than it began with."""
    bound = []
    for name, value in values.variables.inputs.items():
        after = values.variables.now[name]
        if after.dtype != value.dtype or after.shape != value.shape:
            raise ModelError(f"variable {name!r} is {value.dtype}{value.shape} and becomes "
                             f"{after.dtype}{after.shape}")
        made = values.g.output(values.g.fresh(f"{value.name}_next"), after)
        bound.append(Binding(str(made.name), str(value.name)))
    set_bindings(model, bound)


ROWS: Mapping[str, Callable[[Site], None]] = {
    "VAR_HANDLE": var_handle, "READ_VARIABLE": read_variable, "ASSIGN_VARIABLE": assign_variable,
    "CALL_ONCE": call_once}
