"""Rows for the step: arrays, files, generators, weights of samples."""
