"""Each runtime as an adapter of a few lines: load a file, call it on given arrays.

A call takes NumPy arrays that its caller owns and leaves the answer in NumPy arrays, by the fastest
way that the runtime documents. Adding a peer is one function and one row of `RUNTIMES`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata, util
from pathlib import Path

import numpy as np

Arrays = Sequence[np.ndarray]

ONNX_DTYPES = {"tensor(float)": np.float32, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8,
               "tensor(int32)": np.int32, "tensor(int64)": np.int64}


@dataclass(frozen=True)
class Loaded:
    """A network in a runtime, fed with fixed arrays. `answer`: the outputs after a call."""

    call: Callable[[], object]
    answer: Callable[[], list[np.ndarray]]


@dataclass(frozen=True)
class Runtime:
    """`module`: what must be installed. `form`: the file that it reads, a key of `Case.files`.

    `same_weights`: whether that file holds the network's own weights, so that answers compare.
    """

    name: str
    module: str
    form: str
    load: Callable[[Path, Arrays], Loaded]
    same_weights: bool = True


def version(module: str) -> str | None:
    """Of an installed module; its own word where it runs from a source tree; None without it."""
    if util.find_spec(module) is None:
        return None
    distributions = metadata.packages_distributions().get(module)
    if distributions:
        return metadata.version(distributions[0])
    return str(getattr(import_module(module), "__version__", "unknown"))


def ganglion(path: Path, inputs: Arrays) -> Loaded:
    """`path`: the folder of an artefact."""
    from ganglion.runtime import Session

    session = Session(path)
    outputs = [np.empty(port.shape, port.dtype) for port in session.outputs]
    given = inputs[0] if len(inputs) == 1 else list(inputs)
    wanted = outputs[0] if len(outputs) == 1 else outputs
    return Loaded(partial(session.run_into, given, wanted), lambda: outputs)


def onnxruntime(path: Path, inputs: Arrays) -> Loaded:
    """One thread, all graph optimisations, inputs and outputs bound once."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for port, array in zip(session.get_inputs(), inputs):
        binding.bind_cpu_input(port.name, array)
    outputs = [np.empty([1 if isinstance(d, str) else d for d in port.shape],
                        ONNX_DTYPES[port.type]) for port in session.get_outputs()]
    for port, array in zip(session.get_outputs(), outputs):
        binding.bind_output(port.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    return Loaded(partial(session.run_with_iobinding, binding), lambda: outputs)


def openvino(path: Path, inputs: Arrays) -> Loaded:
    """One thread, for latency, in the precision of the file; arrays shared, not copied."""
    import openvino as ov

    core = ov.Core()
    compiled = core.compile_model(str(path), "CPU", {
        "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32"})
    request = compiled.create_infer_request()
    tensors = [ov.Tensor(array, shared_memory=True) for array in inputs]
    for i, tensor in enumerate(tensors):
        request.set_input_tensor(i, tensor)
    outputs = range(len(compiled.outputs))
    return Loaded(request.infer,
                  lambda: [np.array(request.get_output_tensor(i).data) for i in outputs])


def litert(path: Path, inputs: Arrays) -> Loaded:
    """One thread, XNNPACK as it comes by default."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    places = [(d["index"], array) for d, array in zip(interpreter.get_input_details(), inputs)]
    found = [d["index"] for d in interpreter.get_output_details()]

    def call() -> None:
        for index, array in places:
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        for index in found:
            interpreter.get_tensor(index)

    return Loaded(call, lambda: [interpreter.get_tensor(index) for index in found])


def executorch(path: Path, inputs: Arrays) -> Loaded:
    """XNNPACK, as exported; images channels-first (see `executorch_file`)."""
    import torch
    from executorch.runtime import Runtime as Engine

    torch.set_num_threads(1)
    given = [torch.from_numpy(np.array(np.moveaxis(x, -1, 1), order="C") if x.ndim == 4 else x)
             for x in inputs]
    program = Engine.get().load_program(path)
    method = program.load_method("forward")
    method.execute(given)  # what it can't run shows here only
    kept = [program]
    return Loaded(partial(method.execute, given),
                  lambda: [y.numpy() for y in method.execute(given) if kept])


OURS = Runtime("ganglion", "ganglion", "artefact", ganglion)

RUNTIMES: Mapping[str, Runtime] = {r.name: r for r in (
    OURS,
    Runtime("LiteRT", "ai_edge_litert", "tflite", litert),
    Runtime("ONNX Runtime", "onnxruntime", "onnx", onnxruntime),
    Runtime("OpenVINO", "openvino", "onnx", openvino),
    Runtime("ExecuTorch", "executorch", "pte", executorch, same_weights=False),
)}
"""Ours first, then every peer."""
