"""Compares our SDXL with diffusers and transformers.

`python -m parity.live` compares on fresh random checkpoints and needs torch. The tests need no
torch: they compare with golden files, which `make_goldens` and `make_tile_goldens` in each
subject's folder write. This folder has what several subjects share.
"""
