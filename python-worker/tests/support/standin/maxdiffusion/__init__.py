"""Stands in for MaxDiffusion, which is on no package index and is not part of Easel.

It has the module paths, class names, fields and arguments that the engine uses, as of commit
7cfb8801d41d1728f0232cd7ee59e900a151fecf, and is otherwise unlike it: it computes what diffusers
computes, in plain JAX without Flax.
"""
