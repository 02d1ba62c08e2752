"""compile(hybrid=True): networks with int8 weights, from a file or quantised by the project."""

import os
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support import small_networks
from tests.support.drawn_networks import from_exports
from tests.support.small_networks import NETWORKS, Net, rows

import ganglion as gg
from ganglion.formats.tflite.write.network import export
from ganglion.kernels.hybrid import HybridConvSpec
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.pipeline import ready_to_plan

MODELS = os.environ.get("GANGLION_MODELS")
KEYWORDS = "kws_ref_model_float32.tflite"
EXACT_ISAS = [("scalar",), None]


def products(seed: int = 9) -> ir.Model:
    """Nothing but products, biases and ReLU, so that every bit is defined."""
    net = Net(seed, ("N", 3, 8, 8), 3).conv(8).act("Relu").conv(20, 1).act("Relu").conv(6, 1)
    return net.flatten(384).dense(20).act("Relu").dense(5, "matmul").model()


def check_of(built: gg.Artifact) -> dict[str, object]:
    figures = built.manifest["check"]
    assert isinstance(figures, dict)
    return figures


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_int8_weights_passes_its_check(name: str) -> None:
    model = gg.quantize(NETWORKS[name](), weights_only=True)
    built = gg.compile(model, hybrid=True, calibration=rows(model, 4, seed=1))
    assert check_of(built)["status"] == "passed"
    assert any(s.family.startswith("hybrid") for s in built.plan.steps)


def test_a_network_of_products_gives_the_same_bits_everywhere() -> None:
    model = gg.quantize(products(), weights_only=True)
    x = rows(model, 3, seed=2)
    answers = []
    for isas in EXACT_ISAS:
        built = gg.compile(model, hybrid=True, isas=isas, calibration=x)
        assert check_of(built)["exact"] is True
        answers.append([built.session().run(x[k:k + 1]) for k in range(len(x))])
    np.testing.assert_array_equal(answers[0], answers[1])


def test_drawn_networks_of_int8_weights_pass_their_check() -> None:
    built = gg.compile(gg.quantize(from_exports(range(8)), weights_only=True), hybrid=True)
    assert check_of(built)["status"] == "passed"
    assert sum(s.family.startswith("hybrid") for s in built.plan.steps) > 4


def test_without_the_argument_products_stay_float() -> None:
    model = gg.quantize(small_networks.plain(), weights_only=True)
    assert not any(n.op_type.startswith("Hybrid") for n in ready_to_plan(model).graph)


def test_float_weights_are_left_alone() -> None:
    plan = gg.compile(products(), hybrid=True, check=False).plan
    assert not any(s.family.startswith("hybrid") for s in plan.steps)


@pytest.mark.parametrize(("kind", "known"), [
    ("Relu", True), ("Sigmoid", True), ("MaxPool", True), ("Clip", True), ("Tanh", False),
    ("Identity", False)])
def test_only_inputs_that_may_be_negative_are_searched_for_their_least(kind: str, known: bool
                                                                       ) -> None:
    g = GraphBuilder("n")
    x = g.input("x", ir.DataType.FLOAT, (1, 4, 6, 6))
    if kind == "Clip":
        x = g.op("Clip", x, g.constant(np.float32(0)), g.constant(np.float32(6)))
    elif kind == "MaxPool":
        x = g.op("MaxPool", g.op("Relu", x), kernel_shape=[2, 2])
    else:
        x = g.op(kind, x)
    w = np.random.default_rng(0).normal(size=(8, 4, 3, 3)).astype(np.float32)
    g.output("y", g.op("Conv", x, g.constant(w)))
    plan = gg.compile(gg.quantize(g.model(), weights_only=True), hybrid=True, check=False).plan
    specs = [s.spec for s in plan.steps if isinstance(s.spec, HybridConvSpec)]
    assert [spec.unsigned for spec in specs] == [known]


