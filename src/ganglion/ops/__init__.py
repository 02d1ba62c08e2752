"""What is known about each operator: one row each, by family. See `ops.base.Op`."""
