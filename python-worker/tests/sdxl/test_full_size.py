"""SDXL base at full size, from declarations: nothing is allocated."""

from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.model import params
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.layers import Linear
from easel_worker.sdxl.model.text_encoder import TextEncoder
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.model.vae import Vae

BASE = Path(__file__).parents[3] / "models" / "sdxl-base-config"


@pytest.fixture(scope="module")
def base() -> SdxlConfig:
    """SDXL base 1.0's config."""
    return load_config(BASE)


def test_parameter_counts(base: SdxlConfig) -> None:
    autoencoder = Vae.declare(base.vae)
    assert params.count(UNet.declare(base.unet)) == 2_567_463_684
    assert params.count(TextEncoder.declare(base.text_encoder)) == 123_060_480
    assert params.count(TextEncoder.declare(base.text_encoder_2)) == 694_659_840
    assert params.count(autoencoder.decoder) == 49_490_199
    assert params.count(autoencoder) == 83_653_863


def test_every_tensor_name_is_declared_once(base: SdxlConfig) -> None:
    for tree in (
        TextEncoder.declare(base.text_encoder),
        TextEncoder.declare(base.text_encoder_2),
        UNet.declare(base.unet),
        Vae.declare(base.vae),
    ):
        names = [name for p in params.declared(tree) for name in (p.name, *p.aliases)]
        assert len(names) == len(set(names))


def test_abstract_unet_has_our_layouts(base: SdxlConfig) -> None:
    tree = weights.abstract(UNet.declare(base.unet), jnp.bfloat16)
    assert tree.conv_in.weight.shape == (3, 3, 4, 320)
    block = tree.down[2].attentions[0].blocks[9]
    assert jax.tree.map(lambda array: array.shape, block.attn2.to_k) == Linear((2048, 1280))
    assert jax.tree.map(lambda array: array.shape, block.ff_in) == Linear((1280, 10240), (10240,))
    assert {array.dtype for array in jax.tree.leaves(block)} == {jnp.dtype(jnp.bfloat16)}


def test_reads_the_config_of_sdxl_base(base: SdxlConfig) -> None:
    assert base.vae_scale == 8
    assert base.unet.sample_size * base.vae_scale == 1024
    assert base.force_zeros_for_empty_prompt
    assert base.scheduler["_class_name"] == "EulerDiscreteScheduler"
    assert base.unet.heads == (5, 10, 20)
    assert base.unet.down_transformers == ((), (2, 2), (10, 10))
    assert base.unet.mid_transformers == (10,)
    assert base.unet.up_transformers == ((), (2, 2, 2), (10, 10, 10))
    assert base.text_encoder.pooled == 768
    assert base.text_encoder_2.pooled == 1280


def test_force_upcast_moves_only_float16_to_float32(base: SdxlConfig) -> None:
    assert base.vae.compute_dtype(jnp.float16) == jnp.float32
    assert base.vae.compute_dtype(jnp.bfloat16) == jnp.bfloat16
    assert base.vae.compute_dtype(jnp.float32) == jnp.float32
