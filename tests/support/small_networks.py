"""Small float networks, drawn from a seed, whose weights are of ordinary size."""

import numpy as np
import onnx_ir as ir

from ganglion.ops.graph import GraphBuilder


class Net:
    """Appends layers with random weights to a GraphBuilder; `v` is the last value, `c` channels."""

    def __init__(self, seed: int, shape: tuple[int | str, ...], channels: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.g = GraphBuilder(f"net{seed}")
        self.v: ir.Value = self.g.input("x", ir.DataType.FLOAT, shape)
        self.c = channels

    def weights(self, *shape: int, fan: int) -> ir.Value:
        w = self.rng.normal(size=shape) * np.sqrt(2 / fan)
        return self.g.constant(w.astype(np.float32), "w", share=False)

    def vector(self, low: float = -0.3, high: float = 0.3) -> ir.Value:
        return self.g.constant(self.rng.uniform(low, high, self.c).astype(np.float32), "v",
                               share=False)

    def conv(self, out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> "Net":
        per_group = self.c // groups
        w = self.weights(out, per_group, kernel, kernel, fan=per_group * kernel * kernel)
        self.c = out
        self.v = self.g.op("Conv", self.v, w, self.vector(), strides=[stride, stride],
                           pads=[kernel // 2] * 4, group=groups, hint="conv")
        return self

    def depthwise(self) -> "Net":
        return self.conv(self.c, groups=self.c)

    def norm(self) -> "Net":
        self.v = self.g.op("BatchNormalization", self.v, self.vector(0.5, 1.5), self.vector(),
                           self.vector(), self.vector(0.5, 1.5))
        return self

    def act(self, name: str, **attrs: float) -> "Net":
        self.v = self.g.op(name, self.v, **attrs)
        return self

    def relu6(self) -> "Net":
        self.v = self.g.op("Clip", self.v, self.g.constant(np.float32(0)),
                           self.g.constant(np.float32(6)))
        return self

    def silu(self) -> "Net":
        self.v = self.g.op("Mul", self.v, self.g.op("Sigmoid", self.v))
        return self

    def pool(self, name: str = "MaxPool") -> "Net":
        self.v = self.g.op(name, self.v, kernel_shape=[2, 2], strides=[2, 2])
        return self

    def residual(self, kernel: int = 3) -> "Net":
        x = self.v
        y = self.conv(self.c, kernel).act("Relu").conv(self.c, kernel).v
        self.v = self.g.op("Add", x, y)
        return self

    def branches(self, out: int) -> "Net":
        x, c = self.v, self.c
        left = self.conv(out, 1).act("Relu").v
        self.v, self.c = x, c
        right = self.conv(out, 3).v
        self.v, self.c = self.g.op("Concat", left, right, axis=1), 2 * out
        return self

    def flatten(self, features: int) -> "Net":
        self.v, self.c = self.g.op("Flatten", self.v), features
        return self

    def dense(self, out: int, style: str = "gemm") -> "Net":
        w = self.weights(self.c, out, fan=self.c)
        self.c = out
        if style == "gemm":
            self.v = self.g.op("Gemm", self.v, w, self.vector(), hint="dense")
        else:
            self.v = self.g.op("Add", self.g.op("MatMul", self.v, w, hint="dense"), self.vector())
        return self

    def model(self) -> ir.Model:
        self.g.output("y", self.v)
        return self.g.model()


def plain(batch: int | str = "N") -> ir.Model:
    net = Net(1, (batch, 3, 12, 12), 3).conv(8).norm().act("Relu").pool().conv(6).relu6()
    return net.pool("AveragePool").flatten(54).dense(10).act("Softmax", axis=-1).model()


def residual(batch: int | str = "N") -> ir.Model:
    net = Net(2, (batch, 3, 8, 8), 3).conv(8, stride=2).norm().act("Relu").residual().act("Relu")
    net = net.depthwise().silu().residual(1).act("GlobalAveragePool").flatten(8)
    return net.dense(12, "matmul").act("Relu").dense(5, "matmul").model()


def branching(batch: int | str = "N") -> ir.Model:
    net = Net(3, (batch, 2, 8, 8), 2).branches(4).act("HardSwish").conv(6, groups=2).act("Tanh")
    return net.branches(3).pool().flatten(96).dense(7).act("LeakyRelu", alpha=0.2).dense(
        3).act("Sigmoid").model()


def gated(batch: int | str = "N") -> ir.Model:
    net = Net(4, (batch, 3, 6, 6), 3).conv(6).act("Relu").act("Tanh")
    x = net.v
    gate = net.act("GlobalAveragePool").conv(4, 1).act("Relu").conv(6, 1).act("Sigmoid").v
    net.v = net.g.op("Mul", x, gate)
    net = net.residual().act("Gelu").act("GlobalAveragePool").flatten(6)
    return net.dense(6).silu().dense(3).model()


NETWORKS = {"plain": plain, "residual": residual, "branching": branching, "gated": gated}


def rows(model: ir.Model, count: int, seed: int = 0) -> np.ndarray:
    """`count` rows for the only input."""
    shape = [int(d) for d in list(model.graph.inputs[0].shape or [])[1:] if isinstance(d, int)]
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)
