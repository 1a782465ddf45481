"""Reads IP-Adapters for SDXL: a safetensors file of h94/IP-Adapter and the vision encoder with it.

An adapter is a folder with one `.safetensors` file, whose tensors are named `image_proj.*` and
`ip_adapter.*`, and `image_encoder/` with a `config.json` and weights.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from easel_worker.listed_files import ENDING, MAX_LISTED_CONTROLS, entries, is_name
from easel_worker.pickles import PICKLES
from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.checkpoint import Weights, WeightsError, has_weights, open_tensors
from easel_worker.sdxl.folder.config_reader import ConfigError, ConfigFile
from easel_worker.sdxl.folder.config_vision import read_vision_config
from easel_worker.sdxl.folder.header import HeaderError, TensorInfo, read_header
from easel_worker.sdxl.folder.identity import component_digest, file_digest
from easel_worker.sdxl.model.config import UNetConfig, VisionConfig
from easel_worker.sdxl.model.ip_adapter import (
    HEAD,
    IpAdapter,
    PlainShape,
    ResamplerShape,
    Shape,
)
from easel_worker.sdxl.model.vision_encoder import VisionEncoder

ENCODER = "image_encoder"

MOST_TOKENS = 64
"""Published adapters have 4 or 16. An adapter's tokens are repeated until all have as many."""

_CONVERT = (
    "which can run code: convert it with torch.load(FILE, weights_only=True) and "
    "safetensors.torch.save_file of its tensors as image_proj.NAME and ip_adapter.NAME"
)
_CONVERT_ENCODER = (
    "convert it with transformers: "
    "CLIPVisionModelWithProjection.from_pretrained(FOLDER).save_pretrained(FOLDER)"
)

_REFUSED = (
    ("image_proj.perceiver_resampler.proj_in.weight", "FaceID Plus"),
    ("image_proj.proj.3.weight", "Full Face"),
    ("image_proj.proj.0.weight", "FaceID"),
)
"""A tensor that only adapters of a kind have which this worker does not support, and the kind."""


class IpAdapterError(ValueError):
    """A folder is no IP-Adapter for this model. The text names the file and says what to do."""


@dataclass(frozen=True)
class IpAdapterFiles:
    """An adapter whose names and shapes were checked, with no weights read.

    Attributes:
        name: what requests call it: its folder's name.
        file: the adapter's own weights.
        encoder: the vision encoder's folder.
        vision: the encoder's configuration.
        shape: of the adapter's projection.
    """

    name: str
    file: Path
    encoder: Path
    vision: VisionConfig
    shape: Shape


class Digests(NamedTuple):
    """SHA-256 of an adapter with its encoder, and of the encoder alone."""

    whole: str
    encoder: str


def find_ip_adapters(
    folder: Path, unet: UNetConfig, report: Callable[[str], None]
) -> tuple[IpAdapterFiles, ...]:
    """The usable adapters of the operator's folder, in order of their names.

    Args:
        folder: has a folder for each adapter.
        unet: of the model.
        report: called with a line for each entry that cannot be used.
    """
    found: list[IpAdapterFiles] = []
    for path in _entries(folder, report):
        try:
            files = read_ip_adapter(path, unet)
            _check_tokens(path, [*found, files])
            found.append(files)
        except (IpAdapterError, ConfigError, WeightsError, OSError) as error:
            report(f"an IP-Adapter is left out: {error}")
    if len(found) > MAX_LISTED_CONTROLS:
        report(f"only the first {MAX_LISTED_CONTROLS} IP-Adapters of {folder} are used")
    return tuple(found[:MAX_LISTED_CONTROLS])


def common_tokens(found: Iterable[IpAdapterFiles]) -> int:
    """The least number of tokens that those of each adapter divide."""
    return math.lcm(*(files.shape.tokens for files in found))


def _check_tokens(folder: Path, found: Sequence[IpAdapterFiles]) -> None:
    if (together := common_tokens(found)) > MOST_TOKENS:
        *others, own = (files.shape.tokens for files in found)
        raise IpAdapterError(
            f"{folder} makes {own} tokens, and the others {', '.join(map(str, sorted({*others})))}:"
            f" their least common multiple, {together}, is above {MOST_TOKENS}"
        )


def _entries(folder: Path, report: Callable[[str], None]) -> Iterator[Path]:
    for path in entries(folder, report):
        if not path.is_dir():
            report(
                f"{path} is left out: an IP-Adapter is a folder, with its {ENDING} file and its "
                f"{ENCODER}/"
            )
        elif not is_name(path.name):
            report(f"{path!r} is left out: its name is too long, or has a character such as < or :")
        else:
            yield path


