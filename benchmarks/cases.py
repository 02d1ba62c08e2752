"""A network made ready for every runtime: its files in one folder, its inputs, its work."""

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from benchmarks import executorch_file
from benchmarks.networks import INFERENCE, Network
from benchmarks.work import macs, weight_bytes
from ganglion.artifact import Artifact, compile
from ganglion.compression import quantize
from ganglion.errors import UnsupportedOp
from ganglion.formats import load, save
from ganglion.formats.tflite.write.network import export
from ganglion.ops.values import static_shape
from ganglion.training.step.batch import fix_batch

CALIBRATION_ROWS = 64

REFERENCE = {
    "keyword spotting, int8": ("kws_ref_model.tflite", True),
    "ResNet-8, int8": ("pretrainedResnet_quant.tflite", True),
    "anomaly detection, int8": ("ad01_int8.tflite", True),
    "keyword spotting, f32 (hybrid file)": ("kws_ref_model_float32.tflite", False),
    "keyword spotting, hybrid": ("kws_ref_model_float32.tflite", True),
    "ResNet-8, f32": ("pretrainedResnet.tflite", False),
    "ResNet-8, hybrid": ("pretrainedResnet.tflite", True),
    "anomaly detection, f32": ("ad01_fp32.tflite", False),
    "anomaly detection, hybrid": ("ad01_fp32.tflite", True),
}
"""MLPerf Tiny's reference networks: file under GANGLION_MODELS, whether it computes in int8."""

HYBRID = {"keyword spotting, hybrid": False, "ResNet-8, hybrid": True,
          "anomaly detection, hybrid": True}
"""Built with `hybrid=True`: int8 products, floats between them, as LiteRT computes such a file.
Whether the weights are to be stored as int8 first, in the file for LiteRT too."""


@dataclass(frozen=True)
class Case:
    """`model`: batch and shapes fixed. `files`: by form, "artefact" (a folder), "onnx", "tflite".

    `inputs`: drawn, one array for each input. `integer`: whether its products are int8.
    `unwritten`: runtimes whose file could not be written, and why.
    """

    name: str
    model: ir.Model = field(repr=False)
    files: Mapping[str, Path]
    inputs: list[np.ndarray] = field(repr=False)
    integer: bool
    artifact: Artifact = field(repr=False)
    compile_seconds: float
    unwritten: Mapping[str, str] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        return macs(self.model)

    @property
    def weight_bytes(self) -> int:
        return weight_bytes(self.model)


@dataclass(frozen=True)
class Skipped:
    """A network that could not be made ready, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Candidate:
    """Something to measure: a described network or a file, float or int8."""

    name: str
    integer: bool
    network: Network | None = None
    tflite: str | None = None


def candidates() -> Iterator[Candidate]:
    """Every network of the benchmark, files first."""
    for name, (file, integer) in REFERENCE.items():
        yield Candidate(name, integer, tflite=file)
    for network in INFERENCE:
        yield Candidate(f"{network.name}, f32", False, network=network)
        if network.int8:
            yield Candidate(f"{network.name}, int8", True, network=network)


def prepare(candidate: Candidate, folder: Path) -> Case | Skipped:
    """Reads or describes the network and writes its files below `folder`."""
    found = read(candidate)
    if isinstance(found, Skipped):
        return found
    model, source = found
    case = ready(candidate.name, model, folder, candidate.integer, source,
                 hybrid=candidate.name in HYBRID)
    if candidate.network is None or candidate.integer:
        return case
    program = case.files["onnx"].with_name("net.pte")
    exported = executorch_file.write(candidate.network, program)
    return replace(case, files={**case.files, "pte": program}) if exported else case


def read(candidate: Candidate) -> tuple[ir.Model, Path | None] | Skipped:
    """The network as it is given to `compile`, and the file that it came from."""
    if candidate.tflite is None:
        assert candidate.network is not None
        return described(candidate.network, candidate.integer), None
    root = os.environ.get("GANGLION_MODELS")
    if root is None:
        return Skipped(candidate.name, "GANGLION_MODELS is not set")
    source = Path(root) / candidate.tflite
    if not source.is_file():
        return Skipped(candidate.name, f"{source.name} is not in GANGLION_MODELS")
    model = load(source)
    if HYBRID.get(candidate.name):
        return quantize(model, weights_only=True), None
    return model, source


def described(network: Network, integer: bool) -> ir.Model:
    """The float Model, or what the project's own quantiser makes of it."""
    model = network.model()
    if not integer:
        return model
    shape = static_shape(fix_batch(model, CALIBRATION_ROWS).graph.inputs[0])
    rows = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return quantize(model, rows)


def ready(name: str, model: ir.Model, folder: Path, integer: bool, tflite: Path | None = None,
          rows: int = 1, hybrid: bool = False) -> Case:
    """Fixes the batch, writes the .onnx file and, where it can be exported and none is given, the
    .tflite file, and builds and saves the artefact."""
    fixed = fix_batch(model, rows)
    common.RemoveUnusedNodesPass()(fixed)
    place = folder / "".join(c if c.isalnum() else "_" for c in name)
    place.mkdir(parents=True, exist_ok=True)
    save(fixed, place / "net.onnx")
    start = time.perf_counter()
    artifact = compile(model, name="net", batch=rows, hybrid=hybrid)
    seconds = time.perf_counter() - start
    artifact.save(place / "artefact")
    files = {"onnx": place / "net.onnx", "artefact": place / "artefact"}
    refused = {}
    try:
        files["tflite"] = tflite or _exported(fixed, place / "net.tflite", hybrid)
    except UnsupportedOp as error:
        refused["LiteRT"] = str(error)
    return Case(name, fixed, files, draw(fixed), integer, artifact, seconds, refused)


def _exported(model: ir.Model, path: Path, hybrid: bool) -> Path:
    export(model, path, hybrid=hybrid)
    return path


def draw(model: ir.Model, seed: int = 0) -> list[np.ndarray]:
    """Standard normal floats, uniform integers of all codes, for each input."""
    generator = np.random.default_rng(seed)
    found = []
    for value in model.graph.inputs:
        assert value.dtype is not None
        dtype, shape = value.dtype.numpy(), static_shape(value)
        if dtype.kind == "f":
            array = generator.standard_normal(shape).astype(dtype)
        else:
            limits = np.iinfo(dtype)
            array = generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        found.append(array)
    return found
