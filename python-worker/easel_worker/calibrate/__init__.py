"""Measure how large activations get, for int8: `python -m easel_worker.calibrate --help`."""
