"""SDXL base at full size with random weights: written, loaded, compared with diffusers."""
