import numpy as np
import onnx_ir as ir
import pytest
from tests.support.networks import NETWORKS, drawn_inputs

import ganglion as gg
from ganglion import layers as L
from ganglion.compression import quantize
from ganglion.errors import ModelError, UnsupportedOp
from ganglion.kernels.registry import families
from ganglion.ops.graph import GraphBuilder
from ganglion.passes.pipeline import ready_to_plan
from ganglion.plan.planner import dump, plan
from ganglion.plan.types import Plan

ISAS = ("vnni", "avx512", "avx2", "scalar")


def _arena_ranges(found: Plan) -> list[list[tuple[int, int, bool]]]:
    """For every step, (first byte, behind the last, written) of its operands in the arena."""
    steps = []
    for step in found.steps:
        described = families()[step.family].operands(step.spec)
        ranges = [(r.offset, r.offset + o.nbytes, o.role == "output")
                  for o, r in zip(described, step.operands) if r.place == "arena"]
        steps.append(ranges)
    return steps


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operand_lies_within_the_arena_and_is_written_before_it_is_read(name: str) -> None:
    found = plan(ready_to_plan(NETWORKS[name]()), ISAS)
    written: set[int] = set()
    for ranges in _arena_ranges(found):
        for first, behind, is_output in ranges:
            assert 0 <= first < behind <= found.arena_bytes
            if not is_output:
                assert set(range(first, behind)) <= written
        for first, behind, is_output in ranges:
            if is_output:
                written |= set(range(first, behind))


@pytest.mark.parametrize("name", ["lstm", "gru", "bidirectional"])
def test_recurrent_kernels_read_int8_weights_as_they_are_stored(name: str) -> None:
    model = NETWORKS[name]()
    found = plan(ready_to_plan(quantize(model, calibration=drawn_inputs(model, 8))), ISAS)
    assert found.steps[0].family == "recurrent"
    described = families()["recurrent"].operands(found.steps[0].spec)
    places = {o.name: (o.dtype, r.place) for o, r in zip(described, found.steps[0].operands)}
    assert places["w"] == places["r"] == ("int8", "const")


@pytest.mark.parametrize("name", NETWORKS)
def test_results_overlap_operands_only_where_the_kernel_allows_it(name: str) -> None:
    found = plan(ready_to_plan(NETWORKS[name]()), ISAS)
    for step in found.steps:
        described = families()[step.family].operands(step.spec)
        pairs = [(o, r) for o, r in zip(described, step.operands) if r.place == "arena"]
        for out, at in [p for p in pairs if p[0].role == "output"]:
            for other, place in pairs:
                if other is out:
                    continue
                apart = (at.offset + out.nbytes <= place.offset
                         or place.offset + other.nbytes <= at.offset)
                assert apart or (other.name in out.alias and at.offset == place.offset)


@pytest.mark.parametrize("name", ["cnn", "lstm", "residual"])
def test_the_same_model_gives_the_same_plan(name: str) -> None:
    first, second = (plan(ready_to_plan(NETWORKS[name]()), ISAS) for _ in range(2))
    assert first == second


def test_bias_activation_and_residual_add_are_part_of_the_convolution() -> None:
    found = plan(ready_to_plan(NETWORKS["residual"]()), ISAS)
    assert [s.family for s in found.steps] == ["conv2d", "conv2d", "matmul"]


def test_a_described_cnn_moves_no_bytes_for_its_layout() -> None:
    net = L.Sequential([L.Input((12, 12, 3)), L.Conv2D(8, 3, activation="relu"),
                        L.MaxPooling2D(), L.Conv2D(4, 3), L.Flatten(), L.Dense(3)])
    found = plan(ready_to_plan(net), ISAS)
    assert [s.family for s in found.steps] == ["conv2d", "pool", "conv2d", "matmul"], dump(found)


def test_quantised_residual_stays_in_eight_bits() -> None:
    net = NETWORKS["residual"]()
    small = quantize(net, calibration=drawn_inputs(net, 32))
    found = plan(ready_to_plan(small), ISAS)
    floats = plan(ready_to_plan(net), ISAS)
    assert found.arena_bytes < 0.6 * floats.arena_bytes


def test_unknown_operators_are_all_named_with_their_nodes() -> None:
    g = GraphBuilder("odd")
    x = g.input("x", ir.DataType.FLOAT, (2, 2))
    g.output("y", g.op("Det", x, hint="determinant"))
    with pytest.raises(UnsupportedOp, match=r"'determinant'.*Det"):
        plan(g.model())


def test_dynamic_shapes_are_refused_with_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"dynamic shape.*shapes="):
        plan(NETWORKS["linear"]())


def test_what_has_no_elements_takes_no_step() -> None:
    """As in ONNX's suite: a sum of none is 0, and arithmetic on none is nothing."""
    g = GraphBuilder("empty")
    x = g.input("x", ir.DataType.FLOAT, (2, 0, 4))
    g.output("sum", g.op("ReduceSum", g.op("Abs", x), g.ints(1)))
    g.output("none", g.op("Neg", x))
    total, none = gg.compile(g.model(), isas=("scalar",)).session().run(np.zeros((2, 0, 4), "f"))
    np.testing.assert_array_equal(total, np.zeros((2, 1, 4)))
    assert none.shape == (2, 0, 4)


def test_a_dropout_that_drops_is_refused_and_one_that_does_not_keeps_all() -> None:
    def dropout(*more: np.ndarray) -> ir.Model:
        g = GraphBuilder("dropout")
        x = g.input("x", ir.DataType.FLOAT, (2, 3))
        for k, value in enumerate(g.ops("Dropout", x, *map(g.constant, more), outputs=2)):
            g.output(f"y{k}", value)
        return g.model()

    half, yes = np.float32(0.5), np.asarray(True)
    x = np.ones((2, 3), np.float32)
    for model in (dropout(), dropout(half), dropout(np.float32(0), yes)):
        y, mask = gg.compile(model, isas=("scalar",)).session().run(x)
        assert (y == x).all()
        assert mask.all()
    with pytest.raises(UnsupportedOp, match=r"'dropout' \(Dropout\): training_mode"):
        gg.compile(dropout(half, yes), isas=("scalar",), check=False)
