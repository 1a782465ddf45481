"""Decode an image in overlapping tiles: less memory, nearly the same picture.

Norms and attention see one tile instead of the whole image, so adjacent tiles differ slightly. A
linear blend hides the seams. The tiles are those of diffusers' `enable_tiling`.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from easel_worker.sdxl.model.vae import Decoder

OVERLAP = 0.25
"""Fraction of a tile that overlaps the next one."""

Place = tuple[int, int]
"""A tile's row and column."""

Tiles = dict[Place, Array]


def decode(decoder: Decoder, latents: Array, *, tile: int) -> Array:
    """Like a call of the decoder, one tile at a time. An image no larger than a tile is one call.

    Args:
        decoder: a VAE's decoder.
        latents: [B, h, w, latent channels], in the VAE's own scale.
        tile: latents along a tile's sides.

    Returns:
        [B, H, W, 3]; float32 if there were several tiles, which are blended in float32.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/autoencoders/autoencoder_kl.py#L384
    """
    if max(latents.shape[1:3]) <= tile:
        return decoder(latents)

    def one(part: Array) -> Array:
        image = decoder(part)
        # A TPU pads the last axis in memory to 128; do not let that be the 3 channels.
        return image.transpose(0, 3, 1, 2)

    images = _one_after_another(_cut(latents, tile), one)
    pixels = tile * decoder.config.scale
    blended = int(pixels * OVERLAP)
    return _join(images, blended, pixels - blended).transpose(0, 2, 3, 1)


def _cut(latents: Array, tile: int) -> Tiles:
    """Tiles [B, ≤ tile, ≤ tile, C] at the same places as in diffusers.

    The last tile of a row or column is always smaller, and may lie within the one before it.
    """
    step = int(tile * (1 - OVERLAP))
    _, height, width, _ = latents.shape
    return {
        (i, j): latents[:, top : top + tile, left : left + tile]
        for i, top in enumerate(range(0, height, step))
        for j, left in enumerate(range(0, width, step))
    }


def _one_after_another(tiles: Tiles, decode: Callable[[Array], Array]) -> Tiles:
    """Decode tiles of equal shape in a loop.

    Only a loop stops the compiler from allocating memory for all tiles at once. Unrolled, with
    barriers between the tiles, they take more memory on a CPU than the whole image. A loop's body
    is also compiled only once.
    """
    done: Tiles = {}
    barrier: Callable[[Any], Any] = lax.optimization_barrier
    for shape in dict.fromkeys(tile.shape for tile in tiles.values()):
        places = [place for place, tile in tiles.items() if tile.shape == shape]
        alike = jnp.stack([tiles[place] for place in places])
        alike, done = barrier(
            (alike, done)
        )  # run this loop after the previous one, not in parallel
        done = done | dict(zip(places, lax.map(decode, alike), strict=True))
    return done


def _join(images: Tiles, extent: int, kept: int) -> Array:
    """Images of tiles [B, C, h, w] → the whole image [B, C, H, W], float32.

    Args:
        images: the tiles' images by place.
        extent: pixels over which a tile fades into the next one.
        kept: pixels of a tile before the next one begins.
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
    """Blend the first `extent` pixels of `after` along an axis with the last of `before`.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/autoencoders/autoencoder_kl.py#L242
    """
    extent = min(before.shape[axis], after.shape[axis], extent)
    ones = [1, 1, 1, 1]
    ones[axis] = extent
    share = lax.broadcasted_iota(jnp.float32, ones, axis) / extent
    end = lax.slice_in_dim(before, before.shape[axis] - extent, None, axis=axis)
    start, rest = jnp.split(after, [extent], axis=axis)
    return jnp.concatenate([end * (1 - share) + start * share, rest], axis=axis)
