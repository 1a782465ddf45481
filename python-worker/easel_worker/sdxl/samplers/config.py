"""`scheduler/scheduler_config.json`: which of its keys we honour, and which values we refuse.

As in diffusers, a file written for one scheduler class configures the others too: each class reads
the keys that it knows, with its own defaults for those that are absent, and ignores the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class SchedulerError(ValueError):
    """The model's scheduler configuration asks for something that we do not implement."""


@dataclass(frozen=True)
class Settings:
    """The keys that decide timesteps, noise levels and updates, by diffusers' names."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: str = "epsilon"
    timestep_spacing: str = "linspace"
    steps_offset: int = 0
    rescale_betas_zero_snr: bool = False
    use_karras_sigmas: bool = False
    sigma_min: float | None = None
    sigma_max: float | None = None
    final_sigmas_type: str = "zero"
    set_alpha_to_one: bool = True
    solver_order: int = 2
    lower_order_final: bool = True
    euler_at_final: bool = False


@dataclass(frozen=True)
class Only:
    """A key that we know and do not implement, but for the values that change nothing.

    Attributes:
        allowed: those values.
        default: what an absent key means.
        own_default: what it means in a file for this very class, if that is something else.
    """

    allowed: tuple[Any, ...]
    default: Any
    own_default: Any = None

    def given(self, key: str, config: Mapping[str, Any], class_name: str) -> Any:
        """The value that a configuration has."""
        own = config.get("_class_name") == class_name and self.own_default is not None
        return config.get(key, self.own_default if own else self.default)


@dataclass(frozen=True)
class SchedulerClass:
    """One of diffusers' scheduler classes.

    Attributes:
        name: as `_class_name` in the configuration has it.
        reads: the keys of `Settings` that it reads, apart from those that all read.
        defaults: its defaults where they differ from those of `Settings`.
        limits: keys that it reads, of which we implement some values only.
    """

    name: str
    reads: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Only] = field(default_factory=dict)


_ALL_READ = frozenset(
    {
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "prediction_type",
        "timestep_spacing",
        "steps_offset",
        "rescale_betas_zero_snr",
    }
)
_SIGMAS_READ = frozenset({"use_karras_sigmas", "sigma_min", "sigma_max", "final_sigmas_type"})
_OFF = Only((False, None), default=False)

_CHOICES = {
    "beta_schedule": ("linear", "scaled_linear", "squaredcos_cap_v2"),
    "prediction_type": ("epsilon", "v_prediction", "sample"),
    "timestep_spacing": ("leading", "trailing", "linspace"),
    "final_sigmas_type": ("zero", "sigma_min"),
    "solver_order": (1, 2),
}

EULER = SchedulerClass(
    "EulerDiscreteScheduler",
    reads=_SIGMAS_READ,
    limits={
        "interpolation_type": Only(("linear",), default="linear"),
        "timestep_type": Only(("discrete",), default="discrete"),
        "use_exponential_sigmas": _OFF,
        "use_beta_sigmas": _OFF,
    },
)

EULER_ANCESTRAL = SchedulerClass(
    "EulerAncestralDiscreteScheduler",
    limits={"prediction_type": Only(("epsilon", "v_prediction"), default="epsilon")},
)

DDIM = SchedulerClass(
    "DDIMScheduler",
    reads=frozenset({"set_alpha_to_one"}),
    defaults={"timestep_spacing": "leading"},
    # Both bound the predicted image, for models on pixels: not linear, and wrong on latents. That
    # diffusers clips by default is no reason to, where the file was written for another class.
    limits={
        "clip_sample": Only((False,), default=False, own_default=True),
        "thresholding": _OFF,
    },
)

DPM_SOLVER_MULTISTEP = SchedulerClass(
    "DPMSolverMultistepScheduler",
    reads=_SIGMAS_READ | {"solver_order", "lower_order_final", "euler_at_final"},
    limits={
        "algorithm_type": Only(("dpmsolver++", "deis"), default="dpmsolver++"),
        # The last three are names of other solvers' variants, which diffusers takes for midpoint.
        "solver_type": Only(("midpoint", "logrho", "bh1", "bh2"), default="midpoint"),
        "thresholding": _OFF,
        "use_lu_lambdas": _OFF,
        "use_flow_sigmas": _OFF,
        "use_exponential_sigmas": _OFF,
        "use_beta_sigmas": _OFF,
        "use_dynamic_shifting": _OFF,
        "variance_type": Only((None,), default=None),
        "lambda_min_clipped": Only((-float("inf"),), default=-float("inf")),
    },
)


def read(config: Mapping[str, Any], cls: SchedulerClass) -> Settings:
    """What a scheduler class reads in a configuration.

    Args:
        config: the contents of scheduler_config.json.
        cls: the class that is to run, whatever `_class_name` says.

    Raises:
        SchedulerError: a key that the class reads has a value that we do not implement.
    """
    for key, only in cls.limits.items():
        value = only.given(key, config, cls.name)
        _check(cls, key, value, only.allowed, given=key in config)
    values = dict(cls.defaults)
    for key in _ALL_READ | cls.reads:
        if key in config:
            values[key] = config[key]
    if values.get("trained_betas") is not None:
        values["trained_betas"] = tuple(values["trained_betas"])
    values["use_karras_sigmas"] = bool(values.get("use_karras_sigmas"))
    settings = Settings(**values)
    for item in fields(settings):
        if item.name in _CHOICES:
            value = getattr(settings, item.name)
            _check(cls, item.name, value, _CHOICES[item.name], given=item.name in config)
    return settings


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
