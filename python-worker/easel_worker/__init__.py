"""Easel's worker: runs the model on the accelerator and turns token ids into pixels."""

__version__ = "0.1.0"
