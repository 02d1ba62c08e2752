"""Targets, compilers and emulators."""
