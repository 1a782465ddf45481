"""The four models, each for itself, and decoding in tiles."""
