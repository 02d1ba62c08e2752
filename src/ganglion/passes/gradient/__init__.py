"""Rewrites of training steps: memory and lives of what the backward pass reads."""
