"""Laws of running a build as a process: every machine gives the same bits."""

import shutil

import numpy as np
import pytest
from tests.support.hand_made import COUNTER, LINEAR, MIXED, SLOW, WOVEN, HandMade, built

from ganglion.errors import DataError, TargetError, ToolchainError
from ganglion.runtime import Session
from ganglion.toolchain import available, emulate, run_emulated, target

RNG = np.random.default_rng(3)
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


@pytest.fixture(params=["host", pytest.param("raspberrypi4", marks=pytest.mark.emulator),
                        pytest.param("riscv64", marks=pytest.mark.emulator),
                        pytest.param("cortex-m0plus", marks=pytest.mark.emulator),
                        pytest.param("cortex-m4", marks=pytest.mark.emulator),
                        pytest.param("cortex-m55", marks=pytest.mark.emulator),
                        pytest.param("wasm32", marks=pytest.mark.emulator)])
def machine(request):
    row = target(request.param)
    if not available(row):
        pytest.skip(f"{row.emulator} is not installed")
    return row


def test_every_machine_gives_the_bits_of_the_session(machine):
    x = RNG.standard_normal((4, 1, 64)).astype(np.float32)
    found = run_emulated(SLOW.sources, machine, SLOW.description, [x])
    session = Session.from_files(built("SLOW"))
    assert np.array_equal(found[0], np.stack([session.run(row) for row in x]))
    single = run_emulated(SLOW.sources, machine, SLOW.description, [x[0]])
    assert np.array_equal(single[0], found[0][0])


def test_every_dtype_passes_in_and_out(machine):
    image = RNG.integers(-50, 50, (3, 1, 2, 3)).astype(np.int8)
    rest = [RNG.random((3, 1), np.float32), np.array([[1], [2], [3]], np.int32),
            np.array([[True], [False], [True]])]
    found = run_emulated(MIXED.sources, machine, MIXED.description, [image, *rest])
    session = Session.from_files(built("MIXED"))
    for row in range(3):
        for got, wanted in zip(found, session.run(image[row], *(r[row] for r in rest))):
            assert got.dtype == wanted.dtype
            assert np.array_equal(got[row], wanted)


def test_state_is_reset_once_and_carried_on(machine):
    x = np.array([[[2, 3]]] * 3, np.float32)
    network = emulate(COUNTER.sources, machine, COUNTER.description)
    for _ in range(2):
        found, state = network.run_with_state([x])
        assert found[0].ravel().tolist() == [6, 22, 48]
        assert state["total"].tolist() == [7, 9]
        assert state["steps"] == 3


def test_stored_order_of_the_state_does_not_show(machine):
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    _, state = emulate(WOVEN.sources, machine, WOVEN.description).run_with_state([x])
    assert np.array_equal(state["kept"], x)


def test_refused_memory_is_an_error(machine):
    odd = HandMade(**{**vars(LINEAR), "body": "return 1;"})
    with pytest.raises(ToolchainError):
        run_emulated(odd.sources, machine, odd.description, [np.zeros((1, 2), np.float32)])


@needs_gcc
@pytest.mark.gcc
def test_sanitizers_pass_good_code_and_stop_bad():
    host = target("host").with_isas(["scalar"])
    x = np.ones((1, 2), np.float32)
    good = run_emulated(LINEAR.sources, host, LINEAR.description, [x], cc="gcc", sanitize=True)
    assert good[0].item() == -0.5
    bad = {"heap-buffer-overflow": "((float *)out[0])[1] = 1.0f;",
           "shift exponent": "volatile int n = 40; *(float *)out[0] = (float)(1 << n);",
           "left shift of negative|overflow": "volatile int n = 2147483647; "
                                              "*(float *)out[0] = (float)(n + 1);"}
    for complaint, body in bad.items():
        wrong = HandMade(**{**vars(LINEAR), "body": body})
        with pytest.raises(ToolchainError, match=complaint):
            run_emulated(wrong.sources, host, wrong.description, [x], cc="gcc", sanitize=True)


def test_sanitizers_without_their_compiler_are_refused():
    with pytest.raises(ToolchainError, match="cc='gcc'"):
        run_emulated(LINEAR.sources, target("host"), LINEAR.description,
                     [np.ones((1, 2), np.float32)], sanitize=True)


def test_inputs_that_do_not_fit_are_refused():
    for wrong in ([], [np.zeros((1, 3), np.float32)], [np.zeros((1, 2))],
                  [np.zeros((2, 2, 2), np.float32)]):
        with pytest.raises(DataError):
            run_emulated(LINEAR.sources, target("host"), LINEAR.description, wrong)
    with pytest.raises(DataError):
        run_emulated(MIXED.sources, target("host"), MIXED.description,
                     [np.zeros((3, 1, 2, 3), np.int8), np.zeros((2, 1), np.float32),
                      np.zeros((3, 1), np.int32), np.zeros((3, 1), bool)])


def test_a_target_without_emulator_says_what_to_do(monkeypatch):
    x = [np.zeros((1, 2), np.float32)]
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("ganglion.cpu.machine", lambda: "x86_64")
    monkeypatch.setattr("ganglion.cpu.isas", lambda: ("scalar",))
    for name, hint in (("raspberrypi4", "qemu-user"), ("riscv64", "qemu-riscv64"),
                       ("wasm32", "pip install wasmtime"),
                       ("cortex-m4", "qemu-system-arm"), ("generic", "on the device"),
                       ("x86-64-v3", "with_isas")):
        assert not available(target(name))
        with pytest.raises(TargetError, match=hint):
            run_emulated(LINEAR.sources, target(name), LINEAR.description, x)
