"""Decoding an image in tiles that overlap: less memory at once, for nearly the same picture.

Norms and the attention in the middle see one tile instead of all of the image, so tiles differ a
little where they meet; a linear blend hides that. The tiles are diffusers' (`enable_tiling`).
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from easel_worker.sdxl.model.vae import Decoder

OVERLAP = 0.25
"""Of a tile with the next one."""

Place = tuple[int, int]
"""A tile's row and column."""

Tiles = dict[Place, Array]


def decode(decoder: Decoder, latents: Array, *, tile: int) -> Array:
    """As a call of the decoder, one tile after the other; an image of one tile is decoded whole.

    Args:
        decoder: of a VAE.
        latents: [B, h, w, latent channels], in the VAE's own scale.
        tile: latents along a tile's sides.

    Returns:
        [B, H, W, 3]; of several tiles in float32, in which they are blended.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/autoencoders/autoencoder_kl.py#L384
    """
    if max(latents.shape[1:3]) <= tile:
        return decoder(latents)

    def one(part: Array) -> Array:
        image = decoder(part)
        # A TPU pads the last axis to 128 in memory, which 3 channels should not be.
        return image.transpose(0, 3, 1, 2)

    images = _one_after_another(_cut(latents, tile), one)
    pixels = tile * decoder.config.scale
    blended = int(pixels * OVERLAP)
    return _join(images, blended, pixels - blended).transpose(0, 2, 3, 1)


def _cut(latents: Array, tile: int) -> Tiles:
    """Tiles [B, ≤ tile, ≤ tile, C] from everywhere that diffusers begins one.

    The last of a row or column is never a whole one, and may lie within the one before it.
    """
    step = int(tile * (1 - OVERLAP))
    _, height, width, _ = latents.shape
    return {
        (i, j): latents[:, top : top + tile, left : left + tile]
        for i, top in enumerate(range(0, height, step))
        for j, left in enumerate(range(0, width, step))
    }


def _one_after_another(tiles: Tiles, decode: Callable[[Array], Array]) -> Tiles:
    """Decode tiles, those of one shape as turns of one loop.

    Nothing else keeps the compiler from making room for all of them at once: written out one after
    the other with barriers between, they take more memory on a CPU than the whole image. A loop is
    also compiled once.
    """
    done: Tiles = {}
    barrier: Callable[[Any], Any] = lax.optimization_barrier
    for shape in dict.fromkeys(tile.shape for tile in tiles.values()):
        places = [place for place, tile in tiles.items() if tile.shape == shape]
        alike = jnp.stack([tiles[place] for place in places])
        alike, done = barrier((alike, done))  # after the loop before, not beside it
        done = done | dict(zip(places, lax.map(decode, alike), strict=True))
    return done


def _join(images: Tiles, extent: int, kept: int) -> Array:
    """Images of tiles [B, C, h, w] → the whole image [B, C, H, W], float32.

    Args:
        images: by their places.
        extent: pixels over which a tile fades into the next one.
        kept: pixels of a tile up to where the next one begins.
    """
    rows, columns = (last + 1 for last in max(images))
    blended: Tiles = {}
    for i in range(rows):
        for j in range(columns):
            image = images[i, j].astype(jnp.float32)
            if i > 0:
                image = _blend(blended[i - 1, j], image, extent, axis=2)
            if j > 0:
                image = _blend(blended[i, j - 1], image, extent, axis=3)
            blended[i, j] = image
    bands = [
        jnp.concatenate([blended[i, j][..., :kept, :kept] for j in range(columns)], axis=3)
        for i in range(rows)
    ]
    return jnp.concatenate(bands, axis=2)


def _blend(before: Array, after: Array, extent: int, *, axis: int) -> Array:
    """`after` with its first pixels along an axis faded in over the last of `before`.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/autoencoders/autoencoder_kl.py#L242
    """
    extent = min(before.shape[axis], after.shape[axis], extent)
    ones = [1, 1, 1, 1]
    ones[axis] = extent
    share = lax.broadcasted_iota(jnp.float32, ones, axis) / extent
    end = lax.slice_in_dim(before, before.shape[axis] - extent, None, axis=axis)
    start, rest = jnp.split(after, [extent], axis=axis)
    return jnp.concatenate([end * (1 - share) + start * share, rest], axis=axis)
