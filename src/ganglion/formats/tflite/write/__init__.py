"""Model → `.tflite`, an operator family a file."""
