"""Benchmarks that run in a worker, and schedulers to compare ours with. Not installed."""
