"""A model at work: options, programs, the devices that run them, and the worker's engine."""
