"""Rewrites of quantised networks: integer islands, rounding, weights that stay packed."""
