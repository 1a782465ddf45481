"""Tiny SDXL models of several shapes, as arguments of diffusers' and transformers' classes.

Each differs from SDXL base in other ways, so that together they cover every branch of our code
that a config can reach.
"""

import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Config = dict[str, Any]

DOWN, CROSS_DOWN = "DownBlock2D", "CrossAttnDownBlock2D"
UP, CROSS_UP = "UpBlock2D", "CrossAttnUpBlock2D"
MID, CROSS_MID = "UNetMidBlock2D", "UNetMidBlock2DCrossAttn"


@dataclass(frozen=True)
class Case:
    """A tiny model and the inputs to run it on.

    Attributes:
        text_encoder: None for a model with the second one only.
        latents: height and width of the UNet's input.
        batch: number of rows.
        stored: dtype of the weights in the checkpoint.
        gain: scale of the weights, see `synthetic.weight`.
    """

    name: str
    text_encoder: Config | None
    text_encoder_2: Config
    unet: Config
    vae: Config
    latents: tuple[int, int]
    batch: int = 2
    stored: str = "float32"
    gain: float = 1.0

    @property
    def first_text_encoder(self) -> Config:
        """That which a prompt's first ids are for; the only one, if there is one."""
        return self.text_encoder or self.text_encoder_2


def text(hidden: int, layers: int, heads: int, **more: Any) -> Config:
    """Return a CLIP text encoder's config with a small vocabulary."""
    config = {
        "vocab_size": 1000,
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": 77,
        "bos_token_id": 998,
        "eos_token_id": 999,
        "projection_dim": hidden,
    }
    return config | more


def unet(channels: tuple[int, ...], blocks: str, heads: Any, context: int, **more: Any) -> Config:
    """Return a UNet's config. `blocks` has a letter per level: D without attention, C with it."""
    down = [CROSS_DOWN if b == "C" else DOWN for b in blocks]
    up = [CROSS_UP if b == "C" else UP for b in reversed(blocks)]
    config = {
        "sample_size": 16,
        "block_out_channels": list(channels),
        "down_block_types": down,
        "up_block_types": up,
        "attention_head_dim": heads,
        "cross_attention_dim": context,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
    }
    return config | more


def added(features: int, pooled: int, ids: int = 6) -> Config:
    """Return the UNet's config keys for time ids of `features` sines and cosines each."""
    return {
        "addition_time_embed_dim": features,
        "projection_class_embeddings_input_dim": ids * features + pooled,
    }


def vae(channels: tuple[int, ...], **more: Any) -> Config:
    """Return a VAE's config."""
    config = {
        "block_out_channels": list(channels),
        "down_block_types": ["DownEncoderBlock2D"] * len(channels),
        "up_block_types": ["UpDecoderBlock2D"] * len(channels),
        "layers_per_block": 1,
        "latent_channels": 4,
        "norm_num_groups": 8,
        "scaling_factor": 0.13025,
    }
    return config | more


SDXL_BASE_IN_SMALL = Case(
    name="sdxl-base-in-small",
    text_encoder=text(16, 3, 4, hidden_act="quick_gelu", eos_token_id=2),
    text_encoder_2=text(24, 2, 3, hidden_act="gelu", eos_token_id=2, projection_dim=24),
    unet=unet(
        (32, 64, 96),
        "DCC",
        [2, 4, 6],
        40,
        layers_per_block=2,
        transformer_layers_per_block=[1, 2, 3],
        norm_num_groups=16,
        **added(8, 24),
    ),
    vae=vae((16, 16, 32, 32), layers_per_block=2),
    latents=(12, 8),
)

DEMO = Case(
    name="demo",
    text_encoder=text(64, 1, 2, vocab_size=49408, bos_token_id=49406, eos_token_id=49407),
    text_encoder_2=text(
        64, 1, 2, vocab_size=49408, bos_token_id=49406, eos_token_id=49407, hidden_act="gelu"
    ),
    unet=unet((64, 96, 128), "DCC", [2, 3, 4], 128, **added(32, 64)),
    vae=vae((16, 24, 32, 64)),
    latents=(8, 8),
    batch=1,
)

