"""What a single-file checkpoint is, from its header: which model, which parts, which predictions.

A single file has no configs. Its tensors' names and shapes tell the architecture, and some
fine-tunes add marker tensors that tell what the UNet predicts. Everything else is as in SDXL base.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from easel_worker.pickles import PICKLES
from easel_worker.sdxl.folder.checkpoint import WeightsError
from easel_worker.sdxl.folder.header import Header, HeaderError, read_header
from easel_worker.sdxl.folder.original_names import HARMLESS, MARKERS, PREFIXES
from easel_worker.sdxl.folder.unet_shape import SDXL_BASE, block_config

SUFFIX = ".safetensors"

_CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"
_OPENCLIP = "conditioner.embedders.1.model."
_REFINERS_OPENCLIP = "conditioner.embedders.0.model."
"""Where SDXL's refiner has the second text encoder, which is its only one."""

_REFINERS_PREFIXES = {**PREFIXES, "text_encoder_2": _REFINERS_OPENCLIP}

REFINERS_INDEX: Mapping[str, Any] = {
    "_class_name": "StableDiffusionXLImg2ImgPipeline",
    "force_zeros_for_empty_prompt": False,
    "requires_aesthetics_score": True,
    "text_encoder": [None, None],
    "tokenizer": [None, None],
}
REFINERS_UNET: Mapping[str, Any] = {
    "attention_head_dim": [6, 12, 24, 24],
    "block_out_channels": [384, 768, 1536, 1536],
    "cross_attention_dim": 1280,
    "projection_class_embeddings_input_dim": 2560,
}
"""What differs from SDXL base in the refiner's model_index.json and, besides blocks, in its UNet.

https://github.com/Stability-AI/generative-models/blob/45c443b316737a4ab6e40413d7794a7f5657c19f/configs/inference/sd_xl_refiner.yaml
"""

_LATENTS, _INPAINTING = 4, 9
"""The input channels of SDXL base's UNet and of an inpainting one: latents, mask, latents."""

_OTHER_MODELS = (
    ("joint_blocks.", "a Stable Diffusion 3 model"),
    ("double_blocks.", "a Flux model"),
    ("cond_stage_model.transformer.", "a Stable Diffusion 1 model"),
    ("cond_stage_model.model.", "a Stable Diffusion 2 model"),
    ("lora_", "a LoRA, not a whole model"),
    (".lora_", "a LoRA, not a whole model"),
    ("control_model.", "a ControlNet"),
    ("controlnet_cond_embedding.", "a ControlNet"),
    ("input_hint_block.", "a ControlNet"),
)
"""Parts of tensor names, and what a file with them is. The first match counts."""

_PREDICTION_KEYS = ("modelspec.prediction_type", "modelspec.predict_key")
"""Metadata that says "v" for v-prediction: as sd-scripts and as ComfyUI write it."""

_FP8_SCALES = ("scaled_fp8", ".scale_weight", ".weight_scale")

COSXL_SCHEDULER = {
    "_class_name": "EDMEulerScheduler",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "sigma_data": 1.0,
    "sigma_max": 120.0,
    "sigma_min": 0.002,
    "sigma_schedule": "exponential",
}
"""The scheduler of CosXL, whose markers give sigma_min and sigma_max.

https://huggingface.co/spaces/multimodalart/cosxl
"""

PLAYGROUND_SCHEDULER = {
    "_class_name": "EDMDPMSolverMultistepScheduler",
    "algorithm_type": "dpmsolver++",
    "euler_at_final": False,
    "final_sigmas_type": "zero",
    "lower_order_final": True,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "rho": 7.0,
    "sigma_data": 0.5,
    "sigma_max": 80.0,
    "sigma_min": 0.002,
    "solver_order": 2,
    "solver_type": "midpoint",
}
PLAYGROUND_SCALING_FACTOR = 0.5
"""The scheduler of Playground v2.5 and the scale of its latents.

https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/loaders/single_file_utils.py#L1920
"""


@dataclass(frozen=True)
class Contents:
    """What a single file holds.

    Attributes:
        has_vae: whether its VAE is baked in.
        unet: changes to SDXL base's UNet config, for a UNet with other blocks.
        scheduler: changes to SDXL base's scheduler config, or all of it if it names a class.
        vae: changes to the VAE's config.
        index: all of model_index.json, if it is not SDXL base's.
        prefixes: what the names of each component's tensors begin with.
        title: what its metadata calls it, or None.
    """

    has_vae: bool
    unet: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    vae: Mapping[str, Any]
    index: Mapping[str, Any]
    prefixes: Mapping[str, str]
    title: str | None = None


def inspect(file: Path) -> Contents:
    """Read a single file's header and its marker tensors.

    Raises:
        WeightsError: it is not SDXL, or a kind of SDXL that is not supported; the message says what
            it is.
    """
    header = open_header(file)
    check_header(str(file), header)
    unknown = [name for name in header.tensors if not _is_known(name)]
    if unknown:
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        raise WeightsError(f"{file}: {len(unknown)} unknown tensors: {shown}")
    scheduler, vae = _predictions(file, header)
    unet = {**unet_changes(header.tensors), **input_changes(header.tensors[_CONV_IN].shape)}
    refiner = _is_refiner(header)
    return Contents(
        header.has(PREFIXES["vae"]),
        {**REFINERS_UNET, **unet} if refiner else unet,
        scheduler,
        vae,
        REFINERS_INDEX if refiner else {},
        _REFINERS_PREFIXES if refiner else PREFIXES,
        title_of(header),
    )


