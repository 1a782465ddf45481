"""Settings for all tests of the worker."""

from hypothesis import settings

# How long one example takes says more about the machine's other work than about our code.
settings.register_profile("easel", deadline=None, print_blob=True)
settings.load_profile("easel")
