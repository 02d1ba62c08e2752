"""Ganglion: neural networks as plain C that runs and learns on any device."""

__version__ = "0.1.0"
