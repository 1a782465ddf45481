"""Proof that our SDXL computes what diffusers and transformers compute.

`python -m parity.live` compares on fresh random checkpoints and needs torch. The golden files are
what the tests compare with without it; `make_goldens` and `make_tile_goldens`, in the folder of
each subject, write them. Here is what several subjects share.
"""
