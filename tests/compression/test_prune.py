"""compression.prune: the smallest weights become zero and stay so."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.small_networks import Net

import ganglion as gg
from ganglion.compression.pruning.prune import (
    PolynomialDecay,
    apply_masks,
    magnitude_masks,
    prunable,
    prune,
    prune_with,
)
from ganglion.compression.size import model_bytes, sparsity
from ganglion.errors import DataError, ModelError
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.training.optimizers import Adam


def network() -> ir.Model:
    net = Net(1, ("N", 3, 8, 8), 3).conv(8).norm().act("Relu").depthwise().act("Relu").pool()
    return net.flatten(128).dense(10, "matmul").act("Relu").dense(4).model()


def weights(model: ir.Model) -> dict[str, np.ndarray]:
    return {n: model.graph.initializers[n].const_value.numpy() for n in prunable(model)}


def test_kernels_are_prunable_and_nothing_else() -> None:
    shapes = [w.shape for w in weights(network()).values()]
    assert shapes == [(8, 3, 3, 3), (128, 10), (10, 4)]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_masks_remove_the_given_share_and_only_the_smallest(share: float) -> None:
    model = network()
    for name, mask in magnitude_masks(model, share).items():
        w = np.abs(weights(model)[name])
        assert (~mask).sum() == round(share * w.size)
        assert share == 0 or w[~mask].max() <= w[mask].min()


def test_masked_weights_are_zero_and_the_rest_and_the_model_untouched() -> None:
    model = network()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    masks = magnitude_masks(model, 0.6)
    thinned = apply_masks(model, masks)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    for name, mask in masks.items():
        np.testing.assert_array_equal(weights(thinned)[name], weights(model)[name] * mask)
    assert sparsity(thinned) > 0.5
    assert model_bytes(thinned) == model_bytes(model)


def test_pruning_follows_its_schedule_and_ends_with_zeros() -> None:
    rng = np.random.default_rng(0)
    calls: list[tuple[float, int]] = []

    def trainer(model: ir.Model, masks: Mapping[str, np.ndarray], epochs: int) -> ir.Model:
        for name, w in weights(model).items():
            assert not w[~masks[name]].any()
            moved = w + rng.normal(size=w.shape).astype(np.float32) * 0.1
            model.graph.initializers[name].const_value = ir.tensor(moved, name=name)
        calls.append((float(np.mean([(~m).mean() for m in masks.values()])), epochs))
        return model

    pruned = prune_with(network(), trainer, PolynomialDecay(0.2, 0.75, finish=3), 6)
    assert [epochs for _, epochs in calls] == [1, 1, 1, 3]
    shares = [share for share, _ in calls]
    assert shares == sorted(shares)
    np.testing.assert_allclose([shares[0], shares[-1]], [0.2, 0.75], atol=0.02)
    for w in weights(pruned).values():
        assert (w == 0).sum() == round(0.75 * w.size)


def test_a_schedule_rises_from_start_to_end() -> None:
    schedule = PolynomialDecay(0.1, 0.9, begin=2, finish=8, frequency=2)
    shares = [schedule.at(e) for e in range(10)]
    np.testing.assert_allclose(shares[:3], 0.1)
    np.testing.assert_allclose(shares[8:], 0.9)
    assert shares[2:8:2] == shares[3:9:2]
    assert shares[2] < shares[4] < shares[6] < shares[8]


def test_pruning_with_the_compiled_step_keeps_zeros_and_learns() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(256, 8)).astype(np.float32)
    labels = (x @ rng.normal(size=(8, 3))).argmax(axis=1)
    net = Net(2, ("N", 8), 8).dense(16).act("Relu").dense(3).act("Softmax", axis=-1)
    start = net.model()
    pruned = prune(start, x, labels, loss="sparse_categorical_crossentropy", epochs=12,
                   schedule=PolynomialDecay(0.5, 0.5), optimizer=Adam(learning_rate=0.02))
    for w in weights(pruned).values():
        assert (w == 0).sum() >= round(0.5 * w.size)
        assert (w != 0).sum() > 0.4 * w.size
    before, after = (float((evaluate(m, {"x": x})["y"].argmax(axis=1) == labels).mean())
                     for m in (start, pruned))
    assert after > max(before, 0.8)


def zeros(model: ir.Model) -> list[int]:
    return [int((w == 0).sum()) for w in weights(model).values()]


@pytest.mark.parametrize("rounded", [False, True])
def test_what_was_pruned_stays_zero_in_later_training(rounded: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(64, 3, 8, 8)).astype(np.float32)
    y = rng.normal(size=(64, 4)).astype(np.float32)
    model = network()
    pruned = apply_masks(model, magnitude_masks(model, 0.7))
    gg.save(pruned, tmp_path / "net.onnx")
    start = gg.load(tmp_path / "net.onnx")
    if rounded:
        start = gg.quantize_aware(start, x)
    trained, _ = gg.fit(start, x, y, loss="mse", epochs=1)
    assert zeros(trained) == zeros(pruned)
    for before, after in zip(weights(start).values(), weights(trained).values()):
        assert (before != after).any()
    freed = {name: np.ones(w.shape) for name, w in weights(start).items()}
    assert sum(zeros(gg.fit(start, x, y, loss="mse", epochs=1, masks=freed)[0])) \
        < sum(zeros(pruned)) / 2


def test_wrong_requests_are_refused() -> None:
    model = network()
    for share in (1.0, -0.1, {"nose": 0.5}):
        with pytest.raises(DataError):
            magnitude_masks(model, share)
    for arguments in ((0.5, 1.0), (0.1, 0.5, 3, 2), (0.1, 0.5, 0, 1, 0.0)):
        with pytest.raises(DataError):
            PolynomialDecay(*arguments)
    with pytest.raises(DataError):
        apply_masks(model, {prunable(model)[0]: np.ones((2, 2), bool)})
    with pytest.raises(DataError):
        prune_with(model, lambda model, masks, epochs: model, PolynomialDecay(0.1, 0.5), 0)


def test_only_what_layers_mark_as_trainable_is_pruned() -> None:
    model = network()
    name = prunable(model)[1]
    model.graph.initializers[name].metadata_props["ganglion.trainable"] = "true"
    assert prunable(model) == [name]


def test_a_model_without_weights_is_refused() -> None:
    g = GraphBuilder("empty")
    g.output("y", g.op("Relu", g.input("x", ir.DataType.FLOAT, (1, 2))))
    with pytest.raises(ModelError, match="no weights"):
        magnitude_masks(g.model(), 0.5)
