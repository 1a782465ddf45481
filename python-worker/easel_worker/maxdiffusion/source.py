"""Finds MaxDiffusion's UNet and checks that it is called as here.

Nothing of MaxDiffusion is part of Easel. The names below are those of commit 7cfb880:
https://github.com/AI-Hypercomputer/maxdiffusion/blob/7cfb8801d41d1728f0232cd7ee59e900a151fecf/src/maxdiffusion/models/unet_2d_condition_flax.py#L57
"""

import dataclasses
import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

COMMIT = "7cfb8801d41d1728f0232cd7ee59e900a151fecf"
"""The version that this engine was written for."""

REPOSITORY = "https://github.com/AI-Hypercomputer/maxdiffusion"
MODULE = "maxdiffusion.models.unet_2d_condition_flax"
CLASS = "FlaxUNet2DConditionModel"

FIELDS = (
    "sample_size",
    "in_channels",
    "out_channels",
    "down_block_types",
    "up_block_types",
    "block_out_channels",
    "layers_per_block",
    "attention_head_dim",
    "cross_attention_dim",
    "use_linear_projection",
    "dtype",
    "weights_dtype",
    "flip_sin_to_cos",
    "freq_shift",
    "split_head_dim",
    "attention_kernel",
    "flash_min_seq_length",
    "mesh",
    "transformer_layers_per_block",
    "addition_embed_type",
    "addition_time_embed_dim",
    "projection_class_embeddings_input_dim",
)
"""The fields of the class that the engine sets."""

ARGUMENTS = {
    "__call__": (
        "sample",
        "timesteps",
        "encoder_hidden_states",
        "added_cond_kwargs",
        "return_dict",
    ),
    "init_weights": ("rng", "eval_only"),
}
"""The arguments of its methods that the engine gives."""


def find_unet(checkout: Path | None) -> type[Any]:
    """Import MaxDiffusion's UNet.

    Changes `sys.path` for a checkout, so call it once in a process.

    Args:
        checkout: the value of MAXDIFFUSION; None for the installed package.

    Raises:
        ValueError: it is not there, cannot be imported, or is called otherwise; the message says
            what to do.
    """
    where = "maxdiffusion" if checkout is None else f"MAXDIFFUSION={checkout}"
    if checkout is not None:
        sys.path.insert(0, str(_source(checkout)))
    try:
        found = getattr(importlib.import_module(MODULE), CLASS)
    except Exception as error:
        raise ValueError(_why(where, checkout, error)) from error
    if checkout is not None and not Path(_file(found)).is_relative_to(_source(checkout).resolve()):
        raise ValueError(f"{where}: another maxdiffusion was imported before, {_file(found)}")
    _check(found, where)
    unet: type[Any] = found
    return unet


def _source(checkout: Path) -> Path:
    """The folder that has the package."""
    for folder in (checkout / "src", checkout):
        if (folder / "maxdiffusion").is_dir():
            return folder
    raise ValueError(
        f"MAXDIFFUSION={checkout} has no src/maxdiffusion: name a checkout of {REPOSITORY}"
    )


def _why(where: str, checkout: Path | None, error: Exception) -> str:
    """What to do about an import that failed."""
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing == "maxdiffusion" and checkout is None:
        return (
            f"the engine maxdiffusion needs MaxDiffusion, and {sys.executable} has none: set "
            f"MAXDIFFUSION to a checkout of {REPOSITORY}"
        )
    if missing is not None and not missing.startswith("maxdiffusion"):
        return (
            f"{where} needs the package {missing}: install the requirements of MaxDiffusion into "
            f"{sys.executable}, or set PYTHON to one that has them"
        )
    return (
        f"{where}: {MODULE}.{CLASS} cannot be imported: {type(error).__name__}: {error}. This "
        f"engine was written for commit {COMMIT[:7]}"
    )


def _check(unet: Any, where: str) -> None:
    known = {"fields": [each.name for each in dataclasses.fields(unet)]}
    for method in ARGUMENTS:
        given = getattr(unet, method, None)
        known[method] = [] if given is None else list(inspect.signature(given).parameters)
    for what, names in ({"fields": FIELDS} | ARGUMENTS).items():
        if missing := [name for name in names if name not in known[what]]:
            raise ValueError(
                f"{where}: {CLASS} is not as in commit {COMMIT[:7]}, which this engine was written "
                f"for: {what} has no {', '.join(missing)}. Use that commit, or ENGINE=sdxl"
            )


def _file(found: Any) -> str:
    return str(Path(inspect.getfile(found)).resolve())
