"""Writes tensors of a diffusers model in the original layout, independently of the reader.

Block numbers are counted here while walking the model, and the second text encoder's projections
are joined, as Stability AI's code saves them.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_RESNET_LEAVES = (
    (".norm1.", ".in_layers.0."),
    (".conv1.", ".in_layers.2."),
    (".time_emb_proj.", ".emb_layers.1."),
    (".norm2.", ".out_layers.0."),
    (".conv2.", ".out_layers.3."),
    (".conv_shortcut.", ".skip_connection."),
)
_UNET_ENDS = (
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("add_embedding.linear_1.", "label_emb.0.0."),
    ("add_embedding.linear_2.", "label_emb.0.2."),
    ("conv_in.", "input_blocks.0.0."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
)


def single_file(parts: Mapping[str, Arrays], *, attention_as_conv: bool = True) -> dict[str, Any]:
    """All tensors of a single file.

    Args:
        parts: the tensors of each component by diffusers' names. The VAE may be absent.
        attention_as_conv: store the VAE's attention as convolutions of 1×1, as older code does.
    """
    written = {
        name: np.ascontiguousarray(value)
        for part, tensors in parts.items()
        for name, value in component(part, tensors, attention_as_conv=attention_as_conv).items()
    }
    if "text_encoder" in parts:
        return written
    # As in SDXL's refiner.
    one, zero = "conditioner.embedders.1.", "conditioner.embedders.0."
    return {name.replace(one, zero): value for name, value in written.items()}


def component(
    part: str, tensors: Arrays, *, attention_as_conv: bool = True
) -> dict[str, NDArray[Any]]:
    """The tensors of one component in a single file; see `single_file`."""
    match part:
        case "text_encoder":
            prefix = "conditioner.embedders.0.transformer."
            names = (n if n.startswith("text_model.") else f"text_model.{n}" for n in tensors)
            written = dict(zip(names, tensors.values(), strict=True))
        case "text_encoder_2":
            prefix, written = "conditioner.embedders.1.model.", openclip(tensors)
        case "unet":
            prefix, written = "model.diffusion_model.", unet(tensors)
        case _:
            prefix = "first_stage_model."
            written = vae(tensors, attention_as_conv=attention_as_conv)
    return {f"{prefix}{name}": value for name, value in written.items()}


def unet(tensors: Arrays) -> dict[str, NDArray[Any]]:
    """A UNet's tensors in the original layout, without a prefix."""
    blocks = _numbered(tensors)
    written = {}
    for name, value in tensors.items():
        new = name
        for old, replacement in _UNET_ENDS:
            if name.startswith(old):
                new = replacement + name.removeprefix(old)
        for module, place in blocks.items():
            if name.startswith(f"{module}."):
                new = place + name.removeprefix(module)
                if ".resnets." in module:
                    for old, replacement in _RESNET_LEAVES:
                        new = new.replace(old, replacement)
        written[new] = value
    return written


