"""A quantised product with dead, tiny and huge channels answers in LiteRT as it does here."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.litert import answers, largest, litert, rows
from tests.support.uneven_channels import LAYERS, codes_of, network, weights

import ganglion as gg
from ganglion.formats.tflite.write.network import export
from ganglion.ops.graph import GraphBuilder

WRITTEN = [name for name in LAYERS if name != "transposed_groups"]
"""A .tflite file has no transposed convolution with groups."""


@pytest.mark.litert
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(("sizes", "biases"), [
    ((0.01, 0, 0.02, 1e-30), (-1.0, 0.4, 0.3, 0.4)), ((0, 0, 0, 0), (-1.0, 0.4, 0.3, 0.0)),
    ((1e-6, 0, 1e-42, 3e-7), (0.0, 0.0, -0.01, 0.0))])
@pytest.mark.parametrize("name", WRITTEN)
def test_litert_says_the_bias_of_a_dead_channel(
        name: str, sizes: tuple[float, ...], biases: tuple[float, ...], per_channel: bool,
        tmp_path: Path) -> None:
    layer = LAYERS[name]
    model = network(layer, weights(layer, sizes, 3), np.asarray(biases, np.float32), None)
    x = np.random.default_rng(4).uniform(-40, 255, (24, *layer.x)).astype(np.float32)
    quantised = gg.quantize(model, x, per_channel=per_channel)
    export(quantised, tmp_path / "n.tflite")
    given = rows(quantised, [x[:6]])
    for reference in (False, True):
        found = litert(tmp_path / "n.tflite", quantised, given, reference=reference)
        step = codes_of(layer, quantised, x).step
        assert largest(answers(quantised, [x[:6]]), found) <= step * 1.001


@pytest.mark.litert
@pytest.mark.parametrize("slopes", [(1,), (4,), (6, 1)])
def test_litert_says_what_a_quantised_prelu_says(slopes: tuple[int, ...], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    g = GraphBuilder("slopes")
    weights = g.constant(rng.normal(size=(5, 4)).astype(np.float32))
    product = g.op("MatMul", g.input("x", ir.DataType.FLOAT, (1, 6, 5)), weights)
    slope = rng.uniform(0.1, 0.9, slopes).astype(np.float32)
    g.output("y", g.op("PRelu", product, g.constant(slope, share=False)))
    x = rng.normal(size=(64, 6, 5)).astype(np.float32)
    quantised = gg.quantize(g.model(), x)
    export(quantised, tmp_path / "n.tflite")
    mine = answers(quantised, [x[:8]])
    codes = np.unique(np.concatenate([row["y"].reshape(-1) for row in mine]))
    step = float(np.diff(codes).min())
    for reference in (False, True):
        found = litert(tmp_path / "n.tflite", quantised, rows(quantised, [x[:8]]),
                       reference=reference)
        assert largest(mine, found) <= step * 1.001
