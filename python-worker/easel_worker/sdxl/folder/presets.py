"""The presets of few-step models: what the publishers of each distillation say to sample it with.

This is the only table of them. A worker sends those that fit its model in HELLO, and the gateway
applies the one that a request names. A guidance of 0 is the publishers' way to turn guidance off.
"""

from collections.abc import Collection
from dataclasses import dataclass

from easel_worker.engine import Preset
from easel_worker.sdxl.folder.family import LCM, SDXL, SSD_1B, VEGA

_TURBO = Preset(
    "turbo",
    num_inference_steps=1,
    guidance_scale=0.0,
    scheduler="euler_ancestral",
    timestep_spacing="trailing",
)
"""SDXL Turbo, for 1 to 4 steps.

https://github.com/huggingface/diffusers/blob/v0.42.1/docs/source/en/using-diffusers/sdxl_turbo.md
"""


def _lightning(steps: int) -> Preset:
    """SDXL-Lightning of 2, 4 or 8 steps. That of 1 step predicts the image, not the noise.

    https://huggingface.co/ByteDance/SDXL-Lightning#2-step-4-step-8-step-unet
    """
    return Preset(
        f"lightning-{steps}",
        num_inference_steps=steps,
        guidance_scale=0.0,
        scheduler="euler",
        timestep_spacing="trailing",
    )


_HYPER_1 = Preset(
    "hyper-1", num_inference_steps=1, guidance_scale=0.0, scheduler="lcm", timesteps=(800,)
)
"""Hyper-SD's UNet of 1 step. https://huggingface.co/ByteDance/Hyper-SD#sdxl-related-models"""


def _hyper(steps: int) -> Preset:
    """Hyper-SD's LoRA of 2, 4 or 8 steps.

    https://huggingface.co/ByteDance/Hyper-SD#sdxl-related-models
    """
    return Preset(
        f"hyper-{steps}",
        num_inference_steps=steps,
        guidance_scale=0.0,
        scheduler="ddim",
        timestep_spacing="trailing",
    )


_HYPER_UNIFIED = Preset(
    "hyper-unified", num_inference_steps=1, guidance_scale=0.0, scheduler="tcd", eta=1.0
)
"""Hyper-SD's LoRA for 1 to 8 steps; for more steps a lower eta gives more detail.

https://huggingface.co/ByteDance/Hyper-SD#sdxl-related-models
"""

_LCM_LORA = Preset("lcm", num_inference_steps=4, guidance_scale=1.0, scheduler="lcm")
"""LCM-LoRA, which exists for SDXL, SSD-1B and Vega (VegaRT).

https://github.com/huggingface/diffusers/blob/v0.42.1/docs/source/en/using-diffusers/inference_with_lcm.md
"""

_LCM_UNET = Preset("lcm", num_inference_steps=4, guidance_scale=8.0, scheduler="lcm")
"""LCM-SDXL, whose UNet takes the guidance scale as an input; same source."""

_TCD = Preset("tcd", num_inference_steps=4, guidance_scale=0.0, scheduler="tcd", eta=0.3)
"""TCD's LoRA.

https://github.com/huggingface/diffusers/blob/v0.42.1/docs/source/en/using-diffusers/inference_with_tcd_lora.md
"""

_DMD2 = Preset(
    "dmd2",
    num_inference_steps=4,
    guidance_scale=0.0,
    scheduler="lcm",
    timesteps=(999, 749, 499, 249),
)
"""DMD2 of 4 steps.

https://github.com/tianweiy/DMD2/blob/2a3d99c2091f64f439e9cf0e2aeac489fab29726/README.md
"""


@dataclass(frozen=True)
class _Row:
    """A preset, and the families of models that its distillation exists for."""

    preset: Preset
    families: tuple[str, ...] = (SDXL,)


_TABLE = (
    _Row(_TURBO),
    *(_Row(_lightning(steps)) for steps in (2, 4, 8)),
    _Row(_HYPER_1),
    *(_Row(_hyper(steps)) for steps in (2, 4, 8)),
    _Row(_HYPER_UNIFIED),
    _Row(_LCM_LORA, (SDXL, SSD_1B, VEGA)),
    _Row(_LCM_UNET, (LCM,)),
    _Row(_TCD),
    _Row(_DMD2),
)

NAMES = tuple(dict.fromkeys(row.preset.name for row in _TABLE))
"""All names, whatever the model."""


def presets_for(family: str, schedulers: Collection[str]) -> tuple[Preset, ...]:
    """The presets that fit a model.

    Whether a model was distilled cannot be seen in it, so a base model has those of its
    distillations too.

    Args:
        family: of the model, from `family`.
        schedulers: the names of the samplers that it has.
    """
    return tuple(
        row.preset
        for row in _TABLE
        if family in row.families and row.preset.scheduler in schedulers
    )
