"""Smaller Models: quantisation and pruning."""

from ganglion.compression.pruning.prune import PolynomialDecay, magnitude_masks, prune
from ganglion.compression.pruning.structured import ChannelReport, prune_channels
from ganglion.compression.quantization.aware import quantize_aware
from ganglion.compression.quantization.quantize import quantize
from ganglion.compression.size import model_bytes, sparsity

__all__ = ["ChannelReport", "PolynomialDecay", "magnitude_masks", "model_bytes", "prune",
           "prune_channels", "quantize", "quantize_aware", "sparsity"]
