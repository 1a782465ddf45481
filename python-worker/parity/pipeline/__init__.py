"""Whole images."""
