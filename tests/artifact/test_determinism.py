"""The same inputs give the same bytes, whatever the process."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import hashlib, sys
import onnx_ir as ir
import ganglion as gg
from ganglion.compression import quantize
from ganglion.plan.planner import dump
from tests.support.drawn_layers import from_layers
from tests.support.drawn_networks import from_exports, from_ops
from tests.support.networks import NETWORKS, drawn_inputs

def show(name, data):
    print(name, hashlib.sha256(data).hexdigest())

def build(name, model, **more):
    show(name + " model", ir.to_proto(model).SerializeToString(deterministic=True))
    artifact = gg.compile(model, check=False, **more)
    show(name + " plan", repr(artifact.plan).encode() + dump(artifact.plan).encode())
    for file, data in artifact.files.items():
        show(f"{name} {file}", data)

build("ops", from_ops(range(8)))
build("layers", from_layers(range(5)), isas=("scalar",))
build("streaming", NETWORKS["lstm"](), streaming=True, isas=("scalar",))
cnn = NETWORKS["cnn"]()
build("quantised", quantize(cnn, calibration=drawn_inputs(cnn, 16)))
smaller, report = gg.prune_channels(cnn, 0.5)
build("pruned", smaller, target="generic")
net = NETWORKS["dense"]()
x = drawn_inputs(net, 32)[0]
trained, _ = gg.fit(net, x, (x[:, :1] > 0).astype("f4"), loss="binary_crossentropy",
                    optimizer="adam", epochs=2, batch_size=8)
show("trained", ir.to_proto(trained).SerializeToString(deterministic=True))
"""
ROOT = Path(__file__).parents[2]


def run(hash_seed: str, folder: Path) -> str:
    folder.mkdir()
    path = os.pathsep.join([*(p for p in sys.path if p), str(ROOT)])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, cwd=folder, check=False,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_give_the_same_model_plan_code_and_library(tmp_path: Path) -> None:
    first, second = (run(seed, tmp_path / seed) for seed in ("1", "4242"))
    assert first.splitlines() == second.splitlines()
    assert len(first.splitlines()) > 20
