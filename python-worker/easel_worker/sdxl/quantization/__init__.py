"""Quantization to 8 bits: the choice of layers, their scales, and the calibration file."""
