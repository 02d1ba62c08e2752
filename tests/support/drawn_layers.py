"""Networks drawn from a seed, of layers in chains and branches; as in `drawn_networks`."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir
from tests.support.drawn_networks import MAX_ELEMENTS, Drawer

from ganglion import layers as L

SHAPES = ((8, 8, 3), (7, 5, 1), (1, 1, 4), (4, 4, 17), (9, 4), (1, 3), (12, 1), (6,), (1,))


class LayerDrawer(Drawer):
    """Draws chains and branches of layers in Keras's words."""

    def activation(self) -> str | None:
        return self.pick([None, "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu",
                          "sigmoid", "hard_sigmoid", "tanh", "softplus", "linear", "relu"])

    def image_layer(self, h: int, w: int, c: int) -> L.Layer:
        """A layer that accepts [h, w, c]."""
        kernel = (self.number(1, min(3, h)), self.number(1, min(3, w)))
        padding, strides = self.pick(["valid", "same"]), self.number(1, 3)
        options: list[Callable[[], L.Layer]] = [
            lambda: L.Conv2D(self.pick([1, 4, 17]), kernel, strides=strides, padding=padding,
                             activation=self.activation(), use_bias=self.rng.random() < 0.7),
            lambda: L.Conv2D(2 * c, kernel, padding="same", groups=c),
            lambda: L.Conv2D(3, kernel, padding="same", dilation_rate=2),
            lambda: L.DepthwiseConv2D(kernel, strides=strides, padding=padding,
                                      depth_multiplier=self.number(1, 2),
                                      activation=self.activation()),
            lambda: L.SeparableConv2D(self.pick([1, 5]), kernel, padding=padding),
            lambda: L.Conv2DTranspose(self.pick([1, 5]), self.number(1, 3), strides=strides,
                                      padding=padding, activation=self.activation()),
            lambda: L.BatchNormalization(), lambda: L.LayerNormalization(),
            lambda: L.MaxPooling2D(kernel, strides=strides, padding=padding),
            lambda: L.AveragePooling2D(kernel, strides=strides, padding=padding),
            lambda: L.ZeroPadding2D(((0, 1), (2, 0))), lambda: L.UpSampling2D((1, 2)),
            lambda: L.Activation(self.activation()), lambda: L.Dropout(0.4),
            lambda: L.Permute((3, 1, 2)), lambda: L.Dense(3, activation=self.activation()),
            lambda: L.Reshape((h * w, c))]
        if h > 2 and w > 2:
            options.append(lambda: L.Cropping2D(((1, 0), (0, 1))))
        return self.pick(options)()

    def sequence_layer(self, t: int, c: int) -> L.Layer:
        """A layer that accepts [t, c]."""
        kernel, padding = self.number(1, min(3, t)), self.pick(["valid", "same", "causal"])
        pool_padding = self.pick(["valid", "same"])
        cell = self.pick([L.LSTM, L.GRU, L.SimpleRNN])
        options: list[Callable[[], L.Layer]] = [
            lambda: L.Conv1D(self.pick([1, 4, 17]), kernel, padding=padding,
                             strides=self.number(1, 3), activation=self.activation()),
            lambda: L.MaxPooling1D(kernel, padding=pool_padding),
            lambda: L.AveragePooling1D(kernel, strides=2, padding=pool_padding),
            lambda: cell(self.number(1, 5), return_sequences=self.rng.random() < 0.6,
                         go_backwards=self.rng.random() < 0.2),
            lambda: L.Bidirectional(cell(self.number(1, 4), return_sequences=True),
                                    merge_mode=self.pick(["concat", "sum", "mul", "ave"])),
            lambda: L.GRU(3, reset_after=False, return_sequences=True),
            lambda: L.TimeDistributed(L.Dense(self.number(1, 5))), lambda: L.LayerNormalization(),
            lambda: L.BatchNormalization(), lambda: L.Permute((2, 1)), lambda: L.ZeroPadding1D(2),
            lambda: L.GlobalAveragePooling1D(), lambda: L.GlobalMaxPooling1D(), lambda: L.Flatten(),
            lambda: L.Dense(4, activation=self.activation()), lambda: L.UpSampling1D(2),
            lambda: L.Softmax(), lambda: L.Reshape((1, t, c))]
        return self.pick(options)()

    def vector_layer(self, n: int) -> L.Layer:
        """A layer that accepts [n]."""
        factor = self.pick([f for f in range(1, n + 1) if n % f == 0])
        options: list[Callable[[], L.Layer]] = [
            lambda: L.Dense(self.pick([1, 4, 17]), activation=self.activation(),
                            use_bias=self.rng.random() < 0.7),
            lambda: L.Dense(6), lambda: L.BatchNormalization(), lambda: L.Dropout(0.2),
            lambda: L.Activation(self.activation()), lambda: L.Softmax(),
            lambda: L.RepeatVector(self.number(1, 4)), lambda: L.Reshape((factor, n // factor))]
        return self.pick(options)()

    def shape(self, x: L.Tensor) -> tuple[int, ...]:
        """The shape of one row."""
        value = L.Functional(self.start, x).graph.outputs[0]
        return tuple(int(n) for n in list(value.shape or ())[1:])

    def step(self, x: L.Tensor) -> L.Tensor:
        shape = self.shape(x)
        if len(shape) == 4 or np.prod(shape) > MAX_ELEMENTS // 2:
            return L.GlobalAveragePooling2D()(x) if len(shape) == 3 else L.Flatten()(x)
        if len(shape) == 3:
            return self.image_layer(*shape)(x)
        return (self.sequence_layer if len(shape) == 2 else self.vector_layer)(*shape)(x)

    def merge(self, a: L.Tensor, b: L.Tensor) -> L.Tensor:
        if self.shape(a) == self.shape(b):
            return self.pick([L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum,
                              L.Concatenate])()([a, b])
        flat = [v if len(self.shape(v)) == 1 else L.Flatten()(v) for v in (a, b)]
        return L.Concatenate()(flat)

    def network(self) -> tuple[L.Tensor, list[L.Tensor]]:
        """An input and one or two outputs."""
        self.start = start = L.Input(self.pick(SHAPES))
        x = start
        for _ in range(self.number(1, 4)):
            x = self.step(x)
        if self.rng.random() < 0.5:
            a, b = x, x
            for _ in range(self.number(0, 2)):
                a = self.step(a)
            for _ in range(self.number(1, 2)):
                b = self.step(b)
            if self.rng.random() < 0.3:
                return start, [a, b]
            x = self.merge(a, b)
        if self.rng.random() < 0.3 and len(self.shape(x)) == 1:
            shared = L.Dense(self.shape(x)[0], activation="tanh")
            x = shared(shared(x))
        return start, [self.step(x)]


def from_layers(seeds: Sequence[int]) -> ir.Model:
    """One network a seed, side by side in one Model of several inputs and outputs."""
    drawn = [LayerDrawer((seed, 3)).network() for seed in seeds]
    return L.Functional([x for x, _ in drawn], [y for _, many in drawn for y in many])
