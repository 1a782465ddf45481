"""`easel-compile`: compiles a model's programs ahead of time and says what they will need.

For a TPU this needs no TPU: its compiler (libtpu) runs on any x86 machine and knows the chip it
compiles for. What comes out of it is a count, not a measurement.
"""
