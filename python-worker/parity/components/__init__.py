"""Compares each of the four models, and tiled decoding."""
