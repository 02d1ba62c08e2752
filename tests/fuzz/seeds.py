"""Small honest inputs that the fuzzers start from, made here, and files of the zoo where it is."""

import hashlib
import io
import json
import os
import wave
import zipfile
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper
from PIL import Image
from tests.support.keras_archives import dense_weights, functional, hdf5, layer, sequential
from tests.support.op_examples import all_examples
from tests.support.tflite_examples import examples, lstm_example
from tests.support.tflite_quantized import quantized_examples

from ganglion.plan.choices import kernel_version

MAX_ZOO_BYTES = 40_000
"""Larger files of the zoo would slow every run down."""


def zoo(suffix: str) -> list[bytes]:
    """The zoo's small files of one kind; none where `GANGLION_ZOO` names no folder."""
    folder = os.environ.get("GANGLION_ZOO")
    files = sorted(Path(folder).glob(f"*{suffix}")) if folder else []
    return [f.read_bytes() for f in files if f.stat().st_size <= MAX_ZOO_BYTES]


def onnx_files() -> list[bytes]:
    """Networks of one operator each, one with a local function, the zoo's."""
    made = [ir.to_proto(example.build()[0].model()).SerializeToString()
            for example in all_examples()]
    return [*made, _function(), *zoo(".onnx")]


def _function() -> bytes:
    body = [helper.make_node("Constant", [], ["h"], value_float=0.5),
            helper.make_node("Mul", ["a", "h"], ["b"])]
    function = helper.make_function("mine", "Half", ["a"], ["b"], body,
                                    [helper.make_opsetid("", 21)])
    nodes = [helper.make_node("Shape", ["x"], ["s"]),
             helper.make_node("Half", ["x"], ["h"], domain="mine"),
             helper.make_node("Reshape", ["h", "s"], ["y"])]
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])])
    return helper.make_model(graph, ir_version=10, functions=[function], opset_imports=[
        helper.make_opsetid("", 21), helper.make_opsetid("mine", 1)]).SerializeToString()


def tflite_files() -> list[bytes]:
    """Networks of one operator each, and the zoo's."""
    return [lstm_example(np.random.default_rng(0)).data, *(e.data for e in examples()),
            *(q.data for q in quantized_examples("int8")), *zoo(".tflite")]


def keras_configs() -> list[bytes]:
    """config.json of small networks that fit `keras_weights`."""
    dense = layer("Dense", "dense", units=4)
    others = [layer("ReLU", "relu", max_value=6.0), layer("Reshape", "r", target_shape=[2, 2]),
              layer("Flatten", "f"), layer("Dropout", "d", rate=0.5),
              layer("RepeatVector", "v", n=3), layer("Softmax", "s")]
    nested = sequential(sequential(dense))
    return [json.dumps(c).encode() for c in (
        functional(), sequential(dense), nested, *(sequential(dense, o) for o in others))]


def keras_weights() -> list[bytes]:
    """model.weights.h5 for the networks above."""
    return [hdf5(dense_weights())]


def arrays() -> list[bytes]:
    """.npy files of several types, orders and versions."""
    made = []
    for array in (np.eye(3, dtype=np.float32), np.arange(6, dtype=np.int64).reshape(2, 3).T,
                  np.array(["a", "bc"]), np.zeros((0, 4)), np.array(True), np.float16([1, 2])):
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, np.asarray(array), (2, 0) if array.ndim else (1, 0))
        made.append(buffer.getvalue())
    return made


def archives() -> list[bytes]:
    """.npz files, plain and packed."""
    made = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, x=np.eye(3, dtype=np.float32), y=np.arange(3))
        made.append(buffer.getvalue())
    return made


def tables() -> list[bytes]:
    return [b"a,b,c\n1,2,0\n3,4,1\n", b"5.1,setosa\r\n6,virginica\r\n", b'"1","2"\n3,"4"\n']


def sounds() -> list[bytes]:
    made = []
    for width in (1, 2, 3, 4):
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(width)
            file.setframerate(8000)
            file.writeframes(bytes(range(16)) * width)
        made.append(buffer.getvalue())
    return made


def images() -> list[bytes]:
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    made = []
    for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        made.append(buffer.getvalue())
    return made


def checkpoints() -> list[bytes]:
    """The JSON of a checkpoint."""
    history = {"epoch": [0, 1], "history": {"loss": [0.5, 0.25]}, "stopped": None}
    meta = {"version": 2, "fingerprint": "f", "history": history, "learning_rate": 0.001,
            "stop": False, "epoch": 1, "step": 2, "taken": 6, "rows": 8, "total": [0.5],
            "watches": [[0.5, 1, 0]], "callbacks": []}
    return [json.dumps(meta).encode()]


def caches() -> list[bytes]:
    section = {"cpu": "c", "isas": ["scalar"], "compiler": "zig", "kernels":
               kernel_version(), "choices": {"matmul 1x2": "matmul_f32__scalar"}}
    return [json.dumps({"format": 1, "sections": [section]}).encode()]


LIBRARY = b"no library, but what the manifest names"


def manifests() -> list[bytes]:
    """Of an artefact whose library is `LIBRARY`."""
    return [json.dumps({
        "format": 1, "name": "net", "target": "host", "isas": ["scalar"], "library": "net.so",
        "digest": "d", "files": {"net.so": hashlib.sha256(LIBRARY).hexdigest()}}).encode()]


def descriptions() -> list[bytes]:
    port = {"name": "x", "dtype": "float32", "shape": [1, 4], "scale": 0.5, "zero_point": 3}
    state = {"name": "s", "dtype": "int8", "shape": [2, 3], "offset": 0, "order": [1, 0]}
    return [json.dumps({
        "version": 1, "name": "net", "digest": "d", "inputs": [port], "outputs": [port],
        "state": [state], "entries": {"rows": {"inputs": [port], "outputs": [],
                                               "arena_bytes": 64}}}).encode()]


def zipped(name: str, data: bytes) -> bytes:
    """An archive of one member, its checksum right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(name, data)
    return buffer.getvalue()

