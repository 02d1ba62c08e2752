"""Every network of the zoo, compiled: `compile` itself checks against the reference."""

import numpy as np
import pytest
from tests.support.networks import INTEGER, NETWORKS, drawn_inputs

import ganglion as gg
from ganglion import cpu
from ganglion.compression import quantize
from ganglion.errors import TargetError
from ganglion.ops.evaluate import evaluate
from ganglion.passes.pipeline import ready_to_plan
from ganglion.toolchain.emulators import available
from ganglion.toolchain.targets import target


@pytest.mark.parametrize("name", NETWORKS)
def test_float_builds_agree_with_the_reference(name: str) -> None:
    net = NETWORKS[name]()
    artifact = gg.compile(net)
    assert artifact.manifest["check"]["status"] == "passed"
    inputs = drawn_inputs(net, 3, seed=7)
    found = artifact.session().run(*inputs)
    named = dict(zip([str(v.name) for v in net.graph.inputs], inputs))
    expected = list(evaluate(net, named).values())
    for a, b in zip(found if isinstance(found, tuple) else (found,), expected):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_scalar_builds_agree_with_the_reference(name: str) -> None:
    artifact = gg.compile(NETWORKS[name](), isas=("scalar",))
    assert artifact.manifest["check"]["status"] == "passed"
    assert artifact.manifest["isas"] == ["scalar"]


@pytest.mark.parametrize("name", NETWORKS)
def test_quantised_builds_agree_with_the_reference(name: str) -> None:
    net = NETWORKS[name]()
    small = quantize(net, calibration=drawn_inputs(net, 48))
    artifact = gg.compile(small)
    assert artifact.manifest["check"]["status"] == "passed"
    assert artifact.manifest["check"]["exact"] == (name in INTEGER)


def _integer_answers(name: str, goal: str, isas: tuple[str, ...] | None) -> np.ndarray:
    """Outputs of the quantised network on the target, through the build's own check: an exact
    check passes only when every bit is the reference's."""
    net = NETWORKS[name]()
    small = quantize(net, calibration=drawn_inputs(net, 48))
    artifact = gg.compile(small, goal, isas=isas, calibration=drawn_inputs(net, 4, seed=3))
    check = artifact.manifest["check"]
    assert check["status"] == "passed", check
    assert check["exact"]
    return np.asarray([o["difference"] for o in check["outputs"].values()])


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avxvnni", "avx512", "vnni"])
@pytest.mark.parametrize("name", INTEGER)
def test_integer_networks_give_the_same_bits_on_every_instruction_set(name: str, isa: str) -> None:
    if isa not in cpu.isas():
        pytest.skip(f"this processor has no {isa}")
    order = ("vnni", "avx512", "avxvnni", "avx2", "scalar")
    isas = tuple(i for i in order[order.index(isa):] if i in cpu.isas())
    assert (_integer_answers(name, "host", isas) == 0).all()


@pytest.mark.emulator
@pytest.mark.parametrize(("name", "goal"), [
    *((name, goal) for name in INTEGER for goal in ("raspberrypi4", "wasm32", "cortex-m4",
                                                            "cortex-m55")),
    ("cnn", "raspberrypi5"), ("dense", "raspberrypi5"), ("cnn", "riscv64"), ("dense", "riscv64")])
def test_integer_networks_give_the_same_bits_on_other_processors(name: str, goal: str) -> None:
    if not available(target(goal)):
        pytest.skip(f"no emulator for {goal}")
    assert (_integer_answers(name, goal, None) == 0).all()


@pytest.mark.emulator
@pytest.mark.parametrize("goal", ["raspberrypi4", "riscv64", "wasm32"])
@pytest.mark.parametrize("name", ["cnn", "lstm", "attention"])
def test_float_networks_agree_on_other_processors(name: str, goal: str) -> None:
    if not available(target(goal)):
        pytest.skip(f"no emulator for {goal}")
    assert gg.compile(NETWORKS[name](), goal).manifest["check"]["status"] == "passed"


def test_a_network_too_large_for_a_device_is_refused_with_figures_and_layers() -> None:
    from ganglion import layers as L

    net = L.Sequential([L.Input((512,)), L.Dense(1024, name="wide"), L.Dense(4)])
    with pytest.raises(TargetError, match=r"bytes of flash.*wide"):
        gg.compile(net, "cortex-m4")


def test_microcontroller_builds_give_an_object_and_sources() -> None:
    artifact = gg.compile(NETWORKS["dense"](), "cortex-m4")
    assert {"dense_net.o", "dense_net.c", "dense_net.h"} & set(artifact.files) or any(
        n.endswith(".o") for n in artifact.files)
    wanted = "passed" if available(target("cortex-m4")) else "not run"
    assert artifact.manifest["check"]["status"] == wanted


def test_generic_builds_are_sources_only() -> None:
    artifact = gg.compile(NETWORKS["dense"](), "generic")
    assert artifact.library is None
    with pytest.raises(TargetError, match="host"):
        artifact.session()


@pytest.mark.parametrize("name", ["cnn", "lstm"])
def test_two_builds_of_one_model_are_identical_byte_for_byte(name: str) -> None:
    first, second = (gg.compile(NETWORKS[name]()) for _ in range(2))
    assert first.files == second.files


@pytest.mark.gcc
@pytest.mark.parametrize("name", NETWORKS)
def test_gcc_builds_without_a_warning(name: str) -> None:
    artifact = gg.compile(NETWORKS[name](), cc="gcc")
    assert artifact.manifest["check"]["status"] == "passed"


def test_batches_of_a_fixed_size_are_one_call() -> None:
    net = NETWORKS["cnn"]()
    x = drawn_inputs(net, 4)[0]
    many = gg.compile(net, batch=4).session().run(x)
    one = gg.compile(net).session().run(x)
    np.testing.assert_allclose(many, one, rtol=1e-5, atol=1e-6)


def test_prepared_models_keep_the_callers_model_as_it_was() -> None:
    import onnx_ir as ir

    net = NETWORKS["cnn"]()
    before = ir.to_proto(net).SerializeToString(deterministic=True)
    ready_to_plan(net)
    gg.compile(net)
    assert ir.to_proto(net).SerializeToString(deterministic=True) == before
