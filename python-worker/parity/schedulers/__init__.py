"""The comparison of our tables with diffusers' schedulers."""
