"""What an image's schedule differs in from the scheduler's config."""

from msgspec import UNSET

from easel_worker.engine import ImageSpec, Preset
from easel_worker.sdxl.samplers.schedule import Schedule


def schedule_of(spec: ImageSpec, preset: Preset | None) -> Schedule:
    """The schedule of the request, else that of the model's own preset.

    The preset's eta and timesteps are for its sampler, and its timesteps for as many steps. Its
    spacing is in the scheduler's config, because it suits other samplers too.

    Args:
        spec: of the image.
        preset: the model's own, if it has one.
    """
    own = preset if preset is not None and preset.scheduler == spec.scheduler else None
    eta = spec.eta
    if eta is UNSET:
        eta = 0.0 if own is None or own.eta is UNSET else own.eta
    return Schedule(
        timestep_spacing=None if spec.timestep_spacing is UNSET else spec.timestep_spacing,
        timesteps=_timesteps(spec, own),
        sigmas=() if spec.sigmas is UNSET else spec.sigmas,
        eta=eta,
    )


def _timesteps(spec: ImageSpec, own: Preset | None) -> tuple[int, ...]:
    if spec.timesteps is not UNSET:
        return spec.timesteps
    if own is None or own.timesteps is UNSET or len(own.timesteps) != spec.schedule_length:
        return ()
    replaced = spec.timestep_spacing is not UNSET or spec.sigmas is not UNSET
    return () if replaced else own.timesteps
