"""Prompts to embeddings, each text encoded once as long as it is remembered."""

from collections import OrderedDict
from collections.abc import Callable

import jax
import numpy as np

from easel_worker.engine import Tokens
from easel_worker.sdxl.serving.programs import Encoded, Prompt

REMEMBERED = 64
"""Encoded prompts kept on the devices: at SDXL's full size 0.3 MB each in bfloat16."""

Encode = Callable[[Tokens, int], Encoded]
"""Tokens, and how many layers to skip."""


class PromptCache:
    """The latest prompts that were encoded."""

    def __init__(self, encode: Encode, capacity: int = REMEMBERED) -> None:
        """Remember up to `capacity` results of `encode`."""
        self._encode = encode
        self._capacity = capacity
        self._known: OrderedDict[tuple[Tokens, int], Encoded] = OrderedDict()

    def encode(self, tokens: Tokens, skip: int) -> Encoded:
        """The encoded prompt, from memory where possible."""
        key = (tokens, skip)
        if key not in self._known:
            self._known[key] = self._encode(tokens, skip)
            if len(self._known) > self._capacity:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def zero_prompt(shapes: Prompt, where: jax.sharding.Sharding) -> Prompt:
    """What diffusers takes for no negative prompt (`force_zeros_for_empty_prompt`)."""
    zeros: Prompt = jax.tree.map(
        lambda a: jax.device_put(np.zeros(a.shape, a.dtype), where), shapes
    )
    return zeros
