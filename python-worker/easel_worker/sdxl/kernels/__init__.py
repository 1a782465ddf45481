"""Kernels of our own for TPUs, in Pallas: what XLA does not fuse.

Each one computes what a few lines of plain JAX beside its call compute too, and tests compare the
two on a CPU by interpretation. They have been compiled for TPUs and never run on one.
"""
