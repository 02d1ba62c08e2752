"""Several threads inside of one inference: the bits of one thread, whoever calls and whenever."""

import json
import os
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from benchmarks.networks import INFERENCE

import ganglion as gg
from ganglion import layers as L
from ganglion.artifact.artifact import Artifact
from ganglion.emit.c import emit
from ganglion.errors import DataError
from ganglion.kernels.registry import families
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.planner import plan
from ganglion.plan.types import Plan
from ganglion.runtime.binding import EXTENSION

NAMES = {"resnet8": "ResNet-8 32x32", "mobilenet": "MobileNetV2 0.35 96x96"}
ISAS = ("vnni", "avx512", "avx2", "scalar")
THREADS = (2, 3, 7)

pytestmark = pytest.mark.skipif(not EXTENSION, reason="the extension is not built: python setup.py "
                                                      "build_ext --inplace")


def _model(name: str) -> ir.Model:
    if name == "integer":
        floats = _model("resnet8")
        rows = np.random.default_rng(0).normal(size=(8, 32, 32, 3)).astype(np.float32)
        return gg.quantize(floats, calibration=rows)
    if name == "transformer":
        x = gg.Input((192, 64))
        y = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(4, 16)(x, x)]))
        z = L.Dense(64)(L.Dense(256, activation="gelu")(y))
        return gg.Functional(x, L.LayerNormalization()(L.Add()([y, z])))
    if name == "dense":
        return gg.Sequential([gg.Input((1024,)), L.Dense(1024, activation="relu"), L.Dense(8)])
    if name == "convolution":
        return gg.Sequential([gg.Input((64, 64, 8)), L.Conv2D(32, 3)])
    return next(n for n in INFERENCE if n.name == NAMES[name]).model()


@cache
def _built(name: str) -> Artifact:
    return gg.compile(_model(name), cores=4, check=False)


def _inputs(session: gg.Session, seed: int = 0) -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(seed)
    return tuple(generator.normal(size=p.shape).astype(p.dtype) if p.dtype.kind == "f"
                 else generator.integers(-100, 100, p.shape).astype(p.dtype)
                 for p in session.inputs)


def _bits(found: object) -> bytes:
    return b"".join(a.tobytes() for a in (found if isinstance(found, tuple) else (found,)))


@pytest.mark.parametrize("name", [*NAMES, "transformer", "integer", "dense", "convolution"])
def test_any_number_of_threads_gives_the_bits_of_one(name: str) -> None:
    artifact = _built(name)
    assert artifact.plan.divided
    session = artifact.session()
    assert session.divided
    for seed in range(3):
        given = _inputs(session, seed)
        alone = _bits(session.run(*given))
        for threads in THREADS:
            for _ in range(5):
                assert _bits(session.run(*given, threads=threads)) == alone


def test_a_session_of_threads_runs_as_its_calls_do() -> None:
    artifact = _built("resnet8")
    many = gg.Session.from_files(artifact.files, threads=3)
    given, = _inputs(many)
    alone = artifact.session().run(given)
    into = np.empty_like(alone)
    many.run_into(given, into)
    rows = many.run(np.concatenate([given, given]))
    assert _bits(many.run(given)) == _bits(into) == _bits(alone)
    assert _bits(rows) == 2 * _bits(alone)


def test_ctypes_takes_threads_and_gives_the_same_bits() -> None:
    artifact = _built("dense")
    session = gg.Session.from_files(artifact.files, threads=4, binding="ctypes")
    assert not session.divided
    given = _inputs(session)
    assert _bits(session.run(*given)) == _bits(artifact.session().run(*given))


def test_callers_at_the_same_time_do_not_disturb_each_other() -> None:
    session = gg.Session.from_files(_built("resnet8").files, threads=2)
    given = [_inputs(session, seed) for seed in range(4)]
    alone = [_bits(session.run(*each, threads=1)) for each in given]
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(60):
            if _bits(session.run(*given[k], threads=2 + k)) != alone[k]:
                wrong.append(k)

    callers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not any(caller.is_alive() for caller in callers)
    assert not wrong


def test_a_stream_moves_its_state_on_as_with_one_thread() -> None:
    net = gg.Sequential([gg.Input((5, 8)), L.GRU(8), L.Dense(1024, activation="relu"),
                         L.Dense(1024)])
    files = gg.compile(net, streaming=True, cores=4, check=False).files
    one, four = gg.Session.from_files(files).stream(), gg.Session.from_files(
        files, threads=4).stream()
    for k in range(4):
        x = np.random.default_rng(k).normal(size=(1, 1, 8)).astype(np.float32)
        assert _bits(one.run(x)) == _bits(four.run(x))


