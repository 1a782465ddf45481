"""Finds the ControlNets and T2I-Adapters in the operator's folder, and checks that they fit."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from easel_worker.listed_files import ENDING, MAX_LISTED_CONTROLS, entries, is_name
from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.checkpoint import Weights, WeightsError, open_tensors
from easel_worker.sdxl.folder.config_reader import ConfigError, ConfigFile, read_config_file
from easel_worker.sdxl.folder.control_config import (
    ADAPTER,
    CLASS,
    CONTROLNET,
    read_adapter_config,
    read_controlnet_config,
)
from easel_worker.sdxl.folder.identity import file_digest
from easel_worker.sdxl.model.additions import feature_shapes, residual_shapes
from easel_worker.sdxl.model.config import UNetConfig
from easel_worker.sdxl.model.controlnet import ControlNet, ControlNetConfig
from easel_worker.sdxl.model.t2i_adapter import AdapterConfig, T2IAdapter
from easel_worker.values import Size

_OTHERS = {
    "ControlNetUnionModel": "a ControlNet Union",
    "ControlNetXSAdapter": "a ControlNet-XS",
    "MultiAdapter": "several T2I-Adapters",
}
"""Other classes of diffusers, and what they are."""

_MARKS = {
    "lora_controlnet": "a control-LoRA, which is not supported",
    "lllite_": "a ControlNet-LLLite, which is not supported",
    "control_add_embedding": "a ControlNet Union, which is not supported",
    "task_embedding": "a ControlNet Union, which is not supported",
    "body.": "a T2I-Adapter in the original layout; use its folder for diffusers",
}
"""How the names of tensors begin in files of other kinds, and what such a file is."""

_PICTURE_IN, _ADDED = "controlnet_cond_embedding.conv_in.weight", "add_embedding."

_ORIGINAL, _HINT = "control_model.", "input_hint_block."
"""What names begin with in the original layout, in which some files leave the first out."""


@dataclass(frozen=True)
class ControlFiles:
    """A net that the operator's folder has.

    Attributes:
        name: by which requests name it.
        config: what it is.
        weights: its weights.
        config_file: its config.json; None for a file without one.
    """

    name: str
    config: ControlNetConfig | AdapterConfig
    weights: Weights
    config_file: Path | None

    @property
    def tree(self) -> ControlNet | T2IAdapter:
        """Its declarations."""
        return declare(self.config)

    def digest(self) -> str:
        """SHA-256 over all that decides its numbers; reads all of its files."""
        whole = hashlib.sha256()
        if self.config_file is not None:
            whole.update(f"config.json {file_digest(self.config_file)}\n".encode())
        with open_tensors(self.weights.path) as tensors:
            files = sorted({tensor.file for tensor in tensors})
        for file in files:
            name = file.name if self.weights.path.is_dir() else "single_file"
            whole.update(f"{name} {file_digest(file)}\n".encode())
        return whole.hexdigest()


def declare(config: ControlNetConfig | AdapterConfig) -> ControlNet | T2IAdapter:
    """The declarations of a net."""
    if isinstance(config, ControlNetConfig):
        return ControlNet.declare(config)
    return T2IAdapter.declare(config)


def find_controls(
    folder: Path,
    unet: UNetConfig,
    scale: int,
    sizes: Sequence[Size],
    say: Callable[[str], None],
) -> tuple[ControlFiles, ...]:
    """The nets of a folder that fit a model, by name. Reads no weights, only which there are.

    Args:
        folder: each entry is a diffusers folder of a net, or a `.safetensors` file of a ControlNet.
        unet: the model's.
        scale: pixels along the side of a latent.
        sizes: of the images that are served.
        say: called with a line for each entry that is left out, which says why.
    """
    found: list[ControlFiles] = []
    for path in entries(folder, say):
        if not path.is_dir() and path.suffix != ENDING:
            continue
        name = path.name.removesuffix(ENDING) if path.is_file() else path.name
        if not is_name(name):
            say(f"{path!r} is left out: a request cannot write its name")
        elif any(each.name == name for each in found):
            say(f"{path} is left out: there are two nets called {name}")
        elif len(found) == MAX_LISTED_CONTROLS:
            say(f"{path} is left out: there are more than {MAX_LISTED_CONTROLS} nets")
        else:
            try:
                found.append(_read(name, path, unet, scale, sizes))
            except (ConfigError, WeightsError) as error:
                say(f"{path} is left out: {error}")
    return tuple(found)


def _read(
    name: str, path: Path, unet: UNetConfig, scale: int, sizes: Sequence[Size]
) -> ControlFiles:
    config_file = path / "config.json" if path.is_dir() else None
    prefix = None
    if config_file is None:
        config, prefix = _of_file(path, unet)
    else:
        config = _config(config_file)
    for size in sizes:
        _check_fit(path, config, unet, scale, size)
    files = ControlFiles(name, config, Weights(path, "controlnet", prefix), config_file)
    with open_tensors(path) as tensors:
        weights.match(files.weights, files.tree, tensors)
    return files


def _config(file: Path) -> ControlNetConfig | AdapterConfig:
    named: Any = read_config_file(file).get(CLASS)
    if named == CONTROLNET:
        return read_controlnet_config(ConfigFile(file))
    if named == ADAPTER:
        return read_adapter_config(ConfigFile(file))
    what = f"it is {_OTHERS[named]}, which is" if named in _OTHERS else "this class is"
    raise ConfigError(
        f"{file}: {CLASS} = {json.dumps(named)}: {what} not supported; it must be {CONTROLNET} or "
        f"{ADAPTER}"
    )


def _of_file(path: Path, unet: UNetConfig) -> tuple[ControlNetConfig | AdapterConfig, str | None]:
    """The config of a ControlNet without one, which is like the model's UNet, and `prefix`.

    `prefix` is that of `Weights`.
    """
    with open_tensors(path) as tensors:
        shapes = {tensor.name: tensor.shape for tensor in tensors}
    for mark, what in _MARKS.items():
        if any(name.removeprefix(_ORIGINAL).startswith(mark) for name in shapes):
            raise WeightsError(f"it is {what}")
    prefix = _prefix(shapes)
    if prefix is None and _PICTURE_IN not in shapes:
        raise WeightsError(
            f"it has neither a tensor {_PICTURE_IN} nor {_HINT}0.weight: it is no ControlNet that "
            "can be read without a config.json; put it into a folder with its own"
        )
    added = _ADDED if prefix is None else f"{prefix}label_emb."
    channels = (
        _picture_channels(shapes) if prefix is None else _hint_channels(shapes, f"{prefix}{_HINT}")
    )
    config = ControlNetConfig(
        # A net takes the sample alone, also over an inpainting UNet.
        unet=replace(unet, in_channels=unet.out_channels),
        picture_channels=tuple(channels),
        bgr=False,
        added_conditions=any(name.startswith(added) for name in shapes),
    )
    return config, prefix


def _prefix(shapes: Mapping[str, Any]) -> str | None:
    """What the names begin with in the original layout; None in diffusers'."""
    return next((p for p in (_ORIGINAL, "") if f"{p}{_HINT}0.weight" in shapes), None)


