"""Diffusion samplers as tables of coefficients; `easel_worker.sdxl.sampler` is the way in."""
