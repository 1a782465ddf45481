"""A LoRA's file: which layers of the model it changes, and how. Reads safetensors only.

What a file holds is checked from its header, before any of its tensors is read: each tensor must be
part of the change of a layer that the model has, and fit that layer's shape.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from easel_worker.sdxl.folder.checkpoint import StoredTensor, WeightsError, open_tensors
from easel_worker.sdxl.folder.header import Header, HeaderError, read_header
from easel_worker.sdxl.lora import keys
from easel_worker.sdxl.lora.algebra import (
    Floats,
    Form,
    FormError,
    Parts,
    change,
    decomposed,
    form_of,
    magnitude_fits,
)
from easel_worker.sdxl.lora.targets import COMPONENTS, Target, Targets

_PEFT_METADATA = "lora_adapter_metadata"
"""Metadata of files that diffusers writes: PEFT's settings, with ranks and alphas."""


class LoraError(ValueError):
    """A file is no LoRA for this model. The text names the file and the tensor."""


@dataclass(frozen=True)
class Layer:
    """The change of one layer.

    Attributes:
        target: the layer.
        form: how it is changed.
        tensors: the name in the file of each part.
        alpha: scales the change by alpha / rank, if the file has no `alpha` of the layer.
    """

    target: Target
    form: Form
    tensors: Mapping[str, str]
    alpha: float | None = None

    @property
    def low_rank(self) -> bool:
        """Whether the weight's change is a product of two matrices, whatever the weight is."""
        return self.form.name == "lora" and not self.tensors.keys() & {
            *(keys.MID, keys.MAGNITUDE, keys.DORA_SCALE)
        }

    @property
    def changes_weight(self) -> bool:
        """Whether it changes the layer's weight."""
        return self.form.size is not None

    @property
    def changes_bias(self) -> bool:
        """Whether it changes the layer's bias."""
        return bool(self.tensors.keys() & {keys.UP_BIAS, keys.DIFF_BIAS, keys.NORM_BIAS})

    def scale(self, parts: Parts) -> float:
        """What the product of the factors is scaled by."""
        alpha = self._alpha(parts)
        return alpha / self.form.rank if alpha and self.form.rank else 1.0

    def weight_change(self, parts: Parts, base: Floats, weight: float) -> Floats:
        """The change of the layer's weight, in the checkpoint's shape.

        Args:
            parts: the layer's tensors.
            base: the model's own weight, in the checkpoint's shape.
            weight: how much of the change to apply.
        """
        made = change(self.form.name, parts, base.shape, self._alpha(parts)) * np.float32(weight)
        if self.tensors.keys() & {keys.MAGNITUDE, keys.DORA_SCALE}:
            return decomposed(base, base + made, parts) - base
        return made

    def bias_change(self, parts: Parts, weight: float) -> Floats:
        """The change of the layer's bias."""
        for name, scale in (
            (keys.DIFF_BIAS, 1.0),
            (keys.NORM_BIAS, 1.0),
            (keys.UP_BIAS, self.scale(parts)),
        ):
            if name in parts:
                return parts[name].reshape(-1) * np.float32(weight * scale)
        raise KeyError("bias")

    def _alpha(self, parts: Parts) -> float | None:
        alpha = parts.get(keys.ALPHA)
        return self.alpha if alpha is None else float(alpha.reshape(-1)[0])


@dataclass(frozen=True)
class Lora:
    """What a file's header says.

    Attributes:
        file: the file.
        kind: `lora`, `locon`, `loha`, `lokr`, `full` or `dora`.
        rank: the largest rank of a layer; 0 if all changes are stored whole.
        layers: the layers that it changes.
        metadata: free text by key.
    """

    file: Path
    kind: str
    rank: int
    layers: tuple[Layer, ...]
    metadata: Mapping[str, str]

    @property
    def networks(self) -> tuple[str, ...]:
        """The parts of the model that it changes."""
        changed = {layer.target.component for layer in self.layers}
        return tuple(component for component in COMPONENTS if component in changed)

    @contextmanager
    def open(self) -> Iterator[Callable[[Layer], Parts]]:
        """Gives a function that reads the tensors of a layer, as float32, until the context exits.

        Raises:
            LoraError: the file is unreadable, or has other tensors than when its header was read.
        """
        try:
            with open_tensors(self.file) as tensors:
                stored = {tensor.key: tensor for tensor in tensors}
                yield lambda layer: self._read(layer, stored)
        except (WeightsError, HeaderError, OSError) as error:
            raise LoraError(str(error)) from error

    def _read(self, layer: Layer, stored: Mapping[str, StoredTensor]) -> Parts:
        parts = {}
        for part, name in layer.tensors.items():
            if name not in stored:
                raise LoraError(f"{self.file}: {name} is no longer in the file")
            array = stored[name].read().astype(np.float32)
            if not np.isfinite(array).all():
                raise LoraError(f"{self.file}: {name} has numbers that are not finite")
            parts[part] = array
        return parts


