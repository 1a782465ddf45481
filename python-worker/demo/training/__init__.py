"""Trains the embedded demo model from scratch; see README.md here."""
