"""What a device needs to learn together with others: `ganglion.runtime` and NumPy alone."""
