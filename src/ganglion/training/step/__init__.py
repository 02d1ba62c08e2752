"""A Model → the Model of one training step."""
