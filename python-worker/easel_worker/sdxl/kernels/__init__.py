"""Pallas kernels for TPUs, for operations that XLA does not fuse.

Each kernel's caller also has a plain JAX version. Tests compare the two on a CPU, where kernels are
interpreted. The kernels have been compiled for TPUs but never run on one.
"""
