"""Rewrites of a Model: one a file, each meaning-preserving or saying what it changes."""
