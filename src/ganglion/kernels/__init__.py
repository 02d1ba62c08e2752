"""Kernel families: what a piece of generated C computes, in how many ways. Never sees a Model."""
