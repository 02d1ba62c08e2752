"""Marks on values and nodes that tell training what layers know of them; keys of metadata."""

TRAINABLE = "ganglion.trainable"
""""true" or "false": whether a weight learns, and whether a node is in training mode."""
UNTRAINABLE = "ganglion.untrainable"
"""Of a node: the reason why it cannot be trained."""
REGULARIZER = "ganglion.regularizer"
"""Of a weight: JSON {"l1": number, "l2": number}."""
