"""ONNX files: reading, repairing and what keeps them safe."""
