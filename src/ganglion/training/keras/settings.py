"""What a live Keras 3 model was compiled with, in our own words. Keras is not imported: everything
is read from what `model.get_compile_config()` gives, plain dictionaries.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TypeVar

from ganglion.errors import DataError
from ganglion.training import losses, optimizers
from ganglion.training.losses import Loss
from ganglion.training.optimizers import Optimizer, schedules

Made = TypeVar("Made")

_METRICS = {
    "Accuracy": "accuracy", "BinaryAccuracy": "accuracy", "CategoricalAccuracy": "accuracy",
    "SparseCategoricalAccuracy": "accuracy", "MeanAbsoluteError": "mae",
    "MeanSquaredError": "mse", "RootMeanSquaredError": "rmse",
}
"""Keras's metric classes -> ours."""

_PLAIN = {"name": None, "dtype": None, "reduction": "sum_over_batch_size", "axis": -1,
          "label_smoothing": 0.0, "threshold": 0.5}
"""Arguments that we do not have, and the value at which they change nothing (None: any)."""


@dataclass(frozen=True)
class Settings:
    """What a compile config says, each part read when it is asked for: DataError for what has no
    counterpart. `outputs` names the Keras model's outputs."""

    config: Mapping[str, object]
    outputs: Sequence[str]

    @property
    def optimizer(self) -> Optimizer:
        return _optimizer(self.config.get("optimizer"))

    @property
    def losses(self) -> tuple[Loss, ...]:
        """One for each output."""
        if self.config.get("loss_weights") is not None:
            raise DataError("the Keras model was compiled with loss_weights, which fit has not; "
                            "compile it without")
        return _losses(self.config.get("loss"), self.outputs)

    @property
    def metrics(self) -> tuple[str, ...]:
        """By our names."""
        if self.config.get("weighted_metrics") is not None:
            raise DataError("the Keras model was compiled with weighted_metrics, which fit has "
                            "not; compile it without, or give fit metrics=[...]")
        return tuple(dict.fromkeys(map(_metric, _flat(self.config.get("metrics")))))


def read_settings(config: Mapping[str, object] | None, outputs: Sequence[str]) -> Settings:
    """Settings from a compile config. Raises DataError for a model that was not compiled."""
    if not config:
        raise DataError("the Keras model was not compiled; call its compile(optimizer, loss) "
                        "first, or give optimizer and loss here and the Model of "
                        "ganglion.from_keras")
    return Settings(config, tuple(outputs))


def _optimizer(given: object) -> Optimizer:
    if isinstance(given, str):
        return optimizers.get(given)
    name, arguments = _described(given, "optimizer")
    make = optimizers.named(name)
    rate = arguments.get("learning_rate")
    if isinstance(rate, Mapping):
        arguments["learning_rate"] = _schedule(rate)
    return _made(make, arguments, name)


def _schedule(given: object) -> schedules.LearningRateSchedule:
    name, arguments = _described(given, "learning rate schedule")
    make = getattr(schedules, name, None)
    if not (isinstance(make, type) and issubclass(make, schedules.LearningRateSchedule)):
        raise DataError(f"the Keras model's learning rate follows {name}, which "
                        "ganglion.optimizers.schedules has not")
    return _made(make, arguments, name)


def _losses(given: object, outputs: Sequence[str]) -> tuple[Loss, ...]:
    if isinstance(given, Mapping) and "class_name" not in given:
        missing = [name for name in outputs if name not in given]
        if missing:
            raise DataError(f"the Keras model's losses {sorted(given)} leave out the output "
                            f"{missing[0]!r}; give one for each")
        given = [given[name] for name in outputs]
    listed = list(given) if isinstance(given, list | tuple) else [given] * len(outputs)
    if len(listed) != len(outputs):
        raise DataError(f"the Keras model has {len(outputs)} outputs and {len(listed)} losses; "
                        "give one for each")
    return tuple(map(_loss, listed))


def loss_of(given: object) -> Loss:
    """A loss of ours, by name, or as an object or a function of Keras's own.

    Raises DataError for another function, which has no gradient here, and for what is no loss.
    """
    if isinstance(given, str | Loss):
        return losses.get(given)
    if type(given).__module__.startswith("keras.") and hasattr(given, "get_config"):
        return _loss({"class_name": type(given).__name__, "config": given.get_config()})
    name = getattr(given, "__name__", "")
    if callable(given) and str(getattr(given, "__module__", "")).startswith("keras."):
        return losses.get(name)
    if callable(given):
        raise DataError(f"loss is the function {name or given!r}, whose Python cannot be "
                        "differentiated: name a loss such as 'mse', or derive a class from "
                        "ganglion.training.losses.Loss")
    raise DataError(f"loss={given!r}: expected a name such as 'mse', a loss from "
                    "ganglion.training.losses or keras.losses, one of them for each output, or a "
                    "dict by output")


def _loss(given: object) -> Loss:
    if isinstance(given, str):
        return losses.get(given)
    name, arguments = _described(given, "loss")
    if name == "Huber" and "delta" not in arguments:
        raise DataError("the Keras model's Huber does not tell its delta; give fit "
                        "loss=ganglion.losses.Huber(delta)")
    make = type(losses.get(name))
    return _made(make, arguments, name)


def _metric(given: object) -> str:
    if isinstance(given, str):
        return given
    name, arguments = _described(given, "metric")
    if name not in _METRICS:
        raise DataError(f"the Keras model's metric {name} has no counterpart; there are "
                        f"{sorted(_METRICS)}. Give fit metrics=[...] in its place")
    return _made(lambda: _METRICS[name], arguments, name)


def _flat(given: object) -> list[object]:
    """Metrics of one list, of a list for each output, or by output name: all of them."""
    if given is None:
        return []
    if isinstance(given, Mapping) and "class_name" not in given:
        given = list(given.values())
    if isinstance(given, list | tuple):
        return [each for part in given for each in _flat(part)]
    return [given]


def _described(given: object, role: str) -> tuple[str, dict[str, object]]:
    """Class name and arguments of an object as Keras serialises it."""
    config = given.get("config") if isinstance(given, Mapping) else None
    if not isinstance(given, Mapping) or not isinstance(config, Mapping):
        raise DataError(f"the Keras model's {role} is {given!r}; expected one of Keras's own by "
                        "name or as an object")
    return str(given.get("class_name")), dict(config)


def _made(make: Callable[..., Made], arguments: Mapping[str, object], name: str) -> Made:
    """`make` called with the arguments that it has; DataError for others that would change
    something."""
    ours = set(signature(make).parameters)
    for key, value in arguments.items():
        plain = key in _PLAIN and _PLAIN[key] in (None, value)
        if key not in ours and value is not None and not plain:
            raise DataError(f"{name}({key}={value!r}) of the Keras model has no counterpart here")
    return make(**{key: value for key, value in arguments.items() if key in ours})