CONV_PROJECTION = Case(
    name="conv-projection",
    text_encoder=text(
        24, 2, 2, hidden_act="gelu", max_position_embeddings=20, bos_token_id=499, eos_token_id=500
    ),
    text_encoder_2=text(16, 1, 2, hidden_act="quick_gelu", projection_dim=36),
    unet=unet(
        (16, 32),
        "CD",
        4,
        40,
        layers_per_block=[1, 2],
        transformer_layers_per_block=2,
        use_linear_projection=False,
        norm_num_groups=4,
        norm_eps=1e-6,
        flip_sin_to_cos=False,
        freq_shift=1,
        **added(10, 36),
    ),
    vae=vae(
        (16, 24),
        norm_num_groups=4,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ),
    latents=(11, 9),
)

FOUR_LEVELS = Case(
    name="four-levels",
    text_encoder=text(
        16, 2, 1, intermediate_size=40, layer_norm_eps=1e-3, max_position_embeddings=30
    ),
    text_encoder_2=text(32, 4, 4, hidden_act="gelu", projection_dim=20, max_position_embeddings=30),
    unet=unet(
        (16, 24, 40, 40),
        "DCCD",
        [1, 3, 5, 2],
        48,
        transformer_layers_per_block=[1, 1, 2, 3],
        **added(6, 20),
    ),
    vae=vae((8, 16, 16), latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.5, 1.0, 2.0]),
    latents=(10, 14),
    stored="float16",
)

QUIET = Case(
    name="quiet",
    text_encoder=text(16, 1, 2, max_position_embeddings=12, hidden_act="gelu"),
    text_encoder_2=text(16, 1, 2, max_position_embeddings=12, hidden_act="gelu"),
    unet=unet((16, 32), "CC", [1, 2], 32, norm_eps=1e-5, **added(4, 16)),
    vae=vae((8, 16), norm_num_groups=4),
    latents=(6, 4),
    gain=0.02,
)


def sibling(name: str, **changes: Any) -> Case:
    """Return a small model with the changes of a published UNet config to SDXL base's.

    The levels, layers and depths of the transformers are the published ones.
    """
    base = SDXL_BASE_IN_SMALL
    narrow = {"block_out_channels": [16, 32, 48], "attention_head_dim": [1, 2, 3]}
    groups = {"norm_num_groups": 8}
    small = base.unet | narrow | groups | changes
    return replace(base, name=name, unet=small, vae=vae((8, 16)), latents=(8, 8))


SSD_1B = sibling(
    "ssd-1b",
    mid_block_type="UNetMidBlock2D",
    transformer_layers_per_block=[1, [2, 2], [4, 4]],
    reverse_transformer_layers_per_block=[[4, 4, 10], [2, 1, 1], 1],
)
VEGA = sibling(
    "vega",
    mid_block_type="UNetMidBlock2D",
    transformer_layers_per_block=[1, [1, 1], [2, 2]],
    reverse_transformer_layers_per_block=[[2, 2, 2], [1, 1, 1], 1],
)
KOALA_700M = sibling(
    "koala-700m",
    layers_per_block=1,
    mid_block_type=None,
    transformer_layers_per_block=[0, 2, 5],
)
KOALA_1B = sibling("koala-1b", layers_per_block=1, transformer_layers_per_block=[0, 2, 6])
LCM_SDXL = sibling("lcm-sdxl", transformer_layers_per_block=[1, 2, 10], time_cond_proj_dim=256)
INPAINTING = sibling("inpainting", in_channels=9)

