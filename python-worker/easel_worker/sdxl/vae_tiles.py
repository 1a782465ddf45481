"""Decoding an image in tiles that overlap: less memory at once, for nearly the same picture.

Norms and the attention in the middle see one tile instead of all of the image, so tiles differ a
little where they meet; a linear blend hides that. The tiles are diffusers' (`enable_tiling`).
"""

from collections.abc import Iterator

import jax.numpy as jnp
from jax import Array, lax

from easel_worker.sdxl import vae
from easel_worker.sdxl.config_vae import VaeConfig
from easel_worker.sdxl.methods import PLAIN, Methods
from easel_worker.sdxl.params import Params

OVERLAP = 0.25
"""Of a tile with the next one."""


def decode(
    tree: Params, config: VaeConfig, latents: Array, *, tile: int, methods: Methods = PLAIN
) -> Array:
    """As `vae.decode`, one tile after the other; an image of one tile is decoded whole.

    Args:
        tree: parameters.
        config: their configuration.
        latents: [B, h, w, latent channels], in the VAE's own scale.
        tile: latents along a tile's sides.
        methods: how it is computed.

    Returns:
        [B, H, W, 3].

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/autoencoders/autoencoder_kl.py#L384
    """
    _, height, width, _ = latents.shape
    if max(height, width) <= tile:
        return vae.decode(tree, config, latents, methods=methods)
    blended = int(tile * config.scale * OVERLAP)
    kept = tile * config.scale - blended
    rows: list[Array] = []
    above: list[Array] = []
    last = latents
    for top in _starts(height, tile):
        row: list[Array] = []
        for i, left in enumerate(_starts(width, tile)):
            part = latents[:, top : top + tile, left : left + tile]
            # One after the other: a tile waits for the one before, or all of them take memory.
            part, last = lax.optimization_barrier((part, last))  # type: ignore[no-untyped-call]
            last = vae.decode(tree, config, part, methods=methods)
            made = last
            if above:
                made = _blend(above[i], made, blended, axis=1)
            if row:
                made = _blend(row[-1], made, blended, axis=2)
            row.append(made)
        above = row
        rows.append(jnp.concatenate([each[:, :kept, :kept] for each in row], axis=2))
    return jnp.concatenate(rows, axis=1)


def _starts(size: int, tile: int) -> Iterator[int]:
    """Where tiles begin, in latents."""
    return iter(range(0, size, int(tile * (1 - OVERLAP))))


def _blend(before: Array, after: Array, extent: int, *, axis: int) -> Array:
    """`after` with its first pixels along an axis faded in over the last of `before`.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/autoencoders/autoencoder_kl.py#L318
    """
    extent = min(before.shape[axis], after.shape[axis], extent)
    if extent == 0:
        return after
    shape = [1, 1, 1, 1]
    shape[axis] = extent
    share = (jnp.arange(extent) / extent).astype(after.dtype).reshape(shape)
    end = lax.slice_in_dim(before, before.shape[axis] - extent, before.shape[axis], axis=axis)
    start = lax.slice_in_dim(after, 0, extent, axis=axis)
    rest = lax.slice_in_dim(after, extent, after.shape[axis], axis=axis)
    return jnp.concatenate([end * (1 - share) + start * share, rest], axis=axis)
