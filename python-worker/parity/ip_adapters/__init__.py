"""Compares images with IP-Adapters, and the adapters' parts."""
