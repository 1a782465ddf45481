"""Benchmarks of the worker: other schedulers to compare its own with. Nothing here is installed."""