def _numbered(tensors: Arrays) -> dict[str, str]:
    """The place of every residual block, transformer and resampling."""
    places: dict[str, str] = {}
    number = 0
    for level in range(_count(tensors, r"down_blocks\.(\d+)\.")):
        for index in range(_count(tensors, rf"down_blocks\.{level}\.resnets\.(\d+)\.")):
            number += 1
            places[f"down_blocks.{level}.resnets.{index}"] = f"input_blocks.{number}.0"
            places[f"down_blocks.{level}.attentions.{index}"] = f"input_blocks.{number}.1"
        if _count(tensors, rf"down_blocks\.{level}\.downsamplers\.(\d+)\."):
            number += 1
            places[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{number}.0.op"
    modules = ["mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"]
    present = [m for m in modules if any(name.startswith(f"{m}.") for name in tensors)]
    places |= {module: f"middle_block.{i}" for i, module in enumerate(present)}
    number = -1
    for level in range(_count(tensors, r"up_blocks\.(\d+)\.")):
        attends = False
        for index in range(_count(tensors, rf"up_blocks\.{level}\.resnets\.(\d+)\.")):
            number += 1
            module = f"up_blocks.{level}.attentions.{index}"
            attends = any(name.startswith(f"{module}.") for name in tensors)
            places[f"up_blocks.{level}.resnets.{index}"] = f"output_blocks.{number}.0"
            places[module] = f"output_blocks.{number}.1"
        place = f"output_blocks.{number}.{2 if attends else 1}.conv"
        places[f"up_blocks.{level}.upsamplers.0.conv"] = place
    return places


def _count(tensors: Arrays, pattern: str) -> int:
    found = {int(m[1]) for name in tensors if (m := re.match(pattern, name))}
    return max(found, default=-1) + 1


def controlnet(tensors: Arrays, *, prefix: str = "control_model.") -> dict[str, NDArray[Any]]:
    """A ControlNet's tensors in the original layout."""
    down = {name: value for name, value in tensors.items() if not name.startswith("controlnet_")}
    written = unet(down)
    hints = sorted(
        (name for name in tensors if re.match(r"controlnet_cond_embedding\.blocks", name)),
        key=lambda name: int(name.split(".")[2]),
    )
    layers = [
        "conv_in",
        *dict.fromkeys(name.rpartition(".")[0].partition(".")[2] for name in hints),
    ]
    for number, layer in enumerate([*layers, "conv_out"]):
        for leaf in ("weight", "bias"):
            value = tensors[f"controlnet_cond_embedding.{layer}.{leaf}"]
            written[f"input_hint_block.{2 * number}.{leaf}"] = value
    for name, value in tensors.items():
        if name.startswith("controlnet_down_blocks."):
            _, number, leaf = name.split(".")
            written[f"zero_convs.{number}.0.{leaf}"] = value
        elif name.startswith("controlnet_mid_block."):
            written[name.replace("controlnet_mid_block.", "middle_block_out.0.")] = value
    return {f"{prefix}{name}": np.ascontiguousarray(value) for name, value in written.items()}


def vae(tensors: Arrays, *, attention_as_conv: bool) -> dict[str, NDArray[Any]]:
    """A VAE's tensors in the original layout, without a prefix."""
    top = _count(tensors, r"decoder\.up_blocks\.(\d+)\.") - 1
    written = {}
    for name, tensor in tensors.items():
        part, value = name.split("."), tensor
        if part[1:2] == ["down_blocks"]:
            level, kind, index, *leaf = part[2:]
            middle = ["downsample"] if kind == "downsamplers" else ["block", index]
            part = [part[0], "down", level, *middle, *leaf]
        elif part[1:2] == ["up_blocks"]:
            level, kind, index, *leaf = part[2:]
            middle = ["upsample"] if kind == "upsamplers" else ["block", index]
            part = [part[0], "up", str(top - int(level)), *middle, *leaf]
        elif part[1:3] == ["mid_block", "resnets"]:
            part = [part[0], "mid", f"block_{int(part[3]) + 1}", *part[4:]]
        elif part[1:3] == ["mid_block", "attentions"]:
            leaves = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}
            leaf = leaves.get(part[4], "norm")
            part = [part[0], "mid", "attn_1", leaf, part[-1]]
            if value.ndim == 2 and attention_as_conv:
                value = value[:, :, None, None]
        new = ".".join(part)
        new = new.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        written[new] = value
    return written


def openclip(tensors: Arrays) -> dict[str, NDArray[Any]]:
    """The second text encoder's tensors as OpenCLIP names them, without a prefix."""
    written: dict[str, NDArray[Any]] = {}
    joined: dict[str, dict[str, NDArray[Any]]] = {}
    ends = {
        "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm.weight": "ln_final.weight",
        "text_model.final_layer_norm.bias": "ln_final.bias",
    }
    for name, value in tensors.items():
        if name == "text_projection.weight":
            written["text_projection"] = value.T
        elif name in ends:
            written[ends[name]] = value
        else:
            number, rest = re.fullmatch(r"text_model\.encoder\.layers\.(\d+)\.(.*)", name).groups()  # type: ignore[union-attr]
            block = f"transformer.resblocks.{number}"
            if match := re.fullmatch(r"self_attn\.([qkv])_proj\.(weight|bias)", rest):
                joined.setdefault(f"{block}.attn.in_proj_{match[2]}", {})[match[1]] = value
                continue
            for old, new in (
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("self_attn.out_proj", "attn.out_proj"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ):
                rest = rest.replace(old, new)
            written[f"{block}.{rest}"] = value
    for name, thirds in joined.items():
        written[name] = np.concatenate([thirds["q"], thirds["k"], thirds["v"]])
    return written
