"""Reads the config.json of ControlNets and T2I-Adapters."""

from typing import Any

from easel_worker.sdxl.folder.config_reader import ConfigFile, ConfigReader
from easel_worker.sdxl.folder.config_unet import read_unet_config
from easel_worker.sdxl.model.controlnet import ControlNetConfig
from easel_worker.sdxl.model.t2i_adapter import AdapterConfig

_PICTURE = {
    "conditioning_channels",
    "conditioning_embedding_out_channels",
    "controlnet_conditioning_channel_order",
    "global_pool_conditions",
}
"""Keys that a ControlNet's config has and a UNet's does not."""

_WITHOUT_CONDITIONS = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 2,
    "projection_class_embeddings_input_dim": 12,
}
"""Stand for the conditions of a net without them: no layer has these sizes."""

_ADAPTER = {"adapter_type", "channels", "downscale_factor", "in_channels", "num_res_blocks"}

CLASS = "_class_name"
CONTROLNET, ADAPTER = "ControlNetModel", "T2IAdapter"


def read_controlnet_config(file: ConfigFile) -> ControlNetConfig:
    """Read and check a ControlNet's config.

    Raises:
        ConfigError: a value is missing or unsupported.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/controlnets/controlnet.py#L174
    """
    read = ConfigReader(file)
    read.require("conditioning_channels", 3)
    read.require("controlnet_conditioning_channel_order", "rgb", "bgr")
    read.require("global_pool_conditions", False)
    read.require("mid_block_type", "UNetMidBlock2DCrossAttn", "UNetMidBlock2D")
    read.require("addition_embed_type", None, "text_time")
    read.integer("layers_per_block", 2)
    key = "conditioning_embedding_out_channels"
    picture = read.integers(key) if read.values.get(key) is not None else (16, 32, 96, 256)
    added = read.values.get("addition_embed_type") is not None
    unet: dict[str, Any] = {k: v for k, v in read.values.items() if k not in _PICTURE}
    if not added:
        unet |= _WITHOUT_CONDITIONS
    down = read.strings("down_block_types", ("DownBlock2D", "CrossAttnDownBlock2D"))
    # A UNet's reader wants to know the way up too, which a ControlNet does not have.
    unet["up_block_types"] = [each.replace("Down", "Up") for each in reversed(down)]
    unet["reverse_transformer_layers_per_block"] = 1
    return ControlNetConfig(
        unet=read_unet_config(ConfigFile(read.path, unet)),
        picture_channels=picture,
        bgr=read.values.get("controlnet_conditioning_channel_order") == "bgr",
        added_conditions=added,
    )


def read_adapter_config(file: ConfigFile) -> AdapterConfig:
    """Read and check a T2I-Adapter's config.

    Raises:
        ConfigError: a value is missing or unsupported.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/models/adapter.py#L219
    """
    read = ConfigReader(file)
    read.only(_ADAPTER)
    if read.string("adapter_type", "full_adapter") != "full_adapter_xl":
        read.fail("adapter_type", "only full_adapter_xl, which is for SDXL, is supported")
    inputs = read.integer("in_channels", 3)
    if inputs not in (1, 3):
        read.fail("in_channels", "must be 1 or 3")
    scale = read.integer("downscale_factor", 8)
    if scale < 1:
        read.fail("downscale_factor", "must be 1 or more")
    return AdapterConfig(
        inputs=inputs,
        channels=read.integers("channels"),
        layers=read.integer("num_res_blocks", 2),
        scale=scale,
    )
