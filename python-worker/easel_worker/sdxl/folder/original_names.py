"""Tensor names of the original layout, in which most fine-tunes of SDXL are published.

It is the layout of Stability AI's own code (sgm, and ldm before it): one file with all components.
UNet and VAE number their blocks differently than diffusers, and the second text encoder is
OpenCLIP's, which joins the projections of query, key and value and transposes the text projection.
https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/loaders/single_file_utils.py#L276
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile

from easel_worker.sdxl.folder.checkpoint import StoredTensor
from easel_worker.sdxl.model.params import Param

PREFIXES = {
    "text_encoder": "conditioner.embedders.0.transformer.",
    "text_encoder_2": "conditioner.embedders.1.model.",
    "unet": "model.diffusion_model.",
    "vae": "first_stage_model.",
}
"""What the names of a component's tensors begin with."""

HARMLESS = re.compile(
    r"model_ema\..*|first_stage_model\.(loss|model_ema)\..*|denoiser\..*|global_step|lvlb_weights"
    r"|logvar|(sqrt_|log_)?(one_minus_)?(alphas_cumprod|recip_alphas_cumprod).*|sqrt_recipm1_.*"
    r"|betas|posterior_.*|conditioner\.embedders\.\d\.(model\.|transformer\.)?(.*position_ids"
    r"|logit_scale)|conditioner\.embedders\.0\.(transformer\.)?text_projection(\.weight)?"
)
"""Tensors that text-to-image does not use: training's averages and constants, and CLIP's."""

MARKERS = re.compile(r"v_pred|ztsnr|edm_(mean|std)|edm_vpred\.sigma_(min|max)")
"""Tensors that say how the model predicts; see `single_file`."""


@dataclass(frozen=True)
class _Place:
    """Where a parameter is in the original layout.

    Attributes:
        key: the tensor's name.
        third: the parameter is this third of the tensor's rows, or None for all of it.
        transposed: see `StoredTensor`.
    """

    key: str
    third: int | None = None
    transposed: bool = False


_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}

_UNET = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}

_NOTHING: Mapping[str, str] = {}

_VAE = (
    (r"(en|de)coder\.mid_block\.attentions\.0\.group_norm\b", r"\1coder.mid.attn_1.norm"),
    (r"(en|de)coder\.mid_block\.attentions\.0\.to_out\.0\b", r"\1coder.mid.attn_1.proj_out"),
    (r"(en|de)coder\.mid_block\.attentions\.0\.to_([qkv])\b", r"\1coder.mid.attn_1.\2"),
    (r"(en|de)coder\.mid_block\.resnets\.0\b", r"\1coder.mid.block_1"),
    (r"(en|de)coder\.mid_block\.resnets\.1\b", r"\1coder.mid.block_2"),
    (r"encoder\.down_blocks\.(\d+)\.resnets\b", r"encoder.down.\1.block"),
    (r"encoder\.down_blocks\.(\d+)\.downsamplers\.0\b", r"encoder.down.\1.downsample"),
    (r"decoder\.up_blocks\.(\d+)\.resnets\b", r"decoder.up.\1.block"),
    (r"decoder\.up_blocks\.(\d+)\.upsamplers\.0\b", r"decoder.up.\1.upsample"),
    (r"\bconv_norm_out\b", "norm_out"),
    (r"\bconv_shortcut\b", "nin_shortcut"),
)

