"""A model in 8 bits: which of its layers, with which scales, and how large activations are."""
