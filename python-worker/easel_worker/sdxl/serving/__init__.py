"""Serves a model: its options, its compiled programs, the devices they run on, and the engine."""
