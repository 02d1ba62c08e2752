"""A live PyTorch module as a Model. torch is imported when a module is given, never before."""

import inspect
import logging
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Protocol, TypeGuard

import numpy as np
import onnx
import onnx_ir as ir

from ganglion.errors import ModelError, ToolchainError, UnsupportedOp
from ganglion.formats.onnx.reader import from_proto
from ganglion.formats.torch.inputs import Dynamic, Opening, TorchTensor, as_tensors, batch_of
from ganglion.formats.torch.substitutes import written_out
from ganglion.ops.exported import FIXED, KIND, TRACED_AS, is_float
from ganglion.ops.facts import is_op
from ganglion.ops.named import BATCH_NORMALIZATION
from ganglion.passes.leave_training import LeaveTraining
from ganglion.tensors import Array


class TorchModule(Protocol):
    """What is asked of the live module: any `torch.nn.Module` has it."""

    training: bool

    def forward(self, *args: object, **kwargs: object) -> object: ...

    def train(self, mode: bool) -> object: ...

    def modules(self) -> Iterator["TorchModule"]: ...

    def named_parameters(self, *, remove_duplicate: bool) -> Iterator[tuple[str, TorchTensor]]: ...

    def state_dict(self) -> Mapping[str, TorchTensor]: ...

    def load_state_dict(self, state: Mapping[str, TorchTensor], strict: bool) -> object: ...


Inputs = Array | TorchTensor | Sequence[object] | Mapping[str, object]
"""One tensor or array; several in the order of `forward`'s arguments, or by their names."""


def from_torch(module: TorchModule, example_inputs: Inputs, dynamic: Dynamic | None = None,
               training: bool = False) -> ir.Model:
    """The Model that computes what `module(*example_inputs)` does, with the weights that it has
    now, under the names that its state dict gives them.

    `dynamic`: argument of `forward` -> {axis: name} of the sizes that stay open, {"x": {0: "batch",
    1: "length"}}; axes of one name have one size, and {} keeps every size of the example. Without
    it the first axis of each input is the batch, open where the module works with any; a batch of
    1 is doubled for the export, which would fix it.
    `training`: as the module is in `train()`, with its Dropouts; otherwise as in `eval()`. Either
    way a BatchNormalization goes on learning in `fit`. The module stays as it is, its modes too.
    Parameters without `requires_grad` do not learn.

    Raises ModelError for what is no module, inputs that do not fit `forward`, and what torch cannot
    export; ToolchainError where torch or onnxscript are missing; and what `load` raises.
    """
    torch = require_torch()
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"from_torch takes a torch.nn.Module, not {type(module).__name__}")
    called = _bound(module, as_tensors(torch, example_inputs))
    with _mode(module, training), written_out(torch, module.modules()), _quiet():
        program = _exported(torch, module, called, dynamic)
    model = from_proto(program.model_proto, Path(type(module).__name__))
    model.graph.name = type(module).__name__
    LeaveTraining()(model)
    signature = program.exported_program.graph_signature
    _name(model, signature)
    _require_no_state(model, signature)
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if name in model.graph.initializers and not parameter.requires_grad:
            model.graph.initializers[name].metadata_props[KIND] = FIXED
    return model


def require_torch() -> ModuleType:
    """The module torch. Raises ToolchainError where it or what it exports with is missing."""
    try:
        import onnxscript  # noqa: F401
        import torch
        import torch.onnx.errors
    except ImportError as error:
        raise ToolchainError(f"PyTorch modules are read through torch and onnxscript, and "
                             f"{error.name} is missing: `pip install torch onnxscript`") from error
    found: ModuleType = torch
    return found


def _bound(module: TorchModule, given: object) -> inspect.BoundArguments:
    """The example as `forward` takes it."""
    signature = inspect.signature(module.forward)
    try:
        if isinstance(given, Mapping):
            return signature.bind(**given)
        return signature.bind(*(given if isinstance(given, list | tuple) else [given]))
    except TypeError as error:
        raise ModelError(f"example_inputs do not fit {type(module).__name__}.forward{signature}: "
                         f"{error}; give one tensor, a tuple of them, or a dict by argument"
                         ) from error


class _Signature(Protocol):
    """What is asked of a torch.export.ExportGraphSignature: traced names -> the module's own."""

    @property
    def inputs_to_parameters(self) -> Mapping[str, str]: ...

    @property
    def inputs_to_buffers(self) -> Mapping[str, str]: ...

    @property
    def buffers_to_mutate(self) -> Mapping[str, str]: ...


class _Exported(Protocol):
    """What is asked of a torch.export.ExportedProgram."""

    @property
    def graph_signature(self) -> _Signature: ...


