"""The values for what requests leave out: those of easel.json, else those of SDXL base."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from easel_worker.engine import Defaults
from easel_worker.sdxl.folder.config import ConfigError
from easel_worker.sdxl.folder.easel_json import read_easel_json
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.samplers import sampler
from easel_worker.sdxl.samplers.default import Default, default_scheduler
from easel_worker.sdxl.samplers.training import EDM_CLASSES
from easel_worker.values import Size

TURBO = 64
"""The sample_size of SDXL Turbo's UNet: 512 pixels."""

_SDXL_BASE: dict[str, Any] = {
    "num_inference_steps": 40,
    "guidance_scale": 5.0,
    "negative_prompt": "",
}


@dataclass(frozen=True)
class ModelDefaults:
    """Defaults for requests, and the sizes to compile. The default size comes first.

    Attributes:
        schedulers: the samplers that the model and the programs support.
        warnings: what the operator should know, each in one line.
    """

    defaults: Defaults
    sizes: tuple[Size, ...]
    schedulers: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def model_defaults(folder: Path | None, config: SdxlConfig) -> ModelDefaults:
    """Decide a model's defaults.

    Raises:
        EaselJsonError: easel.json is invalid.
        ConfigError: the scheduler that it names is not offered.
        SchedulerError: no sampler of ours would draw the model's picture.
    """
    names = _offered(config)
    given = read_easel_json(folder)
    default = _scheduler(folder, config, names, given.defaults.get("scheduler"))
    own = {
        "scheduler": default.scheduler,
        **_own_size(config),
        **_own_steps(config, names),
        **given.defaults,
    }
    defaults = Defaults(**{**_SDXL_BASE, **own})
    first = Size(defaults.width, defaults.height)
    return ModelDefaults(
        defaults,
        tuple(dict.fromkeys([first, *given.sizes])),
        names,
        () if default.warning is None else (default.warning,),
    )


def _own_size(config: SdxlConfig) -> dict[str, int]:
    """The size that the UNet was trained on, as diffusers' pipeline takes it by default."""
    side = config.unet.sample_size * config.vae_scale
    return {"width": side, "height": side}


def _own_steps(config: SdxlConfig, names: tuple[str, ...]) -> dict[str, Any]:
    """Steps and guidance of models that are known by their configs, as their authors state them."""
    scheduler = config.scheduler
    name = scheduler.get("_class_name")
    if config.unet.guidance_features is not None:  # LCM-SDXL, often over SDXL base's other files
        lcm = {"scheduler": "lcm"} if "lcm" in names else {}
        return {"num_inference_steps": 4, "guidance_scale": 8.0, **lcm}
    if name == "LCMScheduler":
        return {"num_inference_steps": 4, "guidance_scale": 1.0}
    if name == "TCDScheduler":
        return {"num_inference_steps": 4, "guidance_scale": 0.0}
    if name in EDM_CLASSES:  # Playground v2.5
        return {"num_inference_steps": 50, "guidance_scale": 3.0}
    trailing = scheduler.get("timestep_spacing") == "trailing"
    if name == "EulerAncestralDiscreteScheduler" and trailing and config.unet.sample_size == TURBO:
        return {"num_inference_steps": 1, "guidance_scale": 0.0}
    return {}


def _scheduler(
    folder: Path | None, config: SdxlConfig, names: tuple[str, ...], wanted: str | None
) -> Default:
    if wanted is None:
        return default_scheduler(config.scheduler, names)
    if wanted not in names:
        raise ConfigError(
            f"{folder or 'the model'}: the default scheduler {wanted!r} is not offered: "
            f"choose one of {', '.join(names)}"
        )
    return Default(wanted)


def _offered(config: SdxlConfig) -> tuple[str, ...]:
    """The samplers that fit the model and the compiled programs."""
    names = sampler.offered(config.scheduler)
    return tuple(name for name in names if not sampler.needs_older(name))
