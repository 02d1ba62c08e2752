"""Laws of builds for microcontrollers, on their emulated boards: the bits of the host, and how many
instructions real networks take at most."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.networks import NETWORKS, drawn_inputs

import ganglion as gg
from ganglion.compression import quantize
from ganglion.toolchain.boards import Cost
from ganglion.toolchain.compilers import STUB_HEADERS
from ganglion.toolchain.emulators import available, emulate
from ganglion.toolchain.targets import target

MODELS = os.environ.get("GANGLION_MODELS")
GOALS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
LIMITS = {("cortex-m4", "kws_ref_model"): 4_300_000,
          ("cortex-m4", "pretrainedResnet_quant"): 17_000_000,
          ("cortex-m4", "ad01_int8"): 420_000,
          ("cortex-m4", "pretrainedResnet"): 60_000_000,
          ("cortex-m7", "kws_ref_model"): 4_300_000,
          ("cortex-m33", "kws_ref_model"): 4_500_000,
          ("cortex-m55", "kws_ref_model"): 1_200_000,
          ("cortex-m55", "pretrainedResnet_quant"): 3_800_000,
          ("cortex-m55", "ad01_int8"): 110_000}
"""TensorFlow Lite Micro with CMSIS-NN takes 7.70, 29.9, 0.583 and (floats) 88.7
million on a Cortex-M4; 1.81, 4.91 and 0.150 on a Cortex-M55."""

pytestmark = pytest.mark.emulator


def run(artifact: gg.artifact.Artifact, inputs: list[np.ndarray]) -> tuple[list[np.ndarray], Cost]:
    """The build's answers on its board, and what the last call took."""
    goal = target(artifact.target)
    if not available(goal):
        pytest.skip(f"no emulator for {goal.name}")
    files = {n: data.decode() for n, data in artifact.files.items() if n.endswith((".c", ".h"))}
    found, _, cost = emulate(files, goal, artifact.manifest["description"]).measured(inputs)
    assert cost is not None
    return found, cost


@pytest.mark.parametrize("goal", GOALS)
def test_a_quantised_network_gives_the_hosts_bits(goal: str) -> None:
    net = NETWORKS["cnn"]()
    int8 = quantize(net, drawn_inputs(net, 32, seed=1))
    x = drawn_inputs(int8, 3, seed=2)[0][:, None]
    found, cost = run(gg.compile(int8, goal, check=False), [x])
    session = gg.compile(int8, check=False).session()
    np.testing.assert_array_equal(found[0], np.stack([session.run(row) for row in x]))
    assert cost.instructions > 0
    assert 0 < cost.stack_bytes < 4096


@pytest.mark.skipif(MODELS is None, reason="GANGLION_MODELS names no folder of real networks")
@pytest.mark.parametrize(("goal", "name"), LIMITS, ids=lambda v: v)
def test_real_networks_take_no_more_instructions(goal: str, name: str) -> None:
    model = gg.load(Path(str(MODELS)) / f"{name}.tflite")
    rng = np.random.default_rng(0)
    shape = [int(d) for d in model.graph.inputs[0].shape or ()]
    floats = model.graph.inputs[0].dtype == ir.DataType.FLOAT
    x = rng.random(shape, np.float32) if floats else rng.integers(-128, 128, shape, np.int8)
    found, cost = run(gg.compile(model, goal, check=False), [x])
    wanted = gg.compile(model, check=False).session().run(x)
    np.testing.assert_allclose(found[0], wanted, rtol=0, atol=1e-5 if floats else 0)
    assert cost.instructions <= LIMITS[goal, name]


@pytest.mark.emulator
@pytest.mark.parametrize("level", ["-O0", "-Os", "-O2", "-O3"])
def test_the_c_compiles_clean_by_gcc_and_calls_next_to_nothing(level: str, tmp_path: Path) -> None:
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    net = NETWORKS["cnn"]()
    gg.compile(quantize(net, drawn_inputs(net, 32, seed=1)), "cortex-m4",
               check=False).save(tmp_path / "build")
    source, = (tmp_path / "build").glob("*.c")
    machine = ["-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16",
               "-idirafter", str(tmp_path)]
    for header, text in STUB_HEADERS.items():
        (tmp_path / header).write_text(text)
    subprocess.run(["arm-none-eabi-gcc", *machine, level, "-std=c11", "-Wall", "-Wextra", "-Werror",
                    "-c", str(source), "-o", str(tmp_path / "net.o")], check=True)
    named = subprocess.run(["arm-none-eabi-nm", "-u", str(tmp_path / "net.o")], check=True,
                           capture_output=True, text=True).stdout.split()
    assert set(named) - {"U"} <= {"memcpy", "memset"}