PROGRAM = """
import os, sys
import numpy as np
from ganglion.runtime import Session

session = Session(sys.argv[1], threads=3)
x = np.ones(session.inputs[0].shape, np.float32)
alone = session.run(x, threads=1).tobytes()
assert session.run(x).tobytes() == alone
if sys.argv[2] == "fork":
    child = os.fork()
    right = all(session.run(x).tobytes() == alone for _ in range(20))
    if child == 0:
        os._exit(0 if right else 3)
    assert os.waitpid(child, 0)[1] == 0 and right
if sys.argv[2] == "close":
    del session
    Session(sys.argv[1], threads=2).run(x)
"""


@pytest.mark.parametrize("way", [
    "exit", "close", pytest.param("fork", marks=pytest.mark.skipif(not hasattr(os, "fork"),
                                                                   reason="no fork here"))])
def test_a_process_ends_whatever_its_threads_do(way: str, tmp_path: Path) -> None:
    folder = _built("resnet8").save(tmp_path / "net")
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(folder), way], timeout=60,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True, 10 ** 6])
def test_what_is_no_number_of_threads_is_refused(threads: object) -> None:
    artifact = _built("dense")
    with pytest.raises(DataError, match="threads="):
        gg.Session.from_files(artifact.files, threads=threads)  # type: ignore[arg-type]
    session = artifact.session()
    with pytest.raises(DataError, match="threads="):
        session.run(*_inputs(session), threads=threads)  # type: ignore[arg-type]


@pytest.mark.parametrize("cores", [0, -2, 1.5, "4"])
def test_what_is_no_number_of_cores_is_refused(cores: object) -> None:
    with pytest.raises(DataError, match="cores="):
        gg.compile(_model("dense"), cores=cores)  # type: ignore[arg-type]


def _divided(name: str, cores: int) -> Plan:
    return plan(ready_to_plan(_model(name)), ISAS, "net", cores=cores)


def test_one_core_and_small_networks_have_no_pieces() -> None:
    assert not _divided("resnet8", 1).divided
    assert "pool" not in emit(_divided("resnet8", 1))["net.h"]
    small = gg.Sequential([gg.Input((784,)), L.Dense(64), L.Dense(10)])
    assert not plan(ready_to_plan(small), ISAS, cores=16).divided


def test_dividing_leaves_the_plan_for_one_thread_as_it_is() -> None:
    one, many = _divided("mobilenet", 1), _divided("mobilenet", 8)
    assert (one.arena_bytes, one.constants) == (many.arena_bytes, many.constants)
    assert [(s.variant, s.spec, s.operands, s.scratch) for s in one.steps] == [
        (s.variant, s.spec, s.operands, s.scratch) for s in many.steps]


@pytest.mark.parametrize("name", ["mobilenet", "transformer", "integer"])
def test_pieces_lie_within_their_step_and_scratch_suffices(name: str) -> None:
    found = _divided(name, 4)
    assert found.divided
    for step in found.steps:
        family = families()[step.family]
        scratch_bytes = family.variant(step.variant).scratch_bytes
        for piece in step.pieces:
            assert scratch_bytes(piece.spec) <= found.worker_bytes
            for whole, part, at, ref in zip(family.operands(step.spec), family.operands(piece.spec),
                                            step.operands, piece.operands):
                assert (ref.place, ref.index) == (at.place, at.index)
                if ref.place != "const":
                    assert at.offset <= ref.offset
                    assert ref.offset + part.nbytes <= at.offset + whole.nbytes
                else:
                    assert 0 <= ref.offset < len(found.constants[ref.index].data)


def test_the_command_line_takes_threads(tmp_path: Path) -> None:
    folder = _built("dense").save(tmp_path / "net")
    np.save(tmp_path / "x.npy", np.ones((1, 1024), np.float32))
    command = [sys.executable, "-c", "from ganglion.cli.app import main; main()"]
    answers = [subprocess.run([*command, *words, "--json"], capture_output=True, text=True,
                              check=True, timeout=60).stdout
               for words in (["run", str(folder), str(tmp_path / "x.npy")],
                             ["run", str(folder), str(tmp_path / "x.npy"), "--threads", "3"],
                             ["bench", str(folder), "--seconds", "0.1", "--threads", "2"])]
    assert answers[0] == answers[1]
    assert json.loads(answers[2])["threads"] == 2
