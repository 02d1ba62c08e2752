"""A network over sequences → one time step a call."""
