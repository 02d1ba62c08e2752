"""Running the step: epochs, callbacks, checkpoints."""
