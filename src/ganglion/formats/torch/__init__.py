"""Live PyTorch modules -> Model, through torch's own exporter."""
