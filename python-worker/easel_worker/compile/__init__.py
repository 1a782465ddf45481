"""`easel-compile`: compile a model's programs ahead of time and report what they will need.

Compiling for a TPU needs no TPU: its compiler (libtpu) runs on any x86 machine. The figures are
counted from what the compiler writes, not measured.
"""
