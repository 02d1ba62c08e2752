"""Learning: differentiation, losses, optimisers and the fit loop."""