@pytest.mark.parametrize("kind", ["Gemm", "Conv"])
def test_a_vector_added_behind_a_bias_is_added_to_it(kind: str) -> None:
    g = GraphBuilder("n")
    rng = np.random.default_rng(0)
    w = rng.normal(size=(3, 4) if kind == "Gemm" else (4, 3, 3, 3)).astype(np.float32)
    x = g.input("x", ir.DataType.FLOAT, (2, 3) if kind == "Gemm" else (1, 3, 4, 4))
    v = g.input("v", ir.DataType.FLOAT, (4,) if kind == "Gemm" else (1, 4, 1, 1))
    b = g.constant(rng.normal(size=4).astype(np.float32))
    g.output("y", g.op("Add", g.op(kind, x, g.constant(w), b), v))
    for model in (g.model(), gg.quantize(g.model(), weights_only=True)):
        for hybrid in (False, True):
            assert check_of(gg.compile(model, hybrid=hybrid))["status"] == "passed"


def keyword_inputs(count: int) -> np.ndarray:
    """Drawn spectrograms whose bands differ in size and level, so that several words win."""
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((count, 49, 10, 1)) * rng.uniform(2, 40, (count, 1, 1, 1))
    return (noise + 15 * rng.standard_normal((count, 1, 10, 1))).astype(np.float32)


@pytest.mark.skipif(MODELS is None, reason="GANGLION_MODELS names no folder of real networks")
def test_a_hybrid_file_keeps_its_int8_weights_and_is_built_from_them() -> None:
    model = gg.load(Path(str(MODELS)) / KEYWORDS)
    stored = [n for n in model.graph if n.op_type == "DequantizeLinear"]
    assert len(stored) == 5
    plan = gg.compile(model, hybrid=True, check=False).plan
    assert sum(s.family.startswith("hybrid") for s in plan.steps) == 5
    assert plan.const_bytes < gg.compile(model, check=False).plan.const_bytes + 2048


@pytest.mark.litert
@pytest.mark.skipif(MODELS is None, reason="GANGLION_MODELS names no folder of real networks")
def test_keyword_spotting_agrees_with_litert(tmp_path: Path) -> None:
    """The same word for at least 99.5 % of the inputs; the file written again: the same bits."""
    lite = pytest.importorskip("ai_edge_litert.interpreter")
    source = Path(str(MODELS)) / KEYWORDS
    model = gg.load(source)
    export(model, tmp_path / "again.tflite", hybrid=True)
    session = gg.compile(model, hybrid=True).session()
    runners = [lite.Interpreter(str(path)) for path in (source, tmp_path / "again.tflite")]
    for runner in runners:
        runner.allocate_tensors()
    same, seen = 0, set()
    inputs = keyword_inputs(400)
    for k in range(len(inputs)):
        x = inputs[k:k + 1]
        theirs = [litert(runner, x) for runner in runners]
        ours = session.run(x)
        same += int(ours.argmax() == theirs[0].argmax())
        seen.add(int(ours.argmax()))
        np.testing.assert_array_equal(theirs[0], theirs[1])
    assert len(seen) >= 3
    assert same >= 0.995 * len(inputs)


@pytest.mark.litert
def test_a_network_quantised_here_answers_alike_in_litert(tmp_path: Path) -> None:
    lite = pytest.importorskip("ai_edge_litert.interpreter")
    model = gg.quantize(products(), weights_only=True)
    export(model, tmp_path / "n.tflite", hybrid=True)
    session = gg.compile(model, hybrid=True).session()
    runner = lite.Interpreter(str(tmp_path / "n.tflite"))
    runner.allocate_tensors()
    x = rows(model, 20, seed=4)
    for k in range(len(x)):
        ours = session.run(x[k:k + 1])
        np.testing.assert_allclose(litert(runner, x[k:k + 1]), ours, atol=0.01 * np.abs(ours).max())


def litert(runner: object, x: np.ndarray) -> np.ndarray:
    """LiteRT's answer to one input."""
    runner.set_tensor(runner.get_input_details()[0]["index"], x)  # type: ignore[attr-defined]
    runner.invoke()  # type: ignore[attr-defined]
    return np.array(runner.get_tensor(  # type: ignore[attr-defined]
        runner.get_output_details()[0]["index"]))
