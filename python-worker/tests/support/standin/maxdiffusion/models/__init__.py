"""As in MaxDiffusion."""
