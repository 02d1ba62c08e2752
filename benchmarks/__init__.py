"""Speed beside others: `python -m benchmarks.inference`, `python -m benchmarks.training`."""
