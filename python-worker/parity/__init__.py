"""Proof that our SDXL computes what diffusers and transformers compute.

`python -m parity.live` compares on fresh random checkpoints and needs torch;
`python -m parity.make_goldens` writes the golden files that the tests compare with without it.
"""
