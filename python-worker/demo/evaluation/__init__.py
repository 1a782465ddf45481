"""Measures how well the demo model follows held-out captions. Needs no torch."""
