"""Reads the config.json of a CLIP vision encoder."""

from easel_worker.sdxl.folder.config_reader import ConfigFile, ConfigReader
from easel_worker.sdxl.model.config import VisionConfig


def read_vision_config(file: ConfigFile) -> VisionConfig:
    """Read and check a vision encoder's config.

    Args:
        file: config.json.

    Raises:
        ConfigError: a value is missing or unsupported.

    https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/configuration_clip.py#L79
    """
    read = ConfigReader(file)
    read.require("model_type", "clip_vision_model")
    read.require("hidden_act", "quick_gelu", "gelu")
    read.require("num_channels", 3)
    config = VisionConfig(
        hidden=read.integer("hidden_size", 768),
        intermediate=read.integer("intermediate_size", 3072),
        layers=read.integer("num_hidden_layers", 12),
        heads=read.integer("num_attention_heads", 12),
        side=read.integer("image_size", 224),
        patch=read.integer("patch_size", 32),
        activation=read.string("hidden_act", "quick_gelu"),
        norm_eps=read.number("layer_norm_eps", 1e-5),
        projection=read.integer("projection_dim", 512),
    )
    if not config.heads or config.hidden % config.heads:
        read.fail("num_attention_heads", f"must divide hidden_size, {config.hidden}")
    if not config.patch or config.side % config.patch or not config.side:
        # transformers leaves out the pixels that fill no patch; no such encoder is published.
        read.fail("patch_size", f"must divide image_size, {config.side}")
    if not config.layers:
        read.fail("num_hidden_layers", "must be 1 or more")
    return config
