"""Tables of steps and noise levels."""
