"""Distillation: the law of its loss, and a student that gains."""

import numpy as np
import onnx_ir as ir
import pytest
from tests.support import uneven

import ganglion as gg
from ganglion import layers as L
from ganglion.errors import DataError
from ganglion.ops.evaluate import evaluate
from ganglion.ops.graph import GraphBuilder
from ganglion.training.distillation import Distillation
from ganglion.training.losses import (
    CategoricalCrossentropy,
    Loss,
    MeanSquaredError,
    SparseCategoricalCrossentropy,
)
from ganglion.training.step.differentiate import differentiate

FLOAT = ir.DataType.FLOAT
RNG = np.random.default_rng(0)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


@pytest.mark.parametrize("hard", [SparseCategoricalCrossentropy(from_logits=True),
                                  CategoricalCrossentropy(from_logits=True)], ids=lambda h: h.name)
@pytest.mark.parametrize(("alpha", "temperature"), [(0.3, 4.0), (0.0, 1.0), (1.0, 2.0)])
def test_the_loss_is_hintons_and_its_gradient_that_of_finite_differences(
        hard: Loss, alpha: float, temperature: float) -> None:
    loss = Distillation(hard, alpha, temperature)
    labels, z, t = RNG.integers(0, 5, 6), RNG.normal(size=(6, 5)), RNG.normal(size=(6, 5))
    truth = labels if hard.labels else np.eye(5)[labels]
    soft = softmax(t / temperature)
    target = loss.packed(truth, soft)
    np.testing.assert_array_equal(loss.truth(target), truth)
    g = GraphBuilder("loss")
    logits = g.input("z", FLOAT, (6, 5))
    g.output("loss", loss.total(g, g.input("y", *loss.target(logits)), logits))
    model = differentiate(g.model(), "loss", ["z"])

    def expected(z: np.ndarray) -> float:
        plain = -np.log(softmax(z)[np.arange(6), labels])
        gap = (soft * (np.log(soft) - np.log(softmax(z / temperature)))).sum(-1)
        return float((alpha * plain + (1 - alpha) * temperature ** 2 * gap).mean())

    found = evaluate(model, {"z": z, "y": target}, dtype=np.float64)
    assert found["loss"] == pytest.approx(expected(z), rel=1e-6)
    for index in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[index] = 1e-6
        slope = (expected(z + step) - expected(z - step)) / 2e-6
        assert found["grad.z"][index] == pytest.approx(slope, rel=1e-4, abs=1e-7)


def student(seed: int = 0) -> ir.Model:
    return gg.Sequential([gg.Input((8, 8, 1)), L.Flatten(), L.Dense(10, activation="softmax")],
                         seed=seed)


def test_alpha_one_is_plain_training() -> None:
    (x, y), _ = uneven.digits()
    teacher = student(1)
    plain, first = gg.fit(student(), x[:96], y[:96], loss="sparse_categorical_crossentropy",
                          epochs=2, metrics=["accuracy"], validation_split=0.25)
    same, second = gg.distill(student(), teacher, x[:96], y[:96], alpha=1.0, epochs=2,
                              metrics=["accuracy"], validation_split=0.25)
    for name, value in plain.graph.initializers.items():
        np.testing.assert_allclose(same.graph.initializers[name].const_value.numpy(),
                                   value.const_value.numpy(), rtol=1e-6, atol=1e-7)
    assert first.history["accuracy"] == second.history["accuracy"]
    assert first.history["val_loss"] == pytest.approx(second.history["val_loss"], rel=1e-5)


def test_a_student_with_poor_labels_gains_from_its_teacher() -> None:
    """The student sees 200 rows, a third of them with a drawn label; the teacher has learned from
    1200 true ones."""
    train, test = uneven.digits()
    big = gg.Sequential([gg.Input((8, 8, 1)), L.Conv2D(12, 3, activation="relu"),
                         L.MaxPooling2D(), L.Flatten(), L.Dense(10, activation="softmax")])
    teacher = uneven.trained(big, train, [(5e-3, 6)], 0)
    drawn = np.random.default_rng(3)
    labels = np.where(drawn.random(200) < 1 / 3, drawn.integers(0, 10, 200), train[1][:200])
    rows = (train[0][:200], labels)
    options = {"optimizer": gg.optimizers.Adam(learning_rate=1e-2), "epochs": 20}
    alone, _ = gg.fit(student(), *rows, loss="sparse_categorical_crossentropy", **options)
    taught, history = gg.distill(student(), teacher, *rows, validation_data=test,
                                 metrics=["accuracy"], alpha=0.1, temperature=4.0, **options)
    gained = uneven.accuracy(taught, test)
    assert gained > uneven.accuracy(alone, test) + 0.05
    assert history.history["val_accuracy"][-1] == pytest.approx(gained)


def test_wrong_settings_are_refused() -> None:
    (x, y), _ = uneven.digits()
    other = gg.Sequential([gg.Input((8, 8, 1)), L.Flatten(), L.Dense(4, activation="softmax")])
    for options in ({"alpha": 1.5}, {"temperature": 0.0}, {"loss": MeanSquaredError()}):
        with pytest.raises(DataError):
            gg.distill(student(), student(), x[:8], y[:8], **options)
    with pytest.raises(DataError, match="expected a list"):
        gg.distill(student(), student(), x[:8], y[:8], metrics="accuracy")
    with pytest.raises(DataError, match="validation_data has"):
        gg.distill(student(), student(), x[:8], y[:8], validation_data=3)
    with pytest.raises(DataError, match="same classes"):
        gg.distill(student(), other, x[:8], y[:8])
