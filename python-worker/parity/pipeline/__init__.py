"""Compares whole images."""
