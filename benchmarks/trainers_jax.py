"""The described networks as plain JAX functions, one row of `LAYERS` for each kind of layer.

A layer is (start, apply): `start(layer, key, shapes)` gives its weights, `apply(layer, weights,
inputs)` its output [N, ...], and new statistics for batch normalisation. Images are channels-last.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.networks import Network
from benchmarks.trainers_torch import ordered
from ganglion import layers as L

Weights = dict[str, Any]
MOMENTUM, EPSILON = 0.99, 1e-3


def jax_step(network: Network, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    """One jitted step on a fixed batch; gives the loss when it is done."""
    import jax.numpy as jnp

    step, _ = jax_learner(network, x)
    given, target = jnp.asarray(x), jnp.asarray(y)
    return lambda: step(given, target).block_until_ready()


def jax_learner(network: Network, x: np.ndarray) -> tuple[Callable[[Any, Any], Any],
                                                          Callable[[Any], Any]]:
    """A jitted step(x, y) that gives the loss, its state's memory donated; outputs(x), in
    training mode, as logits."""
    import jax
    import jax.numpy as jnp

    start, end = network.describe(L)
    calls = ordered(start, end)
    sources = read_by(calls)

    def forward(weights: list[Weights], given: Any) -> tuple[Any, list[Weights]]:
        values, statistics = [given], []
        for call, w, wanted in zip(calls, weights, sources):
            value, kept = LAYERS[type(call.layer).__name__][1](
                call.layer, w, [values[i] for i in wanted], call is end.call)
            values.append(value)
            statistics.append(kept)
        return values[-1], statistics

    def loss_of(weights: list[Weights], given: Any, target: Any) -> tuple[Any, list[Weights]]:
        found, statistics = forward(weights, given)
        return LOSSES[network.loss](found, target), statistics

    def step(state: Any, given: Any, target: Any) -> Any:
        (loss, statistics), grads = jax.value_and_grad(loss_of, has_aux=True)(
            state["weights"], given, target)
        state = UPDATES[network.optimizer](state, grads)
        state["weights"] = [{**w, **kept} for w, kept in zip(state["weights"], statistics)]
        return state, loss

    weights = _start(calls, sources, jnp.asarray(x))
    zeros = jax.tree.map(jnp.zeros_like, weights)
    state = {"weights": weights, "t": jnp.zeros(())}
    if network.optimizer == "adam":
        state |= {"m": zeros, "v": jax.tree.map(jnp.zeros_like, weights)}
    compiled = jax.jit(step, donate_argnums=0)
    judged = jax.jit(lambda weights, given: forward(weights, given)[0])
    kept = [state]

    def call(given: Any, target: Any) -> Any:
        kept[0], loss = compiled(kept[0], given, target)
        return loss

    return call, lambda given: judged(kept[0]["weights"], given)


def starting_weights(network: Network, x: np.ndarray) -> list[Weights]:
    """The weights before the first step, statistics of batch normalisation among them."""
    start, end = network.describe(L)
    calls = ordered(start, end)
    return _start(calls, read_by(calls), x)


def read_by(calls: list[Any]) -> list[list[int]]:
    """For each call the values that it reads: 0 is the network's input, k + 1 what call k gave."""
    places = {call: i + 1 for i, call in enumerate(calls)}
    return [[places.get(v.call, 0) for v in call.inputs] for call in calls]


def _start(calls: list[Any], sources: list[list[int]], x: Any) -> list[Weights]:
    import jax

    key, values, found = jax.random.PRNGKey(0), [x], []
    for call, wanted in zip(calls, sources):
        key, own = jax.random.split(key)
        start, apply = LAYERS[type(call.layer).__name__]
        inputs = [values[i] for i in wanted]
        found.append(start(call.layer, own, inputs[0].shape))
        values.append(apply(call.layer, found[-1], inputs, call is calls[-1])[0])
    return found


def _glorot(key: Any, shape: tuple[int, ...]) -> Any:
    import jax
    area = math.prod(shape[:-2])
    limit = math.sqrt(6 / (area * (shape[-2] + shape[-1])))
    return jax.random.uniform(key, shape, minval=-limit, maxval=limit)


def _none(layer: Any, key: Any, shape: Any) -> Weights:
    return {}


def _dense_start(layer: Any, key: Any, shape: Any) -> Weights:
    import jax.numpy as jnp
    return {"w": _glorot(key, (shape[-1], layer.units)), "b": jnp.zeros(layer.units)}


def _dense(layer: Any, w: Weights, xs: list[Any], last: bool) -> Any:
    return _activated(xs[0] @ w["w"] + w["b"], None if last else layer.activation), {}


def _conv_start(layer: Any, key: Any, shape: Any) -> Weights:
    import jax.numpy as jnp
    depthwise = not hasattr(layer, "filters")
    inner, outer = (1, shape[-1]) if depthwise else (shape[-1], layer.filters)
    return {"w": _glorot(key, (*_pair(layer.kernel_size), inner, outer)), "b": jnp.zeros(outer)}


def _conv(layer: Any, w: Weights, xs: list[Any], last: bool) -> Any:
    from jax import lax
    groups = 1 if hasattr(layer, "filters") else xs[0].shape[-1]
    y = lax.conv_general_dilated(xs[0], w["w"], _pair(layer.strides), layer.padding.upper(),
                                 dimension_numbers=("NHWC", "HWIO", "NHWC"),
                                 feature_group_count=groups)
    return _activated(y + w["b"], layer.activation), {}


def _norm_start(layer: Any, key: Any, shape: Any) -> Weights:
    import jax.numpy as jnp
    c = shape[-1]
    return {"scale": jnp.ones(c), "shift": jnp.zeros(c), "mean": jnp.zeros(c),
            "var": jnp.ones(c)}


