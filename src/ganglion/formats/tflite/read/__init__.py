"""`.tflite` → Model, an operator family a file."""
