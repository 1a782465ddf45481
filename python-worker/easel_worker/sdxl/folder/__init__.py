"""Fetches, checks and reads a model, and puts its weights on the devices."""
