"""Smaller Models: quantisation and pruning."""

from ganglion.compression.aware import quantize_aware
from ganglion.compression.prune import PolynomialDecay, magnitude_masks, prune
from ganglion.compression.quantize import quantize
from ganglion.compression.size import model_bytes, sparsity
from ganglion.compression.structured import ChannelReport, prune_channels

__all__ = ["ChannelReport", "PolynomialDecay", "magnitude_masks", "model_bytes", "prune",
           "prune_channels", "quantize", "quantize_aware", "sparsity"]