def read_lora(file: Path, targets: Targets) -> Lora:
    """Read what a file is, from its header.

    Args:
        file: a safetensors file.
        targets: the layers of the model.

    Raises:
        LoraError: it is no LoRA for this model; the text names the tensor that does not fit.
    """
    try:
        header = read_header(file)
        with open_tensors(file):
            pass  # checks that the file is whole
    except HeaderError as error:
        raise LoraError(f"{file}: {error}") from error
    except WeightsError as error:
        raise LoraError(str(error)) from error
    except OSError as error:
        raise LoraError(f"{file} cannot be read: {error.strerror or error}") from error
    grouped = _grouped(file, header, targets)
    if not grouped:
        raise LoraError(f"{file} has no tensors")
    alphas = _Alphas(header.metadata)
    layers = tuple(
        _layer(file, header, target, tensors, alphas) for target, tensors in grouped.values()
    )
    rank = max(layer.form.rank for layer in layers)
    return Lora(file, _kind(layers), rank, layers, header.metadata)


_Group = tuple[Target, dict[str, str]]


def _grouped(file: Path, header: Header, targets: Targets) -> dict[tuple[str, str], _Group]:
    """The tensors of each layer, in the file's order."""
    grouped: dict[tuple[str, str], _Group] = {}
    for name, info in header.tensors.items():
        key = keys.read_key(name)
        if key is None:
            raise LoraError(f"{file}: {name} is no tensor of a LoRA that is known")
        target = targets.find(key.layer)
        if target is None:
            raise LoraError(f"{file}: {name} fits no layer of this model")
        _, tensors = grouped.setdefault((target.component, target.module), (target, {}))
        if key.part in tensors:
            raise LoraError(f"{file}: {name} is also in the file as {tensors[key.part]}")
        if key.part == keys.ALPHA and math.prod(info.shape) != 1:
            raise LoraError(f"{file}: {name} has shape {list(info.shape)}, but must be one number")
        tensors[key.part] = name
    return grouped


def _layer(
    file: Path, header: Header, target: Target, tensors: dict[str, str], alphas: "_Alphas"
) -> Layer:
    first = next(iter(tensors.values()))
    shapes = {part: header.tensors[name].shape for part, name in tensors.items()}
    try:
        form = form_of(shapes)
    except FormError as error:
        raise LoraError(f"{file}: {first}: {error}") from error
    stored = target.weight.stored
    wanted = (stored[0], math.prod(stored[1:]))
    if form.size is not None and form.size != wanted:
        raise LoraError(
            f"{file}: {first} changes a weight of {form.size[0]}×{form.size[1]}, but this model's "
            f"is {wanted[0]}×{wanted[1]}"
        )
    if not magnitude_fits(shapes, stored):
        raise LoraError(f"{file}: {first}: the magnitudes of DoRA do not fit {list(stored)}")
    for part in (keys.UP_BIAS, keys.DIFF_BIAS, keys.NORM_BIAS):
        if part in shapes and (target.bias is None or math.prod(shapes[part]) != stored[0]):
            raise LoraError(f"{file}: {tensors[part]} fits no bias of this model")
    return Layer(target, form, tensors, alphas.of(target, form.rank))


def _kind(layers: tuple[Layer, ...]) -> str:
    forms = {layer.form.name for layer in layers}
    if any(layer.tensors.keys() & {keys.MAGNITUDE, keys.DORA_SCALE} for layer in layers):
        return "dora"
    for form in ("lokr", "loha"):
        if form in forms:
            return form
    if "lora" not in forms:
        return "full"
    convolved = any(
        layer.form.name == "lora" and math.prod(layer.target.weight.stored[2:]) > 1
        for layer in layers
    )
    return "locon" if convolved else "lora"


class _Alphas:
    """The alphas in PEFT's settings, which diffusers writes into a file's metadata.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/loaders/lora_base.py#L65
    """

    def __init__(self, metadata: Mapping[str, str]) -> None:
        try:
            settings = json.loads(metadata.get(_PEFT_METADATA, "{}"))
        except (ValueError, RecursionError):
            settings = {}
        self._settings: dict[str, Any] = settings if isinstance(settings, dict) else {}

    def of(self, target: Target, rank: int) -> float | None:
        """The alpha of a layer, for a scale of alpha / rank; None if the settings have none."""
        alpha = self._setting(target, "lora_alpha")
        patterns = self._setting(target, "alpha_pattern")
        for pattern, own in patterns.items() if isinstance(patterns, dict) else ():
            if f".{target.module}".endswith(f".{pattern}"):
                alpha = own
        if not isinstance(alpha, int | float) or not math.isfinite(alpha):
            return None
        # https://github.com/huggingface/peft/blob/v0.21.2/src/peft/tuners/lora/layer.py
        rooted = self._setting(target, "use_rslora") is True
        return alpha * math.sqrt(rank) if rooted else float(alpha)

    def _setting(self, target: Target, name: str) -> Any:
        return self._settings.get(f"{target.component}.{name}")