def _hint_channels(shapes: Mapping[str, tuple[int, ...]], hints: str) -> Iterator[int]:
    """Every second convolution but the last changes the channels; activations are numbered too."""
    number = 0
    while f"{hints}{number + 2}.weight" in shapes:
        yield shapes[f"{hints}{number}.weight"][0]
        number += 4


def _picture_channels(shapes: dict[str, tuple[int, ...]]) -> Iterator[int]:
    yield shapes[_PICTURE_IN][0]
    block = 1
    while (name := f"controlnet_cond_embedding.blocks.{block}.weight") in shapes:
        yield shapes[name][0]
        block += 2


def _check_fit(
    path: Path, config: ControlNetConfig | AdapterConfig, unet: UNetConfig, scale: int, size: Size
) -> None:
    """Compare what a net makes with what the UNet takes.

    Raises:
        ConfigError: they differ; the text says in what.
    """
    height, width = size.height // scale, size.width // scale
    if isinstance(config, AdapterConfig):
        if any(side % config.scale for side in size):
            raise ConfigError(
                f"{path}: downscale_factor is {config.scale}, which does not divide the size "
                f"{size}: leave the size out, or the adapter"
            )
        made, taken = config.shapes(size.height, size.width), feature_shapes(unet, height, width)
        # A UNet without a middle block has no use for the last ones, as in diffusers.
        if made[: len(taken)] != taken or len(made) > len(unet.channels) + 1:
            raise ConfigError(
                f"{path}: it is for another UNet: at {size} its features are {list(made)}, and the "
                f"model's UNet takes {list(taken)}"
            )
        return
    own = config.unet
    if residual_shapes(own, height, width) != residual_shapes(unet, height, width):
        raise ConfigError(
            f"{path}: it is for another UNet: its levels have {list(own.channels)} channels and "
            f"{list(own.layers)} layers, those of the model's UNet {list(unet.channels)} and "
            f"{list(unet.layers)}"
        )
    if own.in_channels != unet.out_channels:
        raise ConfigError(
            f"{path}: in_channels is {own.in_channels}, and the model's latents have "
            f"{unet.out_channels} channels"
        )
    if own.context != unet.context:
        raise ConfigError(
            f"{path}: it is for other text encoders: cross_attention_dim is {own.context}, that of "
            f"the model's UNet {unet.context}"
        )
    sizes = (own.added_features, own.time_id_features) != (
        unet.added_features,
        unet.time_id_features,
    )
    if config.added_conditions and sizes:
        raise ConfigError(
            f"{path}: it is for other text encoders: projection_class_embeddings_input_dim and "
            f"addition_time_embed_dim are {own.added_features} and {own.time_id_features}, those "
            f"of the model's UNet {unet.added_features} and {unet.time_id_features}"
        )
    if config.scale != scale:
        raise ConfigError(
            f"{path}: conditioning_embedding_out_channels has {len(config.picture_channels)} "
            f"numbers, so a latent is {config.scale} pixels wide, and {scale} in the model"
        )
