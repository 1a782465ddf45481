"""Makes image specs from GENERATE and checks them; makes HELLO from an engine's capabilities."""

import os
from dataclasses import fields, replace
from typing import Any

from msgspec import UNSET, UnsetType

from easel_worker import __version__
from easel_worker.control_check import check_controls
from easel_worker.embedding_check import check_embeddings, embeddings_of
from easel_worker.engine import (
    FEATURES,
    GUIDANCE_EMBEDDING,
    LIMITED,
    PICTURES_ONLY,
    Capabilities,
    ImageSpec,
    InvalidRequest,
    LoraUse,
    Parameters,
)
from easel_worker.pictures import pictures
from easel_worker.prompt_check import check_prompts
from easel_worker.protocol import VERSION, Generate, Hello


def hello(capabilities: Capabilities, worker: str, model_name: str | None = None) -> Hello:
    """The HELLO of a worker of this name. `model_name` replaces the model's own name."""
    if model_name is not None:
        model = replace(capabilities.model, id=model_name)
        capabilities = replace(capabilities, model=model)
    return Hello(
        protocol=VERSION,
        worker=worker,
        version=__version__,
        pid=os.getpid(),
        **_part(Capabilities, capabilities),
    )


def specs(request: Generate, capabilities: Capabilities) -> tuple[ImageSpec, ...]:
    """One spec for each seed of the request.

    Raises:
        InvalidRequest: see `check`.
    """
    parameters = _part(Parameters, request)
    parameters |= pictures(request)
    embedding = GUIDANCE_EMBEDDING in capabilities.features
    made = tuple(
        ImageSpec(seed=seed, guidance_embedding=embedding, **parameters) for seed in request.seeds
    )
    _at_most("the number of seeds", len(made), capabilities.limits.max_images)
    check(made[0], capabilities)
    loras = _effective(made[0], capabilities)
    embeddings = embeddings_of(made[0]) or UNSET
    return tuple(replace(spec, loras=loras, embeddings=embeddings) for spec in made)


def _part(kind: type[Parameters | Capabilities], whole: object) -> dict[str, Any]:
    """The fields of a message that belong to `kind`."""
    return {field.name: getattr(whole, field.name) for field in fields(kind)}


def check(spec: ImageSpec, capabilities: Capabilities) -> None:
    """Check a spec against the capabilities.

    Raises:
        InvalidRequest: a field does not fit; the text names it.
    """
    _check_size(spec, capabilities)
    if spec.scheduler not in capabilities.schedulers:
        known = ", ".join(capabilities.schedulers)
        raise InvalidRequest(f"scheduler {spec.scheduler!r} is not one of {known}")
    for name, limit in LIMITED.items():
        value = getattr(spec, name)
        if value is not UNSET:
            _at_most(name, value, getattr(capabilities.limits, limit))
    _check_features(spec, capabilities)
    _check_schedule_steps(spec)
    _check_latents(spec)
    if spec.guidance_start > spec.guidance_end:
        start, end = spec.guidance_start, spec.guidance_end
        raise InvalidRequest(f"guidance_start is {start}, which is after guidance_end, {end}")
    if spec.rows > capabilities.rows:
        raise InvalidRequest(
            "a guided image takes two rows and this worker has one: start it with --rows 2 or more"
        )
    if PICTURES_ONLY in capabilities.features and spec.begun is None:
        raise InvalidRequest(
            "this model changes pictures and makes none from text alone: send a picture with the "
            "role image"
        )
    _check_negative_sizes(spec)
    check_prompts(spec, capabilities)
    check_embeddings(spec, capabilities)
    _check_loras(spec, capabilities)
    check_controls(spec, capabilities)
    _check_refined(spec)


