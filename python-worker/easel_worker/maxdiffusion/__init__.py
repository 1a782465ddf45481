"""An engine that steps MaxDiffusion's UNet, where it is installed, to compare it with ours.

Text encoders, samplers, VAE, step scheduling and compilation are those of the package `sdxl`.
"""