def read_ip_adapter(folder: Path, unet: UNetConfig) -> IpAdapterFiles:
    """Check an adapter and its encoder, without reading weights.

    Raises:
        IpAdapterError: it is none for this model, or of a kind that is not supported.
        ConfigError: the encoder's config has an unsupported value.
        WeightsError: a tensor is unknown, missing or of the wrong shape.
    """
    file = _adapter_file(folder)
    encoder = folder / ENCODER
    if not (encoder / "config.json").is_file():
        raise IpAdapterError(
            f"{encoder}/config.json is missing: put the vision encoder here that the adapter was "
            "trained with; h94/IP-Adapter has ViT-H in models/image_encoder, and bigG in "
            "sdxl_models/image_encoder"
        )
    vision = read_vision_config(ConfigFile(encoder / "config.json"))
    if not has_weights(encoder):
        raise IpAdapterError(
            f"{encoder} has no model.safetensors; if it has weights in another format, "
            f"{_CONVERT_ENCODER}"
        )
    try:
        tensors = read_header(file).tensors
    except HeaderError as error:
        raise IpAdapterError(f"{file}: {error}") from error
    shape = _shape(file, tensors, unet)
    _check_encoder(file, shape, vision)
    try:
        _match(Weights(file, "ip_adapter"), IpAdapter.declare(shape, unet))
    except WeightsError as error:
        raise IpAdapterError(f"the adapter does not fit this model's UNet: {error}") from error
    _match(Weights(encoder, ENCODER), VisionEncoder.declare(vision))
    return IpAdapterFiles(folder.name, file, encoder, vision, shape)


def _match(source: Weights, tree: object) -> None:
    with open_tensors(source.path) as tensors:
        weights.match(source, tree, tensors)


def digests(files: IpAdapterFiles) -> Digests:
    """Read all bytes of an adapter for its digests."""
    encoder = component_digest(files.encoder)
    lines = f"adapter {file_digest(files.file)}\n{ENCODER} {encoder}\n"
    return Digests(hashlib.sha256(lines.encode()).hexdigest(), encoder)


def _adapter_file(folder: Path) -> Path:
    files = (path for path in folder.iterdir() if path.is_file())
    names = sorted(path.name for path in files if not path.name.startswith("."))
    usable = [name for name in names if name.endswith(ENDING)]
    if len(usable) == 1:
        return folder / usable[0]
    if usable:
        raise IpAdapterError(
            f"{folder} has {len(usable)} files: {', '.join(usable)}; leave one, and give each "
            "adapter a folder of its own"
        )
    pickled = [name for name in names if PICKLES.fullmatch(name)]
    if pickled:
        raise IpAdapterError(f"{folder} has {', '.join(pickled)}, {_CONVERT}")
    raise IpAdapterError(f"{folder} has no {ENDING} file: put the adapter's there")


def _shape(file: Path, tensors: Mapping[str, TensorInfo], unet: UNetConfig) -> Shape:
    """The shape of the projection, from the shapes of its tensors."""
    for mark, kind in _REFUSED:
        if mark in tensors:
            raise IpAdapterError(
                f"{file} is an IP-Adapter of the kind {kind}, which is not supported: use a plain "
                "one, such as ip-adapter_sdxl.safetensors, or a plus one, such as "
                "ip-adapter-plus-face_sdxl_vit-h.safetensors"
            )
    if any("_lora." in name for name in tensors):
        raise IpAdapterError(
            f"{file} is an IP-Adapter of the kind FaceID, with LoRAs, which is not supported"
        )

    def size(name: str, axis: int) -> int:
        found = tensors.get(name)
        if found is None or len(found.shape) <= axis:
            raise IpAdapterError(
                f"{file} has no {name} of an IP-Adapter: only files with image_proj.* and "
                "ip_adapter.*, as h94/IP-Adapter has them, are read"
            )
        return found.shape[axis]

    plus = "image_proj.latents" in tensors
    context = size("image_proj.norm_out.weight" if plus else "image_proj.norm.weight", 0)
    if context != unet.context:
        raise IpAdapterError(
            f"{file} makes tokens of {context} features, but this model's prompts have "
            f"{unet.context}: it is an adapter for another kind of model"
        )
    if not plus:
        rows, features = size("image_proj.proj.weight", 0), size("image_proj.proj.weight", 1)
        return PlainShape(_tokens(file, rows // context), features)
    inner = size("image_proj.layers.0.0.to_q.weight", 0)
    if inner % HEAD or not inner:
        raise IpAdapterError(
            f"{file}: image_proj.layers.0.0.to_q.weight has {inner} outputs, but they are heads "
            f"of {HEAD}"
        )
    layers = 0
    while f"image_proj.layers.{layers}.0.to_q.weight" in tensors:
        layers += 1
    return ResamplerShape(
        tokens=_tokens(file, size("image_proj.latents", 1)),
        features=size("image_proj.proj_in.weight", 1),
        hidden=size("image_proj.latents", 2),
        heads=inner // HEAD,
        layers=layers,
    )


def _tokens(file: Path, tokens: int) -> int:
    if not 1 <= tokens <= MOST_TOKENS:
        raise IpAdapterError(f"{file} makes {tokens} tokens: 1 to {MOST_TOKENS} are supported")
    return tokens


def _check_encoder(file: Path, shape: Shape, vision: VisionConfig) -> None:
    """Refuse an adapter that was trained with another encoder."""
    plain = isinstance(shape, PlainShape)
    has = vision.projection if plain else vision.hidden
    if shape.features != has:
        key = "projection_dim" if plain else "hidden_size"
        raise IpAdapterError(
            f"{file} reads {shape.features} features, but {ENCODER}/config.json has {key} {has}: "
            "it was trained with another encoder (ViT-H has projection_dim 1024 and hidden_size "
            "1280, bigG has 1280 and 1664)"
        )