def _norm(layer: Any, w: Weights, xs: list[Any], last: bool) -> Any:
    import jax
    import jax.numpy as jnp
    axes = tuple(range(xs[0].ndim - 1))
    mean, var = jnp.mean(xs[0], axes), jnp.var(xs[0], axes)
    y = (xs[0] - mean) * (w["scale"] * jax.lax.rsqrt(var + EPSILON)) + w["shift"]
    kept = {"mean": MOMENTUM * w["mean"] + (1 - MOMENTUM) * mean,
            "var": MOMENTUM * w["var"] + (1 - MOMENTUM) * var}
    return y, jax.lax.stop_gradient(kept)


def _cell_start(gates: int) -> Callable[[Any, Any, Any], Weights]:
    def start(layer: Any, key: Any, shape: Any) -> Weights:
        import jax.numpy as jnp
        width = gates * layer.units
        return {"w": _glorot(key, (shape[-1], width)), "r": _glorot(key, (layer.units, width)),
                "b": jnp.zeros(width), "rb": jnp.zeros(width)}
    return start


def _lstm(layer: Any, w: Weights, xs: list[Any], last: bool) -> Any:
    import jax
    import jax.numpy as jnp
    from jax import lax

    def step(carry: Any, part: Any) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(part + h @ w["r"], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

    parts = jnp.swapaxes(xs[0] @ w["w"] + w["b"], 0, 1)
    zeros = jnp.zeros((xs[0].shape[0], layer.units))
    return lax.scan(step, (zeros, zeros), parts)[0][0], {}


def _gru(layer: Any, w: Weights, xs: list[Any], last: bool) -> Any:
    import jax
    import jax.numpy as jnp
    from jax import lax

    def step(h: Any, part: Any) -> Any:
        (z, r, n), (hz, hr, hn) = (jnp.split(a, 3, axis=-1) for a in (part, h @ w["r"] + w["rb"]))
        z, r = jax.nn.sigmoid(z + hz), jax.nn.sigmoid(r + hr)
        return z * h + (1 - z) * jnp.tanh(n + r * hn), None

    parts = jnp.swapaxes(xs[0] @ w["w"] + w["b"], 0, 1)
    return lax.scan(step, jnp.zeros((xs[0].shape[0], layer.units)), parts)[0], {}


def _max_pool(layer: Any, w: Weights, xs: list[Any], last: bool) -> Any:
    import jax.numpy as jnp
    from jax import lax
    window = (1, *_pair(layer.pool_size), 1)
    return lax.reduce_window(xs[0], -jnp.inf, lax.max, window, window, "VALID"), {}


def _average_pool(layer: Any, w: Weights, xs: list[Any], last: bool) -> Any:
    from jax import lax
    window = (1, *_pair(layer.pool_size), 1)
    return lax.reduce_window(xs[0], 0.0, lax.add, window, window, "VALID") / math.prod(window), {}


def _activated(x: Any, activation: Any) -> Any:
    import jax
    return x if activation is None else {"relu": jax.nn.relu}[activation](x)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


LAYERS: Mapping[str, tuple[Callable[..., Weights], Callable[..., Any]]] = {
    "Dense": (_dense_start, _dense), "Conv2D": (_conv_start, _conv),
    "DepthwiseConv2D": (_conv_start, _conv), "BatchNormalization": (_norm_start, _norm),
    "LSTM": (_cell_start(4), _lstm), "GRU": (_cell_start(3), _gru),
    "MaxPooling2D": (_none, _max_pool), "AveragePooling2D": (_none, _average_pool),
    "GlobalAveragePooling2D": (_none, lambda layer, w, xs, last: (xs[0].mean((1, 2)), {})),
    "Flatten": (_none, lambda layer, w, xs, last: (xs[0].reshape(len(xs[0]), -1), {})),
    "ReLU": (_none, lambda layer, w, xs, last: (_activated(xs[0], "relu"), {})),
    "Add": (_none, lambda layer, w, xs, last: (xs[0] + xs[1], {}))}
"""Layer class → how it starts and what it computes; the last layer gives logits."""


def _cross_entropy(logits: Any, labels: Any) -> Any:
    import jax
    import jax.numpy as jnp
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=-1)
    return -jnp.mean(chosen)


def _binary(logits: Any, target: Any) -> Any:
    import jax.numpy as jnp
    return jnp.mean(jnp.maximum(logits, 0) - logits * target + jnp.log1p(jnp.exp(
        -jnp.abs(logits))))


LOSSES: Mapping[str, Callable[[Any, Any], Any]] = {
    "sparse_categorical_crossentropy": _cross_entropy, "binary_crossentropy": _binary,
    "mean_squared_error": lambda found, target: ((found - target) ** 2).mean()}
"""Of logits."""


def _adam(state: Any, grads: Any) -> Any:
    import jax
    import jax.numpy as jnp
    t = state["t"] + 1
    m = jax.tree.map(lambda a, g: a + (g - a) * 0.1, state["m"], grads)
    v = jax.tree.map(lambda a, g: a + (g * g - a) * 0.001, state["v"], grads)
    rate = 1e-3 * jnp.sqrt(1 - 0.999 ** t) / (1 - 0.9 ** t)
    weights = jax.tree.map(lambda w, a, b: w - rate * a / (jnp.sqrt(b) + 1e-7),
                           state["weights"], m, v)
    return {"weights": weights, "m": m, "v": v, "t": t}


def _sgd(state: Any, grads: Any) -> Any:
    import jax
    weights = jax.tree.map(lambda w, g: w - 1e-2 * g, state["weights"], grads)
    return {"weights": weights, "t": state["t"] + 1}


UPDATES: Mapping[str, Callable[[Any, Any], Any]] = {"adam": _adam, "sgd": _sgd}
