"""Diffusion samplers as tables of coefficients; `sampler` is the way in."""
