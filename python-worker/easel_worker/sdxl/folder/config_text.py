"""Reads the config.json of a CLIP text encoder."""

from easel_worker.sdxl.folder.config_reader import ConfigFile, ConfigReader
from easel_worker.sdxl.model.config import TextConfig


def read_text_config(file: ConfigFile, *, projects: bool) -> TextConfig:
    """Read and check a text encoder's config.

    Args:
        file: config.json.
        projects: whether the encoder has a text projection, which the file does not say.

    Raises:
        ConfigError: a value is missing or unsupported.

    https://github.com/huggingface/transformers/blob/v5.23.0/src/transformers/models/clip/configuration_clip.py#L27
    """
    read = ConfigReader(file)
    read.require("model_type", "clip_text_model")
    read.require("hidden_act", "quick_gelu", "gelu")
    config = TextConfig(
        vocabulary=read.integer("vocab_size", 49408),
        hidden=read.integer("hidden_size", 512),
        intermediate=read.integer("intermediate_size", 2048),
        layers=read.integer("num_hidden_layers", 12),
        heads=read.integer("num_attention_heads", 8),
        positions=read.integer("max_position_embeddings", 77),
        activation=read.string("hidden_act", "quick_gelu"),
        norm_eps=read.number("layer_norm_eps", 1e-5),
        eos_token_id=read.integer("eos_token_id", 49407),
        projection=read.integer("projection_dim", 512) if projects else None,
    )
    if config.hidden % config.heads:
        read.fail("num_attention_heads", f"must divide hidden_size, {config.hidden}")
    return config
