"""The embeddings of a missing negative prompt."""

import jax
import numpy as np

from easel_worker.sdxl.serving.programs import Prompt


def zero_prompt(shapes: Prompt, where: jax.sharding.Sharding) -> Prompt:
    """Zeros, which diffusers uses for no negative prompt (`force_zeros_for_empty_prompt`)."""
    zeros: Prompt = jax.tree.map(
        lambda a: jax.device_put(np.zeros(a.shape, a.dtype), where), shapes
    )
    return zeros
