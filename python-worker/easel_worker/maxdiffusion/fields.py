"""What MaxDiffusion's UNet is told about a model, and which models it cannot compute.

It takes fewer kinds of UNets than diffusers, and ignores some values without a word, so the models
that it would compute wrongly are refused here.
"""

from collections.abc import Sequence
from typing import Any

from easel_worker.sdxl.model.config import UNetConfig
from easel_worker.values import Size

_GROUPS, _EPS = 32, 1e-5
"""What its blocks have whatever the UNet is told.

https://github.com/AI-Hypercomputer/maxdiffusion/blob/7cfb8801d41d1728f0232cd7ee59e900a151fecf/src/maxdiffusion/models/resnet_flax.py#L98
"""


def fields_of(config: UNetConfig) -> dict[str, Any]:
    """The fields of `FlaxUNet2DConditionModel` that a config decides.

    Raises:
        ValueError: it cannot compute such a UNet.
    """
    levels = range(len(config.channels))
    crossed = [bool(config.down_transformers[level]) for level in levels]
    depths = [depths[0] if depths else 1 for depths in config.down_transformers]
    if config.mid_transformers:
        depths[-1] = config.mid_transformers[0]
    _require(config.norm_groups == _GROUPS, f"norm_num_groups other than {_GROUPS}")
    _require(config.norm_eps == _EPS, f"norm_eps other than {_EPS}")
    _require(config.guidance_features is None, "the guidance scale as an input")
    _require(len(set(config.layers)) == 1, "levels with different layers_per_block")
    middle = config.mid_resnets, config.mid_transformers
    _require(middle == (2, (depths[-1],)), "another middle block than SDXL's")
    for level in levels:
        down = (depths[level],) * config.layers[level] if crossed[level] else ()
        up = (depths[level],) * (config.layers[level] + 1) if crossed[level] else ()
        alike = config.down_transformers[level] == down and config.up_transformers[level] == up
        _require(alike, "transformers of different depths in a level")
    return {
        "sample_size": config.sample_size,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "down_block_types": tuple(_type("Down", each) for each in crossed),
        "up_block_types": tuple(_type("Up", each) for each in reversed(crossed)),
        "block_out_channels": config.channels,
        "layers_per_block": config.layers[0],
        "attention_head_dim": config.heads,
        "cross_attention_dim": config.context,
        "use_linear_projection": config.linear_projection,
        "flip_sin_to_cos": config.flip_sin_to_cos,
        "freq_shift": config.freq_shift,
        "transformer_layers_per_block": tuple(depths),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": config.time_id_features,
        "projection_class_embeddings_input_dim": config.added_features,
    }


def check_sizes(sizes: Sequence[Size], config: UNetConfig, vae_scale: int) -> None:
    """Check that every level halves a size exactly: it does not crop what it upsamples.

    Raises:
        ValueError: a size does not fit.
    """
    multiple = vae_scale << (len(config.channels) - 1)
    for size in sizes:
        if any(side % multiple for side in size):
            raise ValueError(
                f"size {size}: width and height must be multiples of {multiple} for the engine "
                "maxdiffusion: leave it out of SIZES, or set ENGINE to sdxl"
            )


def _type(way: str, crossed: bool) -> str:
    return f"CrossAttn{way}Block2D" if crossed else f"{way}Block2D"


def _require(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(f"MaxDiffusion does not compute UNets with {what}: set ENGINE to sdxl")
