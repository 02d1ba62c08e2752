"""Networks described in Keras's own words, built as standard ONNX."""

from ganglion.layers import initializers, regularizers
from ganglion.layers.activations import ELU, Activation, LeakyReLU, ReLU, Softmax
from ganglion.layers.attention import MultiHeadAttention
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
from ganglion.layers.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
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
from ganglion.layers.recurrent import GRU, LSTM, Bidirectional, SimpleRNN
from ganglion.layers.regularizers import L1, L1L2, L2
from ganglion.layers.resizing import (
    Cropping1D,
    Cropping2D,
    UpSampling1D,
    UpSampling2D,
    ZeroPadding1D,
    ZeroPadding2D,
)
from ganglion.layers.wrappers import TimeDistributed

__all__ = [
    "ELU",
    "GRU",
    "L1",
    "L1L2",
    "L2",
    "LSTM",
    "Activation",
    "Add",
    "Average",
    "AveragePooling1D",
    "AveragePooling2D",
    "BatchNormalization",
    "Bidirectional",
    "Concatenate",
    "Conv1D",
    "Conv2D",
    "Conv2DTranspose",
    "Cropping1D",
    "Cropping2D",
    "Dense",
    "DepthwiseConv2D",
    "Dot",
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
    "Maximum",
    "Minimum",
    "Model",
    "MultiHeadAttention",
    "Multiply",
    "Permute",
    "ReLU",
    "RepeatVector",
    "Reshape",
    "SeparableConv2D",
    "Sequential",
    "SimpleRNN",
    "Softmax",
    "Subtract",
    "Tensor",
    "TimeDistributed",
    "UpSampling1D",
    "UpSampling2D",
    "ZeroPadding1D",
    "ZeroPadding2D",
    "initializers",
    "regularizers",
]
