"""Small LoRAs of every format for a tiny model. No torch: names determine values, see `synthetic`.

The names are those of published files; the reference libraries load the same files, so a wrong name
fails there.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.lora.targets import declarations
from easel_worker.sdxl.model.params import declared
from parity import synthetic

Shape = tuple[int, ...]
Shapes = Mapping[str, Mapping[str, Shape]]
"""The shapes of a model's tensors: by component, then by name."""

RANK = 4

_LINEARS = r"(to_[qkv]|to_out\.0|proj_(in|out)|net\.0\.proj|net\.2|[qkv]_proj|out_proj|fc[12])"
_ATTENTION = r"attn[12]\.to_([qkv]|out\.0)|[qkv]_proj|self_attn\.out_proj"
_CONVS = (
    r"(resnets\.\d\.(conv[12]|conv_shortcut|time_emb_proj)|samplers\.0\.conv|conv_(in|out)"
    r"|(time|add)_embedding\.linear_[12])"
)

LINEARS = rf".*\b{_LINEARS}"
ATTENTION = rf".*\b({_ATTENTION})"
ALL = rf".*\b({_LINEARS}|{_CONVS})"
ALL_BUT_ADDED = rf"(?!add_).*\b({_LINEARS}|{_CONVS})"
"""diffusers reads kohya's names of `add_embedding` only if they are the original ones."""
UNET_ATTENTION = r".*\battn[12]\.to_([qkv]|out\.0)"
"""diffusers loads no magnitudes of text encoders with transformers 5."""
CONVOLUTIONS = r".*\b(resnets\.0\.conv[12]|samplers\.0\.conv|attn1\.to_q)"
NORMS = r".*\b(norm[123]|layer_norm[12])"


@dataclass(frozen=True)
class LoraFile:
    """A file to make.

    Attributes:
        naming: of `NAMINGS`.
        form: of `FORMS`.
        layers: a pattern of the names of the layers that it changes.
        alpha: of each layer; None for a file without.
        metadata: of the file.
        reference: the library that loads it, `diffusers` or `lycoris`.
    """

    name: str
    naming: str = "kohya"
    form: str = "lora"
    layers: str = LINEARS
    alpha: float | None = None
    metadata: Mapping[str, Any] | None = None
    reference: str = "diffusers"

    def tensors(self, shapes: Shapes) -> dict[str, NDArray[np.float32]]:
        """The file's tensors for a model."""
        made = {}
        naming, form = NAMINGS[self.naming], FORMS[self.form]
        for component in ("unet", "text_encoder", "text_encoder_2"):
            for layer, shape in layers_of(shapes[component], self.layers):
                parts = dict(form(shape))
                if self.alpha is not None:
                    parts["alpha"] = ()
                for part, size in parts.items():
                    name = naming(component, layer, part)
                    made[name] = self._values(part, f"{self.name} {name}", size)
        return made

    def write(self, folder: Path, shapes: Shapes) -> Path:
        """Write the file."""
        path = folder / f"{self.name}.safetensors"
        metadata = {"format": "pt"}
        if self.metadata is not None:
            metadata["lora_adapter_metadata"] = json.dumps(self.metadata)
        save_file(self.tensors(shapes), path, metadata)
        return path

    def _values(self, part: str, seed: str, shape: Shape) -> NDArray[np.float32]:
        if part == "alpha":
            return np.array(self.alpha, np.float32)
        values = synthetic.uniform(seed, shape)
        if part in ("magnitude", "dora_scale"):
            return np.float32(1.2) + np.float32(0.3) * values
        fan_in = math.prod(shape[1:]) if len(shape) > 1 else 100
        strength = 2.0 if part.startswith("hada") else 1.0
        return values * np.float32(strength / math.sqrt(fan_in))


def shapes_of(model: Path) -> Shapes:
    """The shapes of the tensors of a model's folder that LoRAs can change."""
    return {
        part: {param.name: param.stored for param in declared(tree)}
        for part, tree in declarations(load_config(model)).items()
    }


def layers_of(shapes: Mapping[str, Shape], pattern: str) -> Iterator[tuple[str, Shape]]:
    """The layers of a component that a pattern matches, with their weight's shape."""
    for name, shape in shapes.items():
        layer, _, leaf = name.rpartition(".")
        if leaf == "weight" and re.fullmatch(pattern, layer):
            yield layer, shape


def _lora(shape: Shape) -> dict[str, Shape]:
    rest = (1,) * len(shape[2:])
    return {"down": (RANK, *shape[1:]), "up": (shape[0], RANK, *rest)}


def _tucker(shape: Shape) -> dict[str, Shape]:
    if math.prod(shape[2:]) == 1:
        return _lora(shape)
    return {
        "down": (RANK, shape[1], 1, 1),
        "mid": (RANK, RANK, *shape[2:]),
        "up": (shape[0], RANK, 1, 1),
    }


