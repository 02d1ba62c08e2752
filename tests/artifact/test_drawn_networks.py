"""Networks that nobody would write by hand, compiled: `compile` checks against the reference."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.drawn_layers import from_layers
from tests.support.drawn_networks import from_exports, from_ops

import ganglion as gg
from ganglion.ops.graph import GraphBuilder

Maker = Callable[[Sequence[int]], ir.Model]
MAKERS: tuple[Maker, ...] = (from_ops, from_exports, from_layers)
PER_BUILD = 12


def seeds(batch: int) -> range:
    """The seeds of one Model."""
    return range(batch * PER_BUILD, (batch + 1) * PER_BUILD)


def rows(model: ir.Model, count: int) -> list[np.ndarray]:
    """Standard normal calibration rows for every input; whole inputs where the batch is fixed."""
    generator = np.random.default_rng(0)
    shapes = [[d if isinstance(d, int) else count for d in v.shape or ()]
              for v in model.graph.inputs]
    return [generator.standard_normal(s).astype(np.float32) for s in shapes]


@pytest.mark.parametrize("make", MAKERS)
def test_drawn_networks_agree_with_the_reference(make: Maker) -> None:
    assert gg.compile(make(seeds(0))).manifest["check"]["status"] == "passed"


@pytest.mark.parametrize("make", MAKERS)
def test_drawn_networks_agree_with_the_reference_in_plain_c(make: Maker) -> None:
    built = gg.compile(make(seeds(1)), isas=("scalar",))
    assert built.manifest["check"]["status"] == "passed"


@pytest.mark.parametrize("make", [from_exports, from_layers])
def test_drawn_networks_agree_with_the_reference_when_quantised(make: Maker) -> None:
    net = make(seeds(2))
    small = gg.quantize(net, calibration=rows(net, 8))
    assert gg.compile(small).manifest["check"]["status"] == "passed"


@pytest.mark.parametrize(("make", "seed"), [(from_ops, 40116), (from_ops, 220564),
                                            (from_layers, 5484), (from_layers, 80237),
                                            (from_exports, 9114)])
def test_networks_that_once_failed_stay_right(make: Maker, seed: int) -> None:
    assert gg.compile(make([seed]), isas=("scalar",)).manifest["check"]["status"] == "passed"


def test_views_of_one_buffer_that_differ_in_length_only_are_copied_apart() -> None:
    g = GraphBuilder("lengths")
    x = g.input("x", ir.DataType.FLOAT, (4, 6))
    made = g.op("Transpose", g.op("Softmax", x), perm=[1, 0])
    for stop in (2, 3):
        part = g.op("Slice", made, g.ints(0), g.ints(stop), g.ints(0))
        g.output(f"y{stop}", g.op("Softmax", part, axis=1))
    assert gg.compile(g.model(), isas=("scalar",)).manifest["check"]["status"] == "passed"


def test_a_gemm_without_c_may_have_any_beta() -> None:
    g = GraphBuilder("beta")
    x = g.input("x", ir.DataType.FLOAT, (2, 3))
    w = g.constant(np.ones((3, 4), np.float32))
    g.output("y", g.op("Gemm", x, w, beta=2.0))
    assert gg.compile(g.model(), isas=("scalar",)).manifest["check"]["status"] == "passed"


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 0, 1, 1)])
def test_averages_count_padding_but_not_what_lies_behind_it(pads: tuple[int, ...]) -> None:
    g = GraphBuilder("ceil")
    x = g.input("x", ir.DataType.FLOAT, (1, 3, 6, 6))
    g.output("y", g.op("AveragePool", x, kernel_shape=[3, 3], strides=[3, 4], ceil_mode=1,
                       count_include_pad=1, pads=list(pads)))
    assert gg.compile(g.model()).manifest["check"]["status"] == "passed"


def test_a_depthwise_pixel_may_lie_wholly_in_the_padding() -> None:
    g = GraphBuilder("outside")
    x = g.input("x", ir.DataType.FLOAT, (1, 5, 4, 4))
    w = g.constant(np.ones((5, 1, 2, 2), np.float32))
    g.output("y", g.op("Conv", x, w, group=5, pads=[2, 2, 2, 2]))
    assert gg.compile(g.model()).manifest["check"]["status"] == "passed"
