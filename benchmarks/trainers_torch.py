"""The described networks as PyTorch modules, one row of `MODULES` for each kind of layer."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.networks import Network
from ganglion import layers as L


def torch_step(network: Network, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    """One step of PyTorch on a fixed batch; gives the loss as a tensor."""
    step = _trainer(network, graph(network, x))
    given, target = _tensor(x), _labels(y)
    return lambda: step(given, target)


def torch_learner(network: Network, x: np.ndarray) -> tuple[Callable[[Any, Any], Any],
                                                            Callable[[Any], Any]]:
    """A step(x, y) on arrays that gives the loss, and outputs(x) as logits."""
    import torch

    module = graph(network, x)
    step = _trainer(network, module)

    def outputs(given: np.ndarray) -> Any:
        module.eval()
        with torch.no_grad():
            found = module(_tensor(given))
        module.train()
        return found

    return lambda given, target: step(_tensor(given), _labels(target)), outputs


def _trainer(network: Network, module: Any) -> Callable[[Any, Any], Any]:
    """One step of the module's weights on one thread, for tensors."""
    import torch

    torch.set_num_threads(1)
    kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    rate = {"adam": 1e-3, "sgd": 1e-2}[network.optimizer]
    optimizer = kinds[network.optimizer](module.parameters(), lr=rate, fused=True)
    losses = {"sparse_categorical_crossentropy": torch.nn.functional.cross_entropy,
              "mean_squared_error": torch.nn.functional.mse_loss,
              "binary_crossentropy": torch.nn.functional.binary_cross_entropy_with_logits}
    loss_of = losses[network.loss]

    def step(given: Any, target: Any) -> Any:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(module(given), target)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _labels(y: np.ndarray) -> Any:
    import torch
    return torch.from_numpy(y.astype(np.int64) if y.dtype.kind == "i" else y)


def _tensor(x: np.ndarray) -> Any:
    """Images [N, C, H, W], channels-last in memory, which is PyTorch's faster layout here."""
    import torch
    return torch.from_numpy(np.moveaxis(x, -1, 1) if x.ndim == 4 else x)


def graph(network: Network, x: np.ndarray) -> Any:
    """The network as a module for inputs like `x`; its output is logits."""
    import torch

    torch.manual_seed(0)
    start, end = network.describe(L)
    calls = ordered(start, end)
    places = {call: i + 1 for i, call in enumerate(calls)}
    sources = [[places.get(x.call, 0) for x in call.inputs] for call in calls]

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each = torch.nn.ModuleList(
                MODULES[type(call.layer).__name__](call.layer, call is end.call)
                for call in calls)

        def forward(self, x: Any) -> Any:
            values = [x]
            for module, wanted in zip(self.each, sources):
                values.append(module(*(values[i] for i in wanted)))
            return values[-1]

    made = Graph()
    made(_tensor(x))
    return made.to(memory_format=torch.channels_last) if x.ndim == 4 else made


def ordered(start: L.Tensor, end: L.Tensor) -> list[Any]:
    """The calls between two tensors, each after what it reads."""
    found: dict[Any, None] = {}

    def visit(call: Any) -> None:
        if call is start.call or call in found:
            return
        for x in call.inputs:
            visit(x.call)
        found[call] = None

    visit(end.call)
    return list(found)


def _dense(layer: Any, last: bool) -> Any:
    import torch
    return _then(torch.nn.LazyLinear(layer.units), None if last else layer.activation)


def _conv(layer: Any, last: bool) -> Any:
    import torch
    kernel, stride = _pair(layer.kernel_size), _pair(layer.strides)
    # Padding on both sides alike gives outputs of Keras's size, without a copy for the padding.
    padding = [math.ceil((k - 1) / 2) if layer.padding == "same" else 0 for k in kernel]
    made = torch.nn.LazyConv2d(layer.filters, kernel, stride, padding, bias=layer.use_bias)
    return _then(made, layer.activation)


def _depthwise(layer: Any, last: bool) -> Any:
    import torch

    class Depthwise(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv: Any = None

        def forward(self, x: Any) -> Any:
            if self.conv is None:
                kernel = _pair(layer.kernel_size)
                self.conv = torch.nn.Conv2d(x.shape[1], x.shape[1], kernel, _pair(layer.strides),
                                            [(k - 1) // 2 for k in kernel], groups=x.shape[1])
            return self.conv(x)

    return Depthwise()


def _recurrent(kind: str) -> Callable[[Any, bool], Any]:
    def build(layer: Any, last: bool) -> Any:
        import torch

        class Recurrent(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.cell: Any = None

            def forward(self, x: Any) -> Any:
                if self.cell is None:
                    self.cell = getattr(torch.nn, kind)(x.shape[-1], layer.units,
                                                        batch_first=True)
                return self.cell(x)[0][:, -1]

        return Recurrent()
    return build


def _merge(layer: Any, last: bool) -> Any:
    import torch

    class Add(torch.nn.Module):
        def forward(self, x: Any, y: Any) -> Any:
            return x + y

    return Add()


def _plain(name: str, *fields: str) -> Callable[[Any, bool], Any]:
    def build(layer: Any, last: bool) -> Any:
        import torch
        return getattr(torch.nn, name)(*(getattr(layer, f) for f in fields))
    return build


def _global_average(layer: Any, last: bool) -> Any:
    import torch
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def _then(module: Any, activation: Any) -> Any:
    import torch
    if activation is None:
        return module
    return torch.nn.Sequential(module, {"relu": torch.nn.ReLU}[activation]())


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


MODULES: Mapping[str, Callable[[Any, bool], Any]] = {
    "Dense": _dense, "Conv2D": _conv, "DepthwiseConv2D": _depthwise, "LSTM": _recurrent("LSTM"),
    "GRU": _recurrent("GRU"), "Add": _merge, "GlobalAveragePooling2D": _global_average,
    "Flatten": _plain("Flatten"), "ReLU": _plain("ReLU"),
    "MaxPooling2D": _plain("MaxPool2d", "pool_size"),
    "AveragePooling2D": _plain("AvgPool2d", "pool_size"),
    "BatchNormalization": lambda layer, last: _batch_norm()}
"""Layer class → (layer, whether it is the last) → module; the last one gives logits."""


def _batch_norm() -> Any:
    import torch
    return torch.nn.LazyBatchNorm2d(eps=1e-3, momentum=0.01)
