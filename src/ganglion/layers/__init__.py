"""Networks described in Keras's own words, built as standard ONNX."""

from ganglion.layers import initializers, regularizers
from ganglion.layers.activations import ELU, Activation, LeakyReLU, ReLU, Softmax
from ganglion.layers.base import Layer, Tensor
from ganglion.layers.convolution import (
    Conv1D,
    Conv2D,
    Conv2DTranspose,
    DepthwiseConv2D,
    SeparableConv2D,
)
from ganglion.layers.core import (
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Permute,
    RepeatVector,
    Reshape,
)
from ganglion.layers.network import Functional, Input, Model, Sequential
from ganglion.layers.normalization import BatchNormalization, LayerNormalization
from ganglion.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    MaxPooling1D,
    MaxPooling2D,
)
from ganglion.layers.regularizers import L1, L1L2, L2

__all__ = [
    "ELU",
    "L1",
    "L1L2",
    "L2",
    "Activation",
    "AveragePooling1D",
    "AveragePooling2D",
    "BatchNormalization",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Embedding",
    "Flatten",
    "Functional",
    "GlobalAveragePooling1D",
    "GlobalAveragePooling2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "Input",
    "Layer",
    "LayerNormalization",
    "LeakyReLU",
    "MaxPooling1D",
    "MaxPooling2D",
    "Model",
    "Permute",
    "ReLU",
    "RepeatVector",
    "Reshape",
    "SeparableConv2D",
    "Sequential",
    "Softmax",
    "Tensor",
    "initializers",
    "regularizers",
]
