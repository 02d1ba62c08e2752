"""Smaller Models: quantisation and pruning."""

from ganglion.compression.quantize import quantize
from ganglion.compression.size import model_bytes, sparsity
from ganglion.compression.structured import ChannelReport, prune_channels

__all__ = ["ChannelReport", "model_bytes", "prune_channels", "quantize", "sparsity"]