class _Program(Protocol):
    """What is asked of a torch.onnx.ONNXProgram."""

    @property
    def model_proto(self) -> onnx.ModelProto: ...

    @property
    def exported_program(self) -> _Exported: ...


def _exported(torch: ModuleType, module: TorchModule, called: inspect.BoundArguments,
              dynamic: Dynamic | None) -> _Program:
    """torch's ONNX form of the module. Where nobody asked for open sizes and the module works with
    one batch alone, all sizes are as in the example."""
    if dynamic is not None:
        return _open_program(torch, module, called, dynamic)
    try:
        return _open_program(torch, module, called, batch_of(torch, called.arguments))
    except ModelError:
        return _open_program(torch, module, called, {})


def _open_program(torch: ModuleType, module: TorchModule, called: inspect.BoundArguments,
                  dynamic: Dynamic) -> _Program:
    """The module with these sizes open. Raises ModelError where it cannot be."""
    name = type(module).__name__
    if unknown := set(dynamic) - set(called.arguments):
        raise ModelError(f"dynamic: {name}.forward is given no {min(unknown)!r}; the example has "
                         f"{', '.join(called.arguments)}")
    opening = Opening(torch)
    dims: dict[str, object] = {}
    wide = inspect.BoundArguments(called.signature, OrderedDict())
    for key, value in called.arguments.items():
        wide.arguments[key], dims[key] = opening.open(value, dynamic.get(key), key)
    program = _program(torch, module, wide, dims)
    fixed = set(opening.dims) - {dim.dim_param for value in program.model_proto.graph.input
                                 for dim in value.type.tensor_type.shape.dim}
    if fixed:
        raise ModelError(f"{name} works with one size of {min(fixed)!r} alone, so that it cannot "
                         "stay open; leave it out of dynamic")
    return program


def _program(torch: ModuleType, module: TorchModule, called: inspect.BoundArguments,
             dims: Mapping[str, object]) -> _Program:
    """Unoptimised, as torch would fold BatchNormalization into its neighbours."""
    try:
        found: _Program = torch.onnx.export(
            module, called.args, kwargs=called.kwargs, dynamo=True, optimize=False, verbose=False,
            dynamic_shapes=dims)
    except torch.onnx.errors.OnnxExporterError as error:
        cause = error.__cause__ or error
        raise ModelError(
            f"torch cannot export {type(module).__name__}: {type(cause).__name__}: {cause}\n"
            "Change forward until torch.export.export takes it with these inputs; sizes that it "
            "fixes itself cannot be open in dynamic") from error
    return found


def _name(model: ir.Model, signature: _Signature) -> None:
    """Gives every parameter and buffer the name that the module has for it."""
    own = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    for value in list(model.graph.initializers.values()):
        name = own.get(value.metadata_props.get(TRACED_AS, ""))
        if name is not None and name != value.name and name not in model.graph.initializers:
            value.name = name


def _require_no_state(model: ir.Model, signature: _Signature) -> None:
    """Raises UnsupportedOp for a buffer that calls change and that is no running statistic."""
    known = {v.name for node in model.graph if is_op(node, BATCH_NORMALIZATION)
             for v in node.inputs[3:5] if v is not None}
    for name in signature.buffers_to_mutate.values():
        if name not in known and not name.endswith("num_batches_tracked"):
            raise UnsupportedOp(f"{model.graph.name} changes its buffer {name!r} when it is "
                                "called; only BatchNormalization's running statistics may: write "
                                "it without, or make what changes an input and an output")


@contextmanager
def _mode(module: TorchModule, training: bool) -> Iterator[None]:
    """The module in one mode for a while; each part of it gets its own back."""
    before = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, mode in before:
            part.training = mode


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter logs and warns of on its way; what it fails for is raised. torch
    gives its loggers handlers of their own, so that logging as a whole rests meanwhile."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def is_module(value: object) -> TypeGuard[TorchModule]:
    """Whether it is a torch.nn.Module. torch is not imported."""
    return any(f"{kind.__module__}.{kind.__name__}" == "torch.nn.modules.module.Module"
               for kind in type(value).__mro__)


def to_torch(trained: ir.Model, module: TorchModule) -> None:
    """Puts the weights and buffers of `trained`, which `from_torch(module)` gave before it
    learned, into the module. Nothing is written unless all shapes fit, else ModelError."""
    torch = require_torch()
    found = {}
    for name, own in module.state_dict().items():
        value = trained.graph.initializers.get(name)
        if value is None or value.const_value is None or not is_float(value):
            continue
        array = np.array(value.const_value.numpy())
        if array.shape != tuple(own.shape):
            raise ModelError(f"weight {name!r} has the shape {list(array.shape)}, in the module "
                             f"{list(own.shape)}; give the module that the Model was read from")
        found[name] = torch.from_numpy(array)
    module.load_state_dict(found, strict=False)
