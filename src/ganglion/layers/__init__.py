"""Networks described in Keras's own words, built as standard ONNX."""
