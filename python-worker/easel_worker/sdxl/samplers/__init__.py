"""Samplers as tables of coefficients; start reading at `sampler`."""
