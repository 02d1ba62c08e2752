"""Keras's archives and live networks."""
