"""Reads `scheduler/scheduler_config.json` and refuses values that we do not implement.

As in diffusers, a file written for one scheduler class also configures the others: each class reads
the keys it knows, uses its own defaults for absent keys, and ignores the rest. The exception are
keys that say how the model was trained (`training`): a class that ignores one would draw a wrong
picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from easel_worker.sdxl.samplers.training import refuse_other_training


class SchedulerError(ValueError):
    """The model's scheduler config asks for something that we do not implement."""


SIGMA_SPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
"""The keys that space sigmas; at most one may be true."""


@dataclass(frozen=True)
class Config:
    """The keys that decide timesteps, noise levels and updates, under diffusers' names.

    Attributes:
        sigma_data: the standard deviation of the training images of an EDM model; None for a model
            with betas.
        timesteps: a request's own timesteps, one for each step; empty for none.
        sigmas: a request's own sigmas, one more than steps; empty for none.
        eta: a request's share of fresh noise.
        begin: the first step of the schedule that an image runs.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: str = "epsilon"
    timestep_spacing: str = "linspace"
    timestep_type: str = "discrete"
    steps_offset: int = 0
    rescale_betas_zero_snr: bool = False
    use_karras_sigmas: bool = False
    use_exponential_sigmas: bool = False
    use_beta_sigmas: bool = False
    sigma_min: float | None = None
    sigma_max: float | None = None
    final_sigmas_type: str = "zero"
    set_alpha_to_one: bool = True
    algorithm_type: str = "dpmsolver++"
    solver_type: str = "midpoint"
    solver_order: int = 2
    lower_order_final: bool = True
    euler_at_final: bool = False
    disable_corrector: tuple[int, ...] = ()
    original_inference_steps: int = 50
    timestep_scaling: float = 10.0
    variance_type: str = "fixed_small"
    sigma_data: float | None = None
    sigma_schedule: str = "karras"
    rho: float = 7.0
    timesteps: tuple[float, ...] = ()
    sigmas: tuple[float, ...] = ()
    eta: float = 0.0
    begin: int = 0

    @property
    def spacings(self) -> tuple[str, ...]:
        """Those of `SIGMA_SPACINGS` that are true."""
        return tuple(key for key in SIGMA_SPACINGS if getattr(self, key))


ConfigFile = Mapping[str, Any]
"""The contents of scheduler/scheduler_config.json."""


@dataclass(frozen=True)
class Only:
    """The allowed values of a key that we implement only in part.

    Attributes:
        allowed: the values that we implement.
        default: the value if the key is absent or null.
        own_default: the same if the file is for this class, if different.
    """

    allowed: tuple[Any, ...]
    default: Any
    own_default: Any = None

    def value(self, key: str, file: ConfigFile, class_name: str) -> Any:
        """The key's value in a file."""
        own = file.get("_class_name") == class_name and self.own_default is not None
        default = self.own_default if own else self.default
        value = file.get(key, default)
        return default if value is None else value


@dataclass(frozen=True)
class SchedulerClass:
    """One of diffusers' scheduler classes.

    Attributes:
        name: its `_class_name`.
        reads: the keys of `Config` that it reads.
        defaults: its defaults where they differ from those of `Config`.
        limits: the keys of which we implement only some values.
        accepts: the request fields `timesteps`, `sigmas` and `eta` that it takes.
        same: other classes of diffusers with the same update.
    """

    name: str
    reads: frozenset[str]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Only] = field(default_factory=dict)
    accepts: frozenset[str] = frozenset()
    same: tuple[str, ...] = ()


_CHOICES = {
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    "prediction_type": ("epsilon", "v_prediction", "sample"),
    "timestep_spacing": ("leading", "trailing", "linspace"),
    "final_sigmas_type": ("zero", "sigma_min"),
    "solver_order": (1, 2, 3),
    "sigma_schedule": ("karras", "exponential"),
}


def read(file: ConfigFile, cls: SchedulerClass) -> Config:
    """Read what a scheduler class needs from the file.

    Args:
        file: the contents of scheduler_config.json.
        cls: the class to run, whatever the file's `_class_name` is.

    Raises:
        SchedulerError: a key that the class reads has a value that we do not implement, or the
            class cannot run a model that was trained in this way.
    """
    why = refuse_other_training(file, edm="sigma_data" in cls.reads)
    if why is not None:
        raise SchedulerError(f"{cls.name}: {why}")
    for key, only in cls.limits.items():
        value = only.value(key, file, cls.name)
        _check(cls, key, value, only.allowed, given=key in file)
    values = dict(cls.defaults)
    for key in cls.reads:
        if file.get(key) is not None:
            values[key] = file[key]
    for key in ("trained_betas", "disable_corrector"):
        if values.get(key) is not None:
            values[key] = tuple(values[key])
    for key in SIGMA_SPACINGS:
        values[key] = bool(values.get(key))
    config = Config(**values)
    for item in fields(config):
        if item.name in _CHOICES:
            value = getattr(config, item.name)
            _check(cls, item.name, value, _CHOICES[item.name], given=item.name in file)
    if len(config.spacings) > 1:
        raise SchedulerError(
            f"{cls.name}: {' and '.join(config.spacings)} are true in "
            "scheduler/scheduler_config.json: set at most one of them"
        )
    return config


def _check(
    cls: SchedulerClass, key: str, value: Any, allowed: tuple[Any, ...], *, given: bool
) -> None:
    if value in allowed:
        return
    source = "in scheduler/scheduler_config.json" if given else f"is {cls.name}'s default"
    choices = " or ".join(repr(choice) for choice in allowed)
    raise SchedulerError(
        f"{cls.name}: {key}={value!r} {source} is not supported: set it to {choices}"
    )
