"""Finds out how large activations are, for int8: `python -m easel_worker.calibrate --help`."""
