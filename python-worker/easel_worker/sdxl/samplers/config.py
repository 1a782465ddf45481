"""Reads `scheduler/scheduler_config.json` and refuses values that we do not implement.

As in diffusers, a file written for one scheduler class also configures the others: each class reads
the keys it knows, uses its own defaults for absent keys, and ignores the rest.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


class SchedulerError(ValueError):
    """The model's scheduler config asks for something that we do not implement."""


@dataclass(frozen=True)
class Config:
    """The keys that decide timesteps, noise levels and updates, under diffusers' names."""

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


ConfigFile = Mapping[str, Any]
"""The contents of scheduler/scheduler_config.json."""


@dataclass(frozen=True)
class Only:
    """The allowed values of a key that we implement only in part.

    Attributes:
        allowed: the values that we implement.
        default: the value if the key is absent.
        own_default: the value if the key is absent and the file is for this class, if different.
    """

    allowed: tuple[Any, ...]
    default: Any
    own_default: Any = None

    def value(self, key: str, file: ConfigFile, class_name: str) -> Any:
        """The key's value in a file."""
        own = file.get("_class_name") == class_name and self.own_default is not None
        return file.get(key, self.own_default if own else self.default)


@dataclass(frozen=True)
class SchedulerClass:
    """One of diffusers' scheduler classes.

    Attributes:
        name: its `_class_name`.
        reads: the keys of `Config` that it reads in addition to those that all classes read.
        defaults: its defaults where they differ from those of `Config`.
        limits: the keys of which we implement only some values.
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
    # Both keys bound the predicted image. That suits pixels, is wrong for latents, and is not
    # linear. A file for another class means no clipping, although DDIMScheduler clips by default.
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
        # The last three name variants of other solvers; diffusers uses midpoint for them.
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


def read(file: ConfigFile, cls: SchedulerClass) -> Config:
    """Read what a scheduler class needs from the file.

    Args:
        file: the contents of scheduler_config.json.
        cls: the class to run, whatever the file's `_class_name` is.

    Raises:
        SchedulerError: a key that the class reads has a value that we do not implement.
    """
    for key, only in cls.limits.items():
        value = only.value(key, file, cls.name)
        _check(cls, key, value, only.allowed, given=key in file)
    values = dict(cls.defaults)
    for key in _ALL_READ | cls.reads:
        if key in file:
            values[key] = file[key]
    if values.get("trained_betas") is not None:
        values["trained_betas"] = tuple(values["trained_betas"])
    values["use_karras_sigmas"] = bool(values.get("use_karras_sigmas"))
    config = Config(**values)
    for item in fields(config):
        if item.name in _CHOICES:
            value = getattr(config, item.name)
            _check(cls, item.name, value, _CHOICES[item.name], given=item.name in file)
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