def _effective(spec: ImageSpec, capabilities: Capabilities) -> tuple[LoraUse, ...] | UnsetType:
    """The LoRAs sorted by name, with a weight of 0 for what a LoRA does not change.

    Requests that mean the same then have equal specs, which share steps and encoded prompts.
    """
    if spec.loras is UNSET:
        return UNSET
    known = {lora.name: lora.parts for lora in capabilities.loras}

    def effective(use: LoraUse) -> LoraUse:
        parts = known[use.name]
        if parts is UNSET:
            return use
        # A sum with 0.0, because -0.0 is another key.
        unet = use.unet_weight + 0.0 if "unet" in parts else 0.0
        text = use.text_weight + 0.0 if any(part.startswith("text") for part in parts) else 0.0
        return replace(use, unet_weight=unet, text_weight=text)

    return tuple(sorted(map(effective, spec.loras)))


def _check_loras(spec: ImageSpec, capabilities: Capabilities) -> None:
    """A LoRA is its file: one that was replaced since the request was accepted is another."""
    loras = () if spec.loras is UNSET else spec.loras
    _at_most("the number of loras", len(loras), capabilities.limits.max_loras)
    names = [lora.name for lora in loras]
    if len(set(names)) < len(names):
        raise InvalidRequest("loras names one LoRA twice")
    known = {lora.name: lora.digest for lora in capabilities.loras}
    for lora in loras:
        if known.get(lora.name) != lora.digest:
            now = f"its digest is {known[lora.name]}" if lora.name in known else "it is gone"
            raise InvalidRequest(
                f"the LoRA {lora.name} with digest {lora.digest} is not here: {now}"
            )


def _check_schedule_steps(spec: ImageSpec) -> None:
    if spec.skipped_steps < 0:
        raise InvalidRequest(
            f"schedule_steps is {spec.schedule_steps}, which is less than steps, {spec.steps}"
        )
    if spec.skipped_steps and spec.begun is None:
        raise InvalidRequest(
            "schedule_steps is more than steps, which needs a picture with the role image or "
            "latents"
        )


def _check_latents(spec: ImageSpec) -> None:
    if spec.latents is not None and spec.image is not None:
        raise InvalidRequest(
            "an image begins from a picture with the role image or latents, not both"
        )
    if (spec.latents is None) != (spec.latents_upscaler is UNSET):
        raise InvalidRequest("latents_upscaler and a picture with the role latents need each other")


def _check_refined(spec: ImageSpec) -> None:
    """What the refiner's steps cannot show as two pipelines of diffusers would."""
    if spec.refined_from is None:
        return
    combined = {
        "mask": spec.mask is not None,
        "embeddings": spec.embeddings is not UNSET,
        "cache_interval": spec.cache_interval > 1,
    }
    for name, given in combined.items():
        if given:
            raise InvalidRequest(
                f"{name} and denoising_end cannot be combined: leave one of them out"
            )


def _check_negative_sizes(spec: ImageSpec) -> None:
    """diffusers ignores one of them alone, and a crop without them."""
    sizes = spec.negative_original_size, spec.negative_target_size
    cropped = spec.negative_crops_coords_top_left != (0, 0)
    if UNSET in sizes and (sizes != (UNSET, UNSET) or cropped):
        raise InvalidRequest(
            "negative_original_size and negative_target_size must be given together, also with "
            "negative_crops_coords_top_left"
        )


def _check_size(spec: ImageSpec, capabilities: Capabilities) -> None:
    if spec.size in capabilities.coming:
        raise InvalidRequest(f"size {spec.size} is still being compiled")
    if spec.size not in capabilities.sizes:
        known = ", ".join(map(str, capabilities.sizes))
        raise InvalidRequest(f"size {spec.size} is not one of {known}")


def _at_most(what: str, value: float, limit: float) -> None:
    if value > limit:
        raise InvalidRequest(f"{what} is {value}, but at most {limit} is allowed")


def _check_features(spec: ImageSpec, capabilities: Capabilities) -> None:
    neutral = {field.name: field.default for field in fields(ImageSpec)}
    for feature, names in FEATURES.items():
        used = any(getattr(spec, name) != neutral[name] for name in names)
        if used and feature not in capabilities.features:
            raise InvalidRequest(
                f"this worker does not support {feature}: leave out {' and '.join(names)}"
            )
