"""Rewrites for every network: what can be said with less."""
