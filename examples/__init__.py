"""Networks trained on real data, each a short script: `python -m examples.mnist`."""
