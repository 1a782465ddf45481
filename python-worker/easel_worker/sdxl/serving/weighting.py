"""Applies a prompt's weights to one text encoder's hidden states. Pure, on the host, in float32.

It runs once for a prompt, so it needs no program of its own: at SDXL's full size a chunk's hidden
states are 0.6 MB.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_LEAST_WEIGHT = 1e-5
"""compel's lower bound for the weight of a hidden span, where its share would become infinite."""


def a1111(states: Floats, weights: Floats) -> Floats:
    """AUTOMATIC1111's emphasis "Original".

    Args:
        states: hidden states, [chunks, tokens, features].
        weights: [chunks, tokens].

    Returns:
        The states times their weights, scaled so that each chunk keeps its mean. Chunks whose
        weights are all 1 are unchanged.

    https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/sd_emphasis.py#L33
    """
    weighted = states * weights[..., None]
    scale = _mean(states) / _mean(weighted)
    plain = (weights == 1).all(axis=1)[:, None, None]
    return np.where(plain, states, weighted * scale).astype(np.float32)


def compel(states: Floats, empty: Floats, weights: Floats) -> Floats:
    """compel's weighting, without its masks.

    Args:
        states: hidden states, [chunks, tokens, features].
        empty: hidden states of the empty text, [tokens, features].
        weights: [chunks, tokens].

    Returns:
        The states, moved away from the empty text's by their weights. Those with a weight of 1 are
        unchanged.

    https://github.com/damian0815/compel/blob/v2.5.1/src/compel/embeddings_provider.py#L484
    """
    each = weights[..., None]
    return np.where(each == 1, states, empty + (states - empty) * each)


def blend(plain: Floats, without: Sequence[Floats], weights: Sequence[float]) -> Floats:
    """Blend a prompt with variants that each hide a span of it, as compel does.

    Args:
        plain: the whole prompt's states.
        without: states of the same shape, with one span hidden in each.
        weights: each span's weight, below 1. At 0.5 its variant counts as much as `plain`; towards
            0 it replaces `plain`.

    https://github.com/damian0815/compel/blob/v2.5.1/src/compel/embeddings_provider.py#L232
    """
    shares = [1.0, *(math.tan((1 - max(_LEAST_WEIGHT, w)) * math.pi / 2) for w in weights)]
    total = math.fsum(shares)
    result = np.zeros_like(plain)
    for states, share in zip((plain, *without), shares, strict=True):
        result += states * np.float32(share / total)
    return result


def visible(tokens: int, chunk: int, hidden: tuple[int, int]) -> NDArray[np.bool_]:
    """The tokens of a chunk that may be attended to when a span of the prompt is hidden.

    Args:
        tokens: the tokens of a chunk. Its first and last one are always visible.
        chunk: which chunk, from 0.
        hidden: the span [start, end) of positions in the whole prompt.
    """
    seen = np.ones(tokens, np.bool_)
    start, end = (min(max(at - chunk * tokens, 0), tokens) for at in hidden)
    seen[start:end] = False
    seen[[0, -1]] = True
    return seen


def _mean(states: Floats) -> Floats:
    mean: Floats = states.mean(axis=(1, 2), keepdims=True, dtype=np.float32)
    return mean
