"""Values for what requests leave out: those of easel.json, else of a preset, else of SDXL base."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET

from easel_worker.engine import Defaults, Preset
from easel_worker.sdxl.folder.config import ConfigError
from easel_worker.sdxl.folder.easel_json import EaselJson, read_easel_json
from easel_worker.sdxl.folder.family import family
from easel_worker.sdxl.folder.files import ModelFiles
from easel_worker.sdxl.folder.preset_names import preset_in, says_few_steps
from easel_worker.sdxl.folder.presets import presets_for
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.samplers import sampler
from easel_worker.sdxl.samplers.config import SchedulerError
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

_SDXL_BASE_SCHEDULER = "EulerDiscreteScheduler"
"""SDXL base's class, which a single file and a UNet over SDXL base have for want of their own."""

_TURBO_SIZE = {"width": 512, "height": 512}
"""The size of SDXL Turbo as a single file, whose configs are those of SDXL base."""


@dataclass(frozen=True)
class ModelDefaults:
    """Defaults for requests, and the sizes to compile. The default size comes first.

    Attributes:
        schedulers: the samplers that the model and the programs support.
        presets: those that fit the model.
        preset: the preset of the model itself, by easel.json or by its name, if any.
        scheduler: what the preset changes in the scheduler's config.
        keep_older: whether the programs need room for samplers that use two earlier predictions.
        warnings: what the operator should know, each in one line.
        notes: what was decided by the model's name or for its preset, each in one line.
    """

    defaults: Defaults
    sizes: tuple[Size, ...]
    schedulers: tuple[str, ...]
    presets: tuple[Preset, ...] = ()
    preset: Preset | None = None
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    keep_older: bool = False
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Chosen:
    """The model's own preset, why it is that, and what else the model's name tells."""

    preset: Preset
    why: str
    more: Mapping[str, Any] = field(default_factory=dict)


def model_defaults(
    files: ModelFiles, config: SdxlConfig, *, more_schedulers: bool = False
) -> ModelDefaults:
    """Decide a model's defaults.

    Samplers that use two earlier predictions cost memory, so they are offered only if the model's
    default is one of them or the operator asks for them.

    Args:
        files: where its files are.
        config: the model's.
        more_schedulers: offer those samplers.

    Raises:
        EaselJsonError: easel.json is invalid.
        ConfigError: the scheduler or the preset that it names is not offered.
        SchedulerError: no sampler of ours would draw the model's picture.
    """
    names = sampler.offered(config.scheduler)
    presets = presets_for(family(config.unet), names)
    given = read_easel_json(files.easel_json)
    chosen = _chosen(files, config, given, presets)
    default = _scheduler(files, config, names, _wanted(given, chosen))
    known = _own_steps(config, names)
    own = {
        **_own_size(config),
        **known,
        **({} if chosen is None else {**chosen.more, **_defaults_of(chosen.preset)}),
        **given.defaults,
    }
    own.setdefault("scheduler", default.scheduler)
    defaults = Defaults(**{**_SDXL_BASE, **own})
    first = Size(defaults.width, defaults.height)
    keep_older = more_schedulers or sampler.needs_older(defaults.scheduler)
    hint = None if chosen or known else _hint(files, given, presets, defaults)
    return ModelDefaults(
        defaults,
        tuple(dict.fromkeys([first, *given.sizes])),
        tuple(name for name in names if keep_older or not sampler.needs_older(name)),
        presets=presets,
        preset=None if chosen is None else chosen.preset,
        scheduler={} if chosen is None else _scheduler_of(chosen.preset),
        keep_older=keep_older,
        warnings=tuple(text for text in (default.warning, hint) if text is not None),
        notes=() if chosen is None else (_note(chosen, defaults),),
    )


def _chosen(
    files: ModelFiles, config: SdxlConfig, given: EaselJson, presets: tuple[Preset, ...]
) -> _Chosen | None:
    """The preset of easel.json, else the one that the model's name tells."""
    by_name = {preset.name: preset for preset in presets}
    if given.preset is not UNSET:
        if given.preset is None:
            return None
        if given.preset not in by_name:
            fitting = ", ".join(by_name) or "none fits this model"
            raise ConfigError(
                f"{files.easel_json}: the preset {given.preset!r} does not fit the "
                f"model: choose one of {fitting}"
            )
        return _Chosen(by_name[given.preset], f"easel.json has the preset {given.preset}")
    for text, source in files.labels:
        preset = by_name.get(preset_in(text) or "")
        if preset is None or not _may_replace(config, preset):
            continue
        turbo = preset.name == "turbo" and config.unet.sample_size != TURBO
        why = f"{text} looks like the preset {preset.name} by its {source}"
        return _Chosen(preset, why, _TURBO_SIZE if turbo else {})
    return None


def _may_replace(config: SdxlConfig, preset: Preset) -> bool:
    """Whether a name may decide the sampler: not if the model's folder has chosen another."""
    if config.scheduler.get("_class_name") == _SDXL_BASE_SCHEDULER:
        return True
    try:
        return sampler.own_scheduler(config.scheduler) == preset.scheduler
    except SchedulerError:
        return False


def _wanted(given: EaselJson, chosen: _Chosen | None) -> str | None:
    wanted: str | None = given.defaults.get("scheduler")
    return wanted or (None if chosen is None else chosen.preset.scheduler)


def _defaults_of(preset: Preset) -> dict[str, Any]:
    return {
        "num_inference_steps": preset.num_inference_steps,
        "guidance_scale": preset.guidance_scale,
        "scheduler": preset.scheduler,
    }


def _scheduler_of(preset: Preset) -> dict[str, Any]:
    spacing = preset.timestep_spacing
    return {} if spacing is UNSET else {"timestep_spacing": spacing}


def _note(chosen: _Chosen, defaults: Defaults) -> str:
    """One line that says what requests now get by default."""
    preset = chosen.preset
    own = preset.scheduler == defaults.scheduler
    parts = [
        f"{defaults.num_inference_steps} steps",
        f"guidance {defaults.guidance_scale:g}",
        defaults.scheduler,
        *([] if preset.timestep_spacing is UNSET else [f"timesteps {preset.timestep_spacing}"]),
        *([f"timesteps {list(preset.timesteps)}"] if own and preset.timesteps else []),
        *([f"eta {preset.eta:g}"] if own and preset.eta else []),
        *([f"{defaults.width}x{defaults.height}"] if chosen.more else []),
    ]
    return f"{chosen.why}: by default {', '.join(parts)}; easel.json overrides"


def _hint(
    files: ModelFiles, given: EaselJson, presets: tuple[Preset, ...], defaults: Defaults
) -> str | None:
    """For a model that is called a few-step model, and not which."""
    decided = given.preset is not UNSET or "num_inference_steps" in given.defaults
    called = next((text for text, _ in files.labels if says_few_steps(text)), None)
    if decided or called is None or not presets:
        return None
    return (
        f"{called} is called like a model for few steps, but no preset is certain by that, so "
        f"requests get {defaults.num_inference_steps} steps and guidance "
        f"{defaults.guidance_scale:g} by default; set "
        f'"defaults" or "preset" in easel.json: {", ".join(each.name for each in presets)}'
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
    files: ModelFiles, config: SdxlConfig, names: tuple[str, ...], wanted: str | None
) -> Default:
    if wanted is None:
        return default_scheduler(config.scheduler, names)
    if wanted not in names:
        raise ConfigError(
            f"{files.folder or 'the model'}: the default scheduler {wanted!r} is not offered: "
            f"choose one of {', '.join(names)}"
        )
    return Default(wanted)
