"""Fewer weights and channels."""
