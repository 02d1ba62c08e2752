"""Loading and calling what was built. Needs NumPy alone."""