def _peft_dora(shape: Shape) -> dict[str, Shape]:
    magnitude = (shape[0],) if len(shape) == 2 else (1, shape[0], 1, 1)
    return _lora(shape) | {"magnitude": magnitude}


def _dora(shape: Shape) -> dict[str, Shape]:
    return _lora(shape) | {"dora_scale": (shape[0], *(1 for _ in shape[1:]))}


def _input_dora(shape: Shape) -> dict[str, Shape]:
    return _lora(shape) | {"dora_scale": (1, shape[1], *(1 for _ in shape[2:]))}


def _loha(shape: Shape) -> dict[str, Shape]:
    rest = math.prod(shape[1:])
    half = {"a": (shape[0], RANK), "b": (RANK, rest)}
    return {f"hada_w{i}_{side}": size for i in (1, 2) for side, size in half.items()}


def _loha_tucker(shape: Shape) -> dict[str, Shape]:
    if math.prod(shape[2:]) == 1:
        return _loha(shape)
    half = {"a": (RANK, shape[0]), "b": (RANK, shape[1])}
    made = {f"hada_w{i}_{side}": size for i in (1, 2) for side, size in half.items()}
    return made | {f"hada_t{i}": (RANK, RANK, *shape[2:]) for i in (1, 2)}


FACTOR, FACTOR_OF_BOTH = 2, 8
"""LoKr's first matrix has this many rows and columns, where it is stored whole and as a product."""


def _lokr(shape: Shape) -> dict[str, Shape]:
    outputs, inputs = shape[0] // FACTOR, shape[1] // FACTOR
    return {
        "lokr_w1": (FACTOR, FACTOR),
        "lokr_w2_a": (outputs, 2),
        "lokr_w2_b": (2, inputs * math.prod(shape[2:])),
    }


