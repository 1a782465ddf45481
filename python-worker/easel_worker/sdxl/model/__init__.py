"""SDXL's maths: layers that declare their parameters and compute when they are called."""
