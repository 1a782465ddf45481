"""Checks a model before its weights are fetched."""

from pathlib import Path

from easel_worker.sdxl.folder.config import read_config
from easel_worker.sdxl.folder.config_reader import ConfigFile
from easel_worker.sdxl.folder.config_unet import read_unet_config
from easel_worker.sdxl.folder.config_vae import read_vae_config
from easel_worker.sdxl.folder.files import locate
from easel_worker.sdxl.folder.model_defaults import model_defaults
from easel_worker.sdxl.folder.single_file import check_header
from easel_worker.sdxl.folder.tokenizer_files import read_tokenizer

__all__ = ["check_header", "check_small_files"]


def check_small_files(folder: Path, component: str | None = None) -> None:
    """Refuse a model that the worker would refuse before it reads weights.

    Args:
        folder: with the configs and tokenizers of a diffusers folder.
        component: "vae" or "unet" if the folder has only it, else None.

    Raises:
        ValueError: something is missing or not supported; the message says what to do.
    """
    if component is not None:
        inside = folder / component / "config.json"
        file = ConfigFile(inside if inside.is_file() else folder / "config.json")
        _ = read_vae_config(file) if component == "vae" else read_unet_config(file)
        return
    files = locate(folder)
    config = read_config(files)
    for tokenizer in files.tokenizers:
        read_tokenizer(tokenizer)
    model_defaults(files, config)