def _lokr_whole(shape: Shape) -> dict[str, Shape]:
    size = (shape[0] // FACTOR, shape[1] // FACTOR, *shape[2:])
    return {"lokr_w1": (FACTOR, FACTOR), "lokr_w2": size}


def _lokr_tucker(shape: Shape) -> dict[str, Shape]:
    if math.prod(shape[2:]) == 1:
        return _lokr(shape)
    return {
        "lokr_w1": (FACTOR, FACTOR),
        "lokr_w2_a": (2, shape[0] // FACTOR),
        "lokr_w2_b": (2, shape[1] // FACTOR),
        "lokr_t2": (2, 2, *shape[2:]),
    }


def _lokr_factored(shape: Shape) -> dict[str, Shape]:
    """With a larger factor the first matrix is a product too. The smaller one is the first."""
    outputs, inputs = (sorted((FACTOR_OF_BOTH, n // FACTOR_OF_BOTH)) for n in shape[:2])
    return {
        "lokr_w1_a": (outputs[0], 1),
        "lokr_w1_b": (1, inputs[0]),
        "lokr_w2_a": (outputs[1], 1),
        "lokr_w2_b": (1, inputs[1] * math.prod(shape[2:])),
    }


def _full(shape: Shape) -> dict[str, Shape]:
    return {"diff": shape}


def _full_biased(shape: Shape) -> dict[str, Shape]:
    return {"diff": shape, "diff_b": (shape[0],)}


def _norm(shape: Shape) -> dict[str, Shape]:
    return {"w_norm": shape, "b_norm": shape}


FORMS: dict[str, Callable[[Shape], dict[str, Shape]]] = {
    "lora": _lora,
    "tucker": _tucker,
    "peft-dora": _peft_dora,
    "dora": _dora,
    "input-dora": _input_dora,
    "loha": _loha,
    "loha-tucker": _loha_tucker,
    "lokr": _lokr,
    "lokr-whole": _lokr_whole,
    "lokr-tucker": _lokr_tucker,
    "lokr-factored": _lokr_factored,
    "full": _full,
    "full-biased": _full_biased,
    "norm": _norm,
}
"""For the shape of a weight the shapes of a change's parts."""


def _peft(component: str, layer: str, part: str) -> str:
    ending = {
        "down": "lora_A.weight",
        "up": "lora_B.weight",
        "magnitude": "lora_magnitude_vector",
        "alpha": "alpha",
    }[part]
    return f"{component}.{layer}.{ending}"


def _old_diffusers(component: str, layer: str, part: str) -> str:
    """As diffusers 0.18 wrote them."""
    if ".mlp." in layer:
        return f"{component}.{layer}.lora_linear_layer.{part}.weight"
    before, _, last = layer.removesuffix(".0").rpartition(".")
    for new, old in (("q_proj", "to_q"), ("k_proj", "to_k"), ("v_proj", "to_v")):
        last = last.replace(new, old)
    last = last.replace("out_proj", "to_out")
    middle = "processor." if component == "unet" else ""
    return f"{component}.{before}.{middle}{last}_lora.{part}.weight"


_KOHYA_PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}
_KOHYA_PARTS = {"down": "lora_down.weight", "up": "lora_up.weight", "mid": "lora_mid.weight"}


def _kohya(component: str, layer: str, part: str) -> str:
    prefix = _KOHYA_PREFIXES[component]
    if component != "unet" and not layer.startswith("text_"):
        layer = f"text_model.{layer}"
    return f"{prefix}_{layer.replace('.', '_')}.{_KOHYA_PARTS.get(part, part)}"


def _kohya_original(component: str, layer: str, part: str) -> str:
    """kohya's own names: the UNet's blocks are numbered as in Stability AI's code."""
    return _kohya(component, original(layer) if component == "unet" else layer, part)


_ORIGINAL_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_ORIGINAL = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def original(layer: str) -> str:
    """The name in Stability AI's code of a layer of SDXL's UNet: three levels of two layers."""
    if layer in _ORIGINAL:
        return _ORIGINAL[layer]
    block, *rest = layer.split(".")
    if block == "mid_block":
        kind, index, *inner = rest
        number = 1 if kind == "attentions" else 2 * int(index)
        return ".".join(["middle_block", str(number), *_original_inner(kind, inner)])
    level, kind, index, *inner = rest
    if block == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{3 * int(level) + 3}.0.op"
        number = 3 * int(level) + int(index) + 1
        place = "0" if kind == "resnets" else "1"
        return ".".join(["input_blocks", str(number), place, *_original_inner(kind, inner)])
    if kind == "upsamplers":
        return f"output_blocks.{3 * int(level) + 2}.2.conv"
    number = 3 * int(level) + int(index)
    place = "0" if kind == "resnets" else "1"
    return ".".join(["output_blocks", str(number), place, *_original_inner(kind, inner)])


def _original_inner(kind: str, inner: list[str]) -> list[str]:
    return [_ORIGINAL_RESNET[inner[0]], *inner[1:]] if kind == "resnets" else inner


NAMINGS: dict[str, Callable[[str, str, str], str]] = {
    "peft": _peft,
    "old-diffusers": _old_diffusers,
    "kohya": _kohya,
    "kohya-original": _kohya_original,
}
"""Names a part of a layer's change."""


def _settings(alpha: float) -> dict[str, Any]:
    """The settings that diffusers writes into a file: PEFT's, for each component."""
    unet = ["to_q", "to_k", "to_v", "to_out.0"]
    text = ["q_proj", "k_proj", "v_proj", "out_proj"]
    layers = {"unet": unet, "text_encoder": text, "text_encoder_2": text}
    return {
        f"{component}.{key}": value
        for component, changed in layers.items()
        for key, value in {"r": RANK, "lora_alpha": alpha, "target_modules": changed}.items()
    }


def _lycoris(name: str, form: str, layers: str = CONVOLUTIONS, **more: Any) -> LoraFile:
    return LoraFile(name, form=form, layers=layers, reference="lycoris", **more)


FILES = {
    file.name: file
    for file in (
        LoraFile("peft", "peft", layers=ATTENTION),
        LoraFile("peft-alpha", "peft", layers=ATTENTION, metadata=_settings(RANK / 2)),
        LoraFile("peft-all", "peft", layers=ALL),
        LoraFile("peft-dora", "peft", "peft-dora", layers=UNET_ATTENTION),
        LoraFile("old-diffusers", "old-diffusers", layers=ATTENTION),
        LoraFile("kohya", layers=LINEARS, alpha=2.0),
        LoraFile("kohya-locon", layers=ALL_BUT_ADDED, alpha=1.0),
        LoraFile("kohya-original", "kohya-original", layers=LINEARS, alpha=3.0),
        LoraFile("kohya-original-locon", "kohya-original", layers=ALL, alpha=1.0),
        _lycoris("locon-tucker", "tucker", alpha=2.0),
        _lycoris("lycoris-dora", "dora", alpha=2.0),
        _lycoris("lycoris-input-dora", "input-dora", alpha=2.0),
        _lycoris("loha", "loha", alpha=2.0),
        _lycoris("loha-tucker", "loha-tucker", alpha=2.0),
        _lycoris("lokr", "lokr", alpha=1.0),
        _lycoris("lokr-whole", "lokr-whole"),
        _lycoris("lokr-tucker", "lokr-tucker", alpha=1.0),
        _lycoris("lokr-factored", "lokr-factored", alpha=1.0),
        _lycoris("full", "full", layers=r".*\battn1\.to_q"),
        _lycoris("full-biased", "full-biased", layers=r".*\b(resnets\.0\.conv1|fc1)"),
        _lycoris("norm", "norm", layers=NORMS),
    )
}
"""The files, by name."""
