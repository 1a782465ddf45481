"""Writes SDXL base at full size with random weights, loads it, compares it with diffusers."""
