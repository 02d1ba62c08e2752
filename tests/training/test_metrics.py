import numpy as np
import pytest
from sklearn import metrics as sk

import ganglion as gg
from ganglion.errors import DataError
from ganglion.ops.evaluate import evaluate
from ganglion.training.metrics import compute, resolve

RNG = np.random.default_rng(0)
SPARSE, SCORES = RNG.integers(0, 4, 50), RNG.random((50, 4))
BINARY, CHANCES = RNG.integers(0, 2, 50), RNG.random((50, 1))


def _figures(names: list[str], target: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    return compute(resolve(names), [target], [prediction], ["out"])


@pytest.mark.parametrize("target", [SPARSE, SPARSE[:, None], np.eye(4)[SPARSE]])
def test_classes_of_several_columns_are_scored_by_scikit_learn(target: np.ndarray) -> None:
    found = _figures(["accuracy", "precision", "recall", "f1"], target, SCORES)
    guess = SCORES.argmax(1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(SPARSE, guess))
    assert found["precision"] == pytest.approx(sk.precision_score(SPARSE, guess, average="macro"))
    assert found["recall"] == pytest.approx(sk.recall_score(SPARSE, guess, average="macro"))
    assert found["f1"] == pytest.approx(sk.f1_score(SPARSE, guess, average="macro"))


@pytest.mark.parametrize("target", [BINARY, BINARY[:, None], BINARY.astype(np.float32)])
def test_one_column_is_cut_at_one_half(target: np.ndarray) -> None:
    found = _figures(["acc", "precision", "recall", "f1_score"], target, CHANCES)
    guess = (CHANCES[:, 0] > 0.5).astype(int)
    assert found["acc"] == pytest.approx(sk.accuracy_score(BINARY, guess))
    assert found["precision"] == pytest.approx(sk.precision_score(BINARY, guess))
    assert found["recall"] == pytest.approx(sk.recall_score(BINARY, guess))
    assert found["f1_score"] == pytest.approx(sk.f1_score(BINARY, guess))


def test_one_column_of_logits_is_cut_at_zero() -> None:
    x = RNG.normal(size=(64, 4)).astype(np.float32)
    y = (x.sum(1) > 0).astype(np.int32)
    net = gg.Sequential([gg.Input((4,)), gg.layers.Dense(1)])
    logits = evaluate(net, {str(net.graph.inputs[0].name): x})[str(net.graph.outputs[0].name)]
    figures = gg.evaluate(net, x, y, loss=gg.losses.BinaryCrossentropy(from_logits=True),
                          metrics=["accuracy", "precision", "recall", "f1"])
    guess = (logits[:, 0] > 0).astype(int)
    assert ((logits[:, 0] > 0) != (logits[:, 0] > 0.5)).any()
    assert figures["accuracy"] == pytest.approx(sk.accuracy_score(y, guess))
    assert figures["precision"] == pytest.approx(sk.precision_score(y, guess))
    assert figures["recall"] == pytest.approx(sk.recall_score(y, guess))
    assert figures["f1"] == pytest.approx(sk.f1_score(y, guess))


def test_distances_are_means_over_every_value() -> None:
    target, prediction = RNG.normal(size=(9, 3)), RNG.normal(size=(9, 3))
    found = _figures(["mae", "mse", "rmse", "mean_absolute_error"], target, prediction)
    assert found["mae"] == found["mean_absolute_error"] == pytest.approx(
        np.abs(target - prediction).mean())
    assert found["mse"] == pytest.approx(((target - prediction) ** 2).mean())
    assert found["rmse"] == pytest.approx(np.sqrt(((target - prediction) ** 2).mean()))
    with pytest.raises(DataError, match="equal shapes"):
        _figures(["mae"], SPARSE, SCORES)


def test_own_functions_are_metrics_too() -> None:
    def spread(target: np.ndarray, prediction: np.ndarray) -> float:
        return float(np.ptp(prediction))

    found = compute(resolve([spread]), [SPARSE, BINARY], [SCORES, CHANCES], ["a", "b"])
    assert found == {"a_spread": np.ptp(SCORES), "b_spread": np.ptp(CHANCES)}
