"""Smaller Models: quantisation and pruning."""
