"""SDXL's layers. Each type declares its parameters, and an instance is called to compute."""
