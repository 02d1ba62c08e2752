"""Law: what turns itself into an array is one everywhere; what does not is refused by name."""

from collections.abc import Callable

import numpy as np
import pytest

import ganglion as gg
from ganglion import layers as L
from ganglion.errors import DataError

X = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
NET = gg.Sequential([gg.Input((4,)), L.Dense(4)], name="line")


class Own:
    """A tensor of some other library."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return self._values


class Barred(Own):
    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise RuntimeError("it lies on another device")


TAKERS: dict[str, Callable[[object], object]] = {
    "fit, x": lambda a: gg.fit(NET, a, X, loss="mse", epochs=1)[1].history["loss"],
    "fit, y": lambda a: gg.fit(NET, X, a, loss="mse", epochs=1)[1].history["loss"],
    "fit, sample_weight": lambda a: gg.fit(NET, X, X, loss="mse", epochs=1,
                                           sample_weight=a)[1].history["loss"],
    "evaluate": lambda a: gg.evaluate(NET, a, X, loss="mse"),
    "quantize": lambda a: len(gg.quantize(NET, a).graph),
    "compile": lambda a: gg.compile(NET, isas=("scalar",), calibration=a, batch=8).files,
    "run": lambda a: gg.compile(NET, isas=("scalar",), batch=8).session().run(a).tolist(),
}
HELD = {"fit, sample_weight": np.arange(8, dtype=np.float32)}


@pytest.mark.parametrize("name", TAKERS)
def test_what_turns_itself_into_an_array_is_one(name: str) -> None:
    held = HELD.get(name, X)
    assert TAKERS[name](Own(held)) == TAKERS[name](held)


@pytest.mark.parametrize("name", TAKERS)
def test_what_does_not_is_refused_by_name(name: str) -> None:
    with pytest.raises(DataError, match=r"is no array \(Barred\): it lies on another device"):
        TAKERS[name](Barred(X))
    with pytest.raises(DataError, match="masked"):
        TAKERS[name](np.ma.masked_array(HELD.get(name, X), HELD.get(name, X) > 0))
