"""A live compiled Keras model trains natively and agrees with itself trained by Keras."""

import os
from collections.abc import Callable

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras")

from ganglion import layers as L  # noqa: E402
from ganglion.errors import DataError, ModelError, UnsupportedOp  # noqa: E402
from ganglion.formats.keras.live import from_keras  # noqa: E402
from ganglion.formats.keras.weights import to_keras  # noqa: E402
from ganglion.training import fit, losses, optimizers  # noqa: E402
from ganglion.training.keras.settings import read_settings  # noqa: E402

pytestmark = [pytest.mark.keras,
              pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")]

X = np.random.default_rng(1).normal(size=(24, 6, 4)).astype(np.float32)


def _net() -> "keras.Model":
    """Layers whose weights the Model keeps in another order, and one inside another."""
    keras.utils.set_random_seed(2)
    inner = keras.Sequential([keras.Input((6, 5)), keras.layers.GRU(4, return_sequences=True),
                              keras.layers.Bidirectional(keras.layers.LSTM(3))], name="inner")
    start = keras.Input((6, 4))
    x = keras.layers.Conv1D(5, 3, padding="same", activation="relu")(start)
    x = inner(keras.layers.BatchNormalization()(x))
    return keras.Model(start, keras.layers.Dense(3, activation="softmax", name="kind")(x))


def test_weights_come_back_to_where_they_were() -> None:
    net = _net()
    before = [np.array(w) for w in net.get_weights()]
    model = from_keras(net)
    net.set_weights([w + 1 for w in before])
    to_keras(model, net)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))


def test_a_keras_model_learns_here_as_it_does_in_keras() -> None:
    y = X[:, 0, :3].argmax(1)
    ours, theirs = _net(), _net()
    for net in (ours, theirs):
        net.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9),
                    loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    expected = theirs.fit(X, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    same, history = fit(ours, X, y, batch_size=8, epochs=2, shuffle=False)
    assert same is ours
    for found, wanted in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)
    np.testing.assert_allclose(history.history["loss"], expected["loss"], rtol=1e-4)
    assert set(history.history) == {"loss", "accuracy"}
    np.testing.assert_allclose(ours.predict(X, verbose=0), theirs.predict(X, verbose=0), atol=1e-4)


def _config(**settings: object) -> dict[str, object]:
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="end")])
    net.compile(**({"optimizer": "sgd", "loss": "mse"} | settings))
    found: dict[str, object] = net.get_compile_config()
    return found


def test_what_keras_was_compiled_with_is_read() -> None:
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 50, warmup_target=0.2, warmup_steps=5)
    found = read_settings(_config(
        optimizer=keras.optimizers.AdamW(schedule, beta_1=0.8, clipnorm=2.0, use_ema=True,
                                         gradient_accumulation_steps=3),
        loss={"end": keras.losses.BinaryCrossentropy(from_logits=True)},
        metrics=[["mae", keras.metrics.RootMeanSquaredError()]]), ["end"])
    assert found.losses == (losses.BinaryCrossentropy(from_logits=True),)
    assert found.metrics == ("mae", "rmse")
    assert found.optimizer == optimizers.AdamW(
        learning_rate=optimizers.schedules.CosineDecay(0.1, 50, warmup_target=0.2, warmup_steps=5),
        beta_1=0.8, clipnorm=2.0, use_ema=True, gradient_accumulation_steps=3)


@pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW", "Adagrad", "Adamax", "Lion"])
def test_every_optimizer_is_read_with_its_defaults(name: str) -> None:
    found = read_settings(_config(optimizer=getattr(keras.optimizers, name)()), ["end"]).optimizer
    for argument, value in vars(getattr(optimizers, name)()).items():
        ours = getattr(found, argument)
        assert ours == (pytest.approx(value) if isinstance(value, float) else value)


UNKNOWN: dict[str, Callable[[], dict[str, object]]] = {
    "Ftrl": lambda: {"optimizer": "ftrl"},
    "Adadelta": lambda: {"optimizer": keras.optimizers.Adadelta()},
    "ema_overwrite_frequency": lambda: {"optimizer": keras.optimizers.SGD(
        use_ema=True, ema_overwrite_frequency=5)},
    "label_smoothing": lambda: {"loss": keras.losses.BinaryCrossentropy(label_smoothing=0.1)},
    "reduction": lambda: {"loss": keras.losses.MeanSquaredError(reduction="sum")},
    "Huber": lambda: {"loss": keras.losses.Huber(delta=0.3)},
    "KLDivergence": lambda: {"loss": keras.losses.KLDivergence()},
    "AUC": lambda: {"metrics": [keras.metrics.AUC()]},
    "loss_weights": lambda: {"loss_weights": [2.0]},
    "weighted_metrics": lambda: {"weighted_metrics": ["mae"]},
    "threshold": lambda: {"metrics": [keras.metrics.BinaryAccuracy(threshold=0.7)]},
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_a_setting_without_a_counterpart_is_named(what: str) -> None:
    found = read_settings(_config(**UNKNOWN[what]()), ["end"])
    with pytest.raises(DataError, match=rf"(?i){what}"):
        [getattr(found, part) for part in ("losses", "optimizer", "metrics")]


def test_what_cannot_be_trained_is_said() -> None:
    net = _net()
    with pytest.raises(DataError, match="not compiled"):
        fit(net, X, X[:, 0, 0])
    with pytest.raises(ModelError, match="fit takes a Model"):
        fit("net.keras", X, X)  # type: ignore[type-var]
    with pytest.raises(DataError, match="no loss"):
        fit(L.Sequential([L.Input((3,)), L.Dense(1)]), X[:, 0, :3], X[:, 0, 0])


def test_weights_of_another_network_are_refused() -> None:
    net = _net()
    before = [np.array(w) for w in net.get_weights()]
    with pytest.raises((ModelError, UnsupportedOp), match="the model that it was read from"):
        to_keras(L.Sequential([L.Input((6, 4)), L.Dense(3)]), net)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))
