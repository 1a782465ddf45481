"""Previews have the right size and colours, with the demo model's VAE."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.checkpoint import Weights
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.model import vae
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.serving.programs import preview, preview_shrink
from easel_worker.sdxl.serving.sharding import make_mesh, replicate
from easel_worker.values import Size

DEMO = Path(__file__).parents[3] / "models" / "demo"
COLOURS = np.array([[[200, 30, 40], [30, 60, 220]], [[250, 220, 40], [20, 20, 20]]], np.uint8)


@pytest.fixture(scope="module")
def demo() -> tuple[SdxlConfig, vae.Vae]:
    config = load_config(DEMO)
    put = replicate(make_mesh(jax.devices()[:1]))
    return config, weights.load(
        Weights(DEMO / "vae", "vae"), vae.Vae.declare(config.vae), jnp.float32, put
    )


def latents_of(config: SdxlConfig, autoencoder: vae.Vae, pixels: np.ndarray) -> jax.Array:
    """The latents of a picture [H, W, 3]."""
    mean, _ = autoencoder.encoder(jnp.asarray(pixels[None] / 127.5 - 1, jnp.float32))
    zero, one = (vae.unscale(config.vae, jnp.full(4, value)) for value in (0.0, 1.0))
    return ((mean - zero) / (one - zero))[0]


@pytest.mark.parametrize("shrink", [1, 2, 4])
def test_a_preview_shows_the_colours(demo: tuple[SdxlConfig, vae.Vae], shrink: int) -> None:
    config, autoencoder = demo
    picture = COLOURS.repeat(64, axis=0).repeat(64, axis=1)
    latents = latents_of(config, autoencoder, picture)
    run = jax.jit(partial(preview, shrink=shrink))
    decoded = run(autoencoder.decoder, latents)
    assert decoded.finite
    small = np.asarray(decoded.pixels)
    side = 128 // shrink
    assert small.shape == (side, side, 3)
    centres = small[side // 4 :: side // 2, side // 4 :: side // 2]
    assert np.abs(centres.astype(int) - COLOURS).max() <= 30


def test_previews_of_large_images_are_small(demo: tuple[SdxlConfig, vae.Vae]) -> None:
    config, _ = demo  # 8 pixels for each latent
    sizes = Size(1024, 1024), Size(1152, 896), Size(512, 256), Size(1024, 520), Size(504, 504)
    assert [preview_shrink(config, size) for size in sizes] == [4, 4, 2, 1, 1]
