"""Tests of the worker. They mirror the package; `support` holds what they share."""