REFINER = replace(
    SDXL_BASE_IN_SMALL,
    name="refiner",
    text_encoder=None,
    unet=unet(
        (16, 32, 48, 48),
        "DCCD",
        [1, 2, 3, 3],
        24,
        layers_per_block=2,
        transformer_layers_per_block=4,
        **added(8, 24, ids=5),
    ),
    vae=vae((8, 16)),
    latents=(8, 8),
)
"""SDXL's refiner in small: the published levels, layers and depths."""

SIBLINGS = (SSD_1B, VEGA, KOALA_700M, KOALA_1B, LCM_SDXL)

CASES = (
    SDXL_BASE_IN_SMALL,
    DEMO,
    CONV_PROJECTION,
    FOUR_LEVELS,
    QUIET,
    *SIBLINGS,
    INPAINTING,
    REFINER,
)


def from_folder(folder: Path, latents: tuple[int, int]) -> Case:
    """Return the case of a model folder, from its config files."""

    def config(part: str) -> Config:
        values: Config = json.loads((folder / part / "config.json").read_text())
        return {key: value for key, value in values.items() if not key.startswith("_")}

    first = config("text_encoder") if (folder / "text_encoder").is_dir() else None
    others = map(config, ("text_encoder_2", "unet", "vae"))
    return Case(folder.name, first, *others, latents=latents)


def _depths(rng: random.Random, layers: int, levels: int) -> list[int | list[int]]:
    """Return depths of transformers: one for each level, or one for each of its layers."""
    return [
        rng.choice([rng.choice([1, 2]), [rng.choice([1, 2]) for _ in range(layers)]])
        for _ in range(levels)
    ]


def draw(seed: int) -> Case:
    """Return a case of random shape, determined by the seed."""
    rng = random.Random(seed)
    groups = rng.choice([2, 4, 8])
    levels = rng.choice([2, 3, 4])
    channels = tuple(groups * rng.choice([2, 3, 4, 6]) * 2 for _ in range(levels))
    hidden, hidden_2 = rng.choice([16, 24, 32]), rng.choice([16, 32, 48])
    pooled, features = rng.choice([12, 16, 30]), rng.choice([4, 8, 16])
    blocks = "".join(rng.choice("DCC") for _ in range(levels))
    layers = rng.choice([1, 2])
    act, act_2 = rng.choice(["gelu", "quick_gelu"]), rng.choice(["gelu", "quick_gelu"])
    eos, eos_2 = rng.choice([2, 999]), rng.choice([2, 999])
    return Case(
        name=f"random-{seed}",
        text_encoder=text(
            hidden, rng.randint(1, 4), rng.choice([1, 2, 4]), hidden_act=act, eos_token_id=eos
        ),
        text_encoder_2=text(
            hidden_2,
            rng.randint(1, 4),
            rng.choice([1, 2, 4]),
            hidden_act=act_2,
            eos_token_id=eos_2,
            projection_dim=pooled,
        ),
        unet=unet(
            channels,
            blocks,
            [rng.choice([1, 2, 4]) for _ in range(levels)],
            hidden + hidden_2,
            layers_per_block=layers,
            mid_block_type=rng.choice([MID, CROSS_MID, None]),
            transformer_layers_per_block=_depths(rng, layers, levels),
            reverse_transformer_layers_per_block=_depths(rng, layers + 1, levels),
            time_cond_proj_dim=rng.choice([None, None, 8]),
            use_linear_projection=rng.choice([True, False]),
            norm_num_groups=groups,
            **added(features, pooled),
        ),
        vae=vae(
            tuple(8 * rng.choice([1, 2, 3]) for _ in range(rng.choice([2, 3, 4]))),
            norm_num_groups=rng.choice([2, 4, 8]),
            layers_per_block=rng.choice([1, 2]),
            mid_block_add_attention=rng.choice([True, False]),
            use_quant_conv=rng.choice([True, False]),
            use_post_quant_conv=rng.choice([True, False]),
        ),
        latents=(rng.randint(6, 12), rng.randint(6, 12)),
        batch=rng.choice([1, 2, 3]),
    )
