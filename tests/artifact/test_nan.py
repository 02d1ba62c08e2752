import numpy as np
import pytest

import ganglion as gg
from ganglion import layers as L


@pytest.mark.parametrize("isas", [None, ("scalar",)])
@pytest.mark.parametrize("activation", ["relu", "relu6", "leaky_relu", "elu", "tanh", "sigmoid"])
def test_nan_in_an_input_stays_nan_behind_an_activation(activation: str,
                                                        isas: tuple[str, ...] | None) -> None:
    net = L.Sequential([L.Input((33,)), L.Activation(activation)])
    x = np.linspace(-8, 8, 33, dtype=np.float32)[None]
    x[0, [0, 7, 32]] = np.nan
    y = gg.compile(net, isas=isas).session().run(x)
    assert np.isnan(y[0, [0, 7, 32]]).all()
    assert np.isfinite(np.delete(y[0], [0, 7, 32])).all()
