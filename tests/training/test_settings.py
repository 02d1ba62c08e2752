"""Law: a setting of another type, or one that is no number, is refused by name, at once."""

import inspect
from collections.abc import Iterator

import numpy as np
import pytest

from ganglion.errors import DataError
from ganglion.training import callbacks, losses, optimizers, schedules

GIVEN = {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5, "boundaries": [1],
         "values": [0.1, 0.2], "first_decay_steps": 5, "filepath": "net.onnx",
         "filename": "log.csv", "schedule": lambda epoch, rate: rate, "value": 0.5}
"""Settings that have no default."""

CLASSES = [optimizers.SGD, optimizers.RMSprop, optimizers.Adam, optimizers.AdamW,
           optimizers.Adamax, optimizers.Adagrad, optimizers.Lion,
           schedules.PiecewiseConstantDecay, schedules.ExponentialDecay,
           schedules.InverseTimeDecay, schedules.PolynomialDecay, schedules.CosineDecay,
           schedules.CosineDecayRestarts, losses.Huber, losses.BinaryCrossentropy,
           losses.CategoricalCrossentropy, losses.SparseCategoricalCrossentropy,
           callbacks.EarlyStopping, callbacks.StopAtLoss, callbacks.ReduceLROnPlateau,
           callbacks.ModelCheckpoint, callbacks.CSVLogger, callbacks.LearningRateScheduler,
           callbacks.LambdaCallback]


def settings() -> Iterator[tuple[type, str, object]]:
    for cls in CLASSES:
        for name, parameter in inspect.signature(cls).parameters.items():
            yield cls, name, object()
            yield cls, name, [object()]
            if parameter.annotation in (int, float) or "float |" in str(parameter.annotation):
                yield from ((cls, name, value) for value in (
                    float("nan"), "1", 10**400, 1e39, float("inf"), -1e39))
            if name == "mode":
                yield cls, name, np.array(["min", "max"])


@pytest.mark.parametrize(("cls", "name", "value"), list(settings()))
def test_a_wrong_setting_is_refused_by_name(cls: type, name: str, value: object) -> None:
    needed = {k: v for k, v in GIVEN.items() if k in inspect.signature(cls).parameters}
    with pytest.raises(DataError, match=rf"{cls.__name__}\({name}=.*expected"):
        cls(**{**needed, name: value})


@pytest.mark.parametrize("cls", CLASSES)
def test_the_settings_that_stand_in_the_signature_are_taken(cls: type) -> None:
    parameters = inspect.signature(cls).parameters
    needed = {k: v for k, v in GIVEN.items() if k in parameters}
    usual = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    assert cls(**{**usual, **needed}) is not None
