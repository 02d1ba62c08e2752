"""Live PyTorch modules in training."""