_OPENCLIP = (
    (r"text_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"text_model\.embeddings\.token_embedding\b", "token_embedding"),
    (r"text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"text_model\.final_layer_norm\b", "ln_final"),
    (r"\blayer_norm([12])\b", r"ln_\1"),
    (r"\bself_attn\.out_proj\b", "attn.out_proj"),
    (r"\bmlp\.fc1\b", "mlp.c_fc"),
    (r"\bmlp\.fc2\b", "mlp.c_proj"),
    (r"\btext_projection\.weight", "text_projection"),
)

_JOINED = re.compile(r"(.*)\.self_attn\.([qkv])_proj\.(weight|bias)")


def from_original(
    component: str, prefix: str, params: Sequence[Param], tensors: Iterable[StoredTensor]
) -> list[StoredTensor]:
    """The tensors of one component in the original layout, with diffusers' names and shapes.

    Args:
        component: of `PREFIXES`, or "controlnet".
        prefix: what the names of its tensors begin with.
        params: its declarations.
        tensors: of a whole file.

    Returns:
        The component's tensors in their order, without harmless ones. A tensor that holds no
        parameter keeps its name.
    """
    wanted: dict[str, list[tuple[Param, _Place]]] = {}
    places = _PLACES[component]([param.name for param in params])
    for param in params:
        place = places[param.name]
        wanted.setdefault(f"{prefix}{place.key}", []).append((param, place))
    return [
        placed
        for tensor in tensors
        if tensor.key.startswith(prefix) and not HARMLESS.fullmatch(tensor.key)
        for placed in ([_take(tensor, *each) for each in wanted.get(tensor.key, ())] or [tensor])
    ]


def original_keys(component: str, prefix: str, params: Sequence[Param]) -> dict[str, str]:
    """For each parameter the name of its tensor in the original layout."""
    places = _PLACES[component]([param.name for param in params])
    return {name: f"{prefix}{place.key}" for name, place in places.items()}


def _take(tensor: StoredTensor, param: Param, place: _Place) -> StoredTensor:
    shape, rows = tensor.shape, None
    if place.third is not None:
        height = shape[0] // 3
        rows = (place.third * height, (place.third + 1) * height)
        shape = (height, *shape[1:])
    if place.transposed:
        shape = shape[::-1]
    # The VAE's attention is stored as linear layers or as convolutions of 1×1.
    if shape == (*param.stored, 1, 1):
        shape = param.stored
    return replace(tensor, name=param.name, shape=shape, rows=rows, transposed=place.transposed)


def _controlnet_places(names: Sequence[str]) -> dict[str, _Place]:
    """A ControlNet is a UNet's way down, and convolutions that are numbered with their activations.

    https://github.com/lllyasviel/ControlNet/blob/ed85cd1e25a5ed592f7d8178495b4483de0331bf/cldm/cldm.py#L113
    """
    picture = "controlnet_cond_embedding"
    blocks = {name.split(".")[2] for name in names if name.startswith(f"{picture}.blocks.")}
    more = {
        f"{picture}.conv_in": "input_hint_block.0",
        **{f"{picture}.blocks.{i}": f"input_hint_block.{2 * int(i) + 2}" for i in blocks},
        f"{picture}.conv_out": f"input_hint_block.{2 * len(blocks) + 2}",
        "controlnet_mid_block": "middle_block_out.0",
    }
    skips = {name.split(".")[1] for name in names if name.startswith("controlnet_down_blocks.")}
    more |= {f"controlnet_down_blocks.{i}": f"zero_convs.{i}.0" for i in skips}
    return _unet_places(names, more)


def _unet_places(names: Sequence[str], more: Mapping[str, str] = _NOTHING) -> dict[str, _Place]:
    prefixes = {**_UNET, **_unet_blocks(names), **more}

    def place(name: str) -> _Place:
        if (found := _prefix(name, prefixes)) is None:
            return _Place(name)
        rest = name.removeprefix(found)
        if ".resnets." in found:
            layer, _, leaf = rest[1:].partition(".")
            rest = f".{_RESNET[layer]}.{leaf}"
        return _Place(prefixes[found] + rest)

    return {name: place(name) for name in names}


def _prefix(name: str, prefixes: Iterable[str]) -> str | None:
    return next((prefix for prefix in prefixes if name.startswith(f"{prefix}.")), None)


def _unet_blocks(names: Sequence[str]) -> dict[str, str]:
    """The original prefix of each residual block, transformer and resampling of the UNet.

    The original layout numbers the blocks through all levels. Block 0 of the inputs is conv_in.
    """
    modules = {".".join(parts[:4]) for name in names if len(parts := name.split(".")) > 4}
    found: dict[str, str] = {}
    number = count(1)
    for level in _indices(modules, "down_blocks.{}.resnets.0"):
        block = f"down_blocks.{level}"
        for index in _indices(modules, f"{block}.resnets.{{}}"):
            here = f"input_blocks.{next(number)}"
            found[f"{block}.resnets.{index}"] = f"{here}.0"
            found[f"{block}.attentions.{index}"] = f"{here}.1"
        if f"{block}.downsamplers.0" in modules:
            found[f"{block}.downsamplers.0.conv"] = f"input_blocks.{next(number)}.0.op"
    number = count()
    mid = {".".join(name.split(".")[:3]) for name in names if name.startswith("mid_block.")}
    for index in _indices(mid, "mid_block.resnets.{}"):
        found[f"mid_block.resnets.{index}"] = f"middle_block.{next(number)}"
        if f"mid_block.attentions.{index}" in mid:
            found[f"mid_block.attentions.{index}"] = f"middle_block.{next(number)}"
    number = count()
    for level in _indices(modules, "up_blocks.{}.resnets.0"):
        block = f"up_blocks.{level}"
        here, after = "", 1
        for index in _indices(modules, f"{block}.resnets.{{}}"):
            here = f"output_blocks.{next(number)}"
            after = 2 if f"{block}.attentions.{index}" in modules else 1
            found[f"{block}.resnets.{index}"] = f"{here}.0"
            found[f"{block}.attentions.{index}"] = f"{here}.1"
        found[f"{block}.upsamplers.0.conv"] = f"{here}.{after}.conv"
    return found


def _indices(modules: set[str], pattern: str) -> list[int]:
    return list(takewhile(lambda index: pattern.format(index) in modules, count()))


def _vae_places(names: Sequence[str]) -> dict[str, _Place]:
    """The original layout numbers the decoder's levels from full resolution down."""
    levels = [int(n.split(".")[2]) for n in names if n.startswith("decoder.up_blocks.")]
    bottom = max(levels, default=0)

    def place(name: str) -> _Place:
        name = re.sub(r"(decoder\.up_blocks\.)(\d+)", lambda m: f"{m[1]}{bottom - int(m[2])}", name)
        return _Place(_substituted(name, _VAE))

    return {name: place(name) for name in names}


def _openclip_places(names: Sequence[str]) -> dict[str, _Place]:
    def place(name: str) -> _Place:
        if joined := _JOINED.fullmatch(name):
            layer = _substituted(joined[1] + ".", _OPENCLIP)
            return _Place(f"{layer}attn.in_proj_{joined[3]}", third="qkv".index(joined[2]))
        return _Place(_substituted(name, _OPENCLIP), transposed=name == "text_projection.weight")

    return {name: place(name) for name in names}


def _substituted(name: str, rules: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _same_places(names: Sequence[str]) -> dict[str, _Place]:
    return {name: _Place(name) for name in names}


_PLACES: dict[str, Callable[[Sequence[str]], dict[str, _Place]]] = {
    "text_encoder": _same_places,
    "text_encoder_2": _openclip_places,
    "unet": _unet_places,
    "vae": _vae_places,
    "controlnet": _controlnet_places,
}