def _is_refiner(header: Header) -> bool:
    return header.has(_REFINERS_OPENCLIP) and not header.has(_OPENCLIP)


def title_of(header: Header) -> str | None:
    """What the metadata of a file calls it.

    https://github.com/Stability-AI/ModelSpec
    """
    title = header.metadata.get("modelspec.title")
    return title if isinstance(title, str) and title else None


def unet_changes(names: Iterable[str]) -> Mapping[str, Any]:
    """What differs from SDXL base's UNet config in a UNet of the original layout."""
    prefix = PREFIXES["unet"]
    blocks = block_config(name.removeprefix(prefix) for name in names if name.startswith(prefix))
    return {} if blocks == SDXL_BASE else blocks


def input_changes(conv_in: tuple[int, ...]) -> Mapping[str, Any]:
    """What a config without the UNet's inputs lacks, from the shape of the UNet's first layer."""
    return {"in_channels": conv_in[1]} if conv_in[1:2] == (_INPAINTING,) else {}


def open_header(file: Path) -> Header:
    """Read the header of a weights file.

    Raises:
        WeightsError: the file cannot be read; the message says what to do.
    """
    if PICKLES.fullmatch(file.name):
        raise WeightsError(
            f"{file} can run code when it is loaded; convert it with diffusers: "
            "StableDiffusionXLPipeline.from_single_file(FILE).save_pretrained(FOLDER)"
        )
    try:
        return read_header(file)
    except (HeaderError, OSError) as error:
        raise WeightsError(f"{file} cannot be read as safetensors: {error}") from error


def check_header(file: str, header: Header) -> None:
    """Refuse a file that is not a whole SDXL model.

    Args:
        file: its name, for messages.
        header: of the file.

    Raises:
        WeightsError: see above; the message says what the file is.
    """
    names = header.tensors
    scaled = next((n for n in names if n.endswith(_FP8_SCALES)), None)
    if scaled is not None:
        raise WeightsError(
            f"{file}: {scaled}: its fp8 weights have scales, which are not supported; take the "
            "model in fp16 or bf16, or in fp8 without scales"
        )
    if _CONV_IN in names and (header.has(_OPENCLIP) or _is_refiner(header)):
        _check_conv_in(file, names[_CONV_IN].shape)
        return
    raise WeightsError(f"{file}: {_what_it_is(header)}")


def _check_conv_in(file: str, shape: tuple[int, ...]) -> None:
    if shape[1:2] not in ((_LATENTS,), (_INPAINTING,)):
        pix2pix = shape[1:2] == (2 * _LATENTS,)
        what = "an instruct-pix2pix model" if pix2pix else "not a text-to-image model"
        raise WeightsError(
            f"{file}: {_CONV_IN} has shape {list(shape)}: this is {what}, which is not supported; "
            f"take a text-to-image model, whose UNet has {_LATENTS} input channels, or an "
            f"inpainting model, whose UNet has {_INPAINTING}"
        )


def _what_it_is(header: Header) -> str:
    for part, what in _OTHER_MODELS:
        if any(part in name for name in header.tensors):
            return f"this is {what}; only SDXL models can be served"
    if header.has("down_blocks.") or header.has("input_blocks.") or _CONV_IN in header.tensors:
        return (
            "this is a UNet without text encoders; serve it with UNET=FILE over a whole model in "
            "MODEL"
        )
    if header.has("decoder.") or header.has("first_stage_model."):
        return "this is a VAE; serve it with VAE=FILE over a whole model in MODEL"
    return f"this is not an SDXL model in the original layout: it has no {_CONV_IN}"


def _is_known(name: str) -> bool:
    return (
        name.startswith((*PREFIXES.values(), _REFINERS_OPENCLIP))
        or HARMLESS.fullmatch(name) is not None
        or MARKERS.fullmatch(name) is not None
    )


def _predictions(file: Path, header: Header) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Changes to the configs of scheduler and VAE.

    The markers are those that ComfyUI reads.
    https://github.com/comfyanonymous/ComfyUI/blob/v0.3.75/comfy/supported_models.py#L180
    """
    names = header.tensors
    if "edm_mean" in names and "edm_std" in names:
        statistics = _values(file, ["edm_mean", "edm_std"])
        return PLAYGROUND_SCHEDULER, {
            "scaling_factor": PLAYGROUND_SCALING_FACTOR,
            "latents_mean": statistics["edm_mean"],
            "latents_std": statistics["edm_std"],
        }
    if "edm_vpred.sigma_max" in names:
        given = _values(file, [name for name in names if name.startswith("edm_vpred.")])
        sigmas = {key.removeprefix("edm_vpred."): value[0] for key, value in given.items()}
        return COSXL_SCHEDULER | sigmas, {}
    scheduler: dict[str, Any] = {}
    if "v_pred" in names or any(header.metadata.get(key) == "v" for key in _PREDICTION_KEYS):
        scheduler["prediction_type"] = "v_prediction"
    if "ztsnr" in names:
        scheduler |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return scheduler, {}


def _values(file: Path, names: Sequence[str]) -> dict[str, list[float]]:
    """The numbers in small tensors."""
    try:
        with safe_open(file, framework="numpy") as handle:
            return {
                name: [float(value) for value in handle.get_tensor(name).reshape(-1)]
                for name in names
            }
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{file} cannot be read as safetensors: {error}") from error
