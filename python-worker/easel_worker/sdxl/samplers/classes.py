"""diffusers' scheduler classes: the keys that each reads, and what we implement of them."""

from easel_worker.sdxl.samplers.config import Only, SchedulerClass

_BETAS = frozenset(
    {
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "trained_betas",
        "prediction_type",
    }
)
_SPACED = frozenset({"timestep_spacing", "steps_offset"})
_ZERO_SNR = frozenset({"rescale_betas_zero_snr"})
_SIGMAS = frozenset(
    {
        "use_karras_sigmas",
        "use_exponential_sigmas",
        "use_beta_sigmas",
        "sigma_min",
        "sigma_max",
    }
)
_FINAL = frozenset({"final_sigmas_type"})

_OFF = Only((False, None), default=False)
_NONE = Only((None,), default=None)
_NO_SAMPLE = Only(("epsilon", "v_prediction"), default="epsilon")

# A class that ignores the key would start such a model from a noise level that it never saw.
_IGNORES_ZERO_SNR = {"rescale_betas_zero_snr": _OFF}
_DISCRETE = {"timestep_type": Only(("discrete",), default="discrete")}

# Both keys bound the predicted image. That suits pixels, is wrong for latents, and is not
# linear. A file for another class means no clipping, although DDIM and DDPM clip by default.
_BOUNDS = {"clip_sample": Only((False,), default=False), "thresholding": _OFF}
_BOUNDS_BY_DEFAULT = _BOUNDS | {"clip_sample": Only((False,), default=False, own_default=True)}

EULER = SchedulerClass(
    "EulerDiscreteScheduler",
    reads=_BETAS | _SPACED | _ZERO_SNR | _SIGMAS | _FINAL | {"timestep_type"},
    limits={
        "interpolation_type": Only(("linear",), default="linear"),
        "timestep_type": Only(("discrete", "continuous"), default="discrete"),
    },
    accepts=frozenset({"timesteps", "sigmas"}),
)

EULER_ANCESTRAL = SchedulerClass(
    "EulerAncestralDiscreteScheduler",
    reads=_BETAS | _SPACED | _ZERO_SNR,
    limits={"prediction_type": _NO_SAMPLE} | _DISCRETE,
)

DDIM = SchedulerClass(
    "DDIMScheduler",
    reads=_BETAS | _SPACED | _ZERO_SNR | {"set_alpha_to_one"},
    defaults={"timestep_spacing": "leading"},
    limits=_BOUNDS_BY_DEFAULT | _DISCRETE,
    accepts=frozenset({"eta"}),
    same=("DDIMParallelScheduler",),
)

DDPM = SchedulerClass(
    "DDPMScheduler",
    reads=_BETAS | _SPACED | _ZERO_SNR | {"variance_type"},
    defaults={"timestep_spacing": "leading"},
    limits=_BOUNDS_BY_DEFAULT
    | _DISCRETE
    | {
        "variance_type": Only(
            ("fixed_small", "fixed_small_log", "fixed_large"), default="fixed_small"
        )
    },
    accepts=frozenset({"timesteps"}),
    same=("DDPMParallelScheduler",),
)

_SOLVER_TYPES = ("midpoint", "heun", "logrho", "bh1", "bh2")
"""The last three name variants of other solvers; diffusers uses midpoint for them."""

_DPM_SOLVER_LIMITS = _DISCRETE | {
    "solver_type": Only(_SOLVER_TYPES, default="midpoint"),
    "thresholding": _OFF,
    "use_lu_lambdas": _OFF,
    "variance_type": _NONE,
    "lambda_min_clipped": Only((-float("inf"), None), default=-float("inf")),
}
_SOLVER = frozenset({"solver_type", "solver_order", "lower_order_final"})

DPM_SOLVER_MULTISTEP = SchedulerClass(
    "DPMSolverMultistepScheduler",
    reads=_BETAS
    | _SPACED
    | _ZERO_SNR
    | _SIGMAS
    | _FINAL
    | _SOLVER
    | {"algorithm_type", "euler_at_final"},
    limits=_DPM_SOLVER_LIMITS
    | {"algorithm_type": Only(("dpmsolver++", "sde-dpmsolver++", "deis"), default="dpmsolver++")},
    accepts=frozenset({"timesteps"}),
)

DPM_SOLVER_SINGLESTEP = SchedulerClass(
    "DPMSolverSinglestepScheduler",
    reads=_BETAS | _SIGMAS | _FINAL | _SOLVER,
    defaults={"lower_order_final": False},
    limits=_DPM_SOLVER_LIMITS
    | _IGNORES_ZERO_SNR
    | {
        "algorithm_type": Only(("dpmsolver++", "deis"), default="dpmsolver++"),
        "solver_order": Only((1, 2), default=2),
    },
    accepts=frozenset({"timesteps"}),
)

UNIPC = SchedulerClass(
    "UniPCMultistepScheduler",
    reads=_BETAS | _SPACED | _ZERO_SNR | _SIGMAS | _FINAL | _SOLVER | {"disable_corrector"},
    defaults={"solver_type": "bh2"},
    limits=_DISCRETE
    | {
        "predict_x0": Only((True,), default=True),
        "solver_p": _NONE,
        "solver_type": Only(_SOLVER_TYPES, default="bh2"),
        "solver_order": Only((1, 2), default=2),
        "thresholding": _OFF,
    },
)

HEUN = SchedulerClass(
    "HeunDiscreteScheduler",
    reads=_BETAS | _SPACED | _SIGMAS,
    defaults={"beta_start": 0.00085, "beta_end": 0.012},
    limits=_DISCRETE | _IGNORES_ZERO_SNR | {"clip_sample": _BOUNDS["clip_sample"]},
    accepts=frozenset({"timesteps"}),
)

KDPM2 = SchedulerClass(
    "KDPM2DiscreteScheduler",
    reads=_BETAS | _SPACED | _SIGMAS,
    defaults={"beta_start": 0.00085, "beta_end": 0.012},
    limits=_DISCRETE | _IGNORES_ZERO_SNR | {"prediction_type": _NO_SAMPLE},
)

KDPM2_ANCESTRAL = SchedulerClass(
    "KDPM2AncestralDiscreteScheduler",
    reads=KDPM2.reads,
    defaults=KDPM2.defaults,
    limits=KDPM2.limits,
)

_DISTILLED_DEFAULTS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}

LCM = SchedulerClass(
    "LCMScheduler",
    reads=_BETAS | _ZERO_SNR | {"original_inference_steps", "timestep_scaling"},
    defaults=_DISTILLED_DEFAULTS,
    limits=_BOUNDS | _DISCRETE,
    accepts=frozenset({"timesteps"}),
)

TCD = SchedulerClass(
    "TCDScheduler",
    reads=_BETAS | _ZERO_SNR | {"original_inference_steps"},
    defaults=_DISTILLED_DEFAULTS,
    limits=_BOUNDS | _DISCRETE,
    accepts=frozenset({"timesteps", "eta"}),
)

_EDM = frozenset(
    {
        "num_train_timesteps",
        "prediction_type",
        "sigma_min",
        "sigma_max",
        "sigma_data",
        "sigma_schedule",
        "rho",
        "final_sigmas_type",
    }
)
_EDM_DEFAULTS = {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5}

EDM_EULER = SchedulerClass(
    "EDMEulerScheduler",
    reads=_EDM,
    defaults=_EDM_DEFAULTS,
    limits={"prediction_type": _NO_SAMPLE},
)

EDM_DPM_SOLVER_MULTISTEP = SchedulerClass(
    "EDMDPMSolverMultistepScheduler",
    reads=_EDM | _SOLVER | {"algorithm_type", "euler_at_final"},
    defaults=_EDM_DEFAULTS,
    limits={
        "prediction_type": _NO_SAMPLE,
        "algorithm_type": DPM_SOLVER_MULTISTEP.limits["algorithm_type"],
        "solver_type": Only(_SOLVER_TYPES, default="midpoint"),
        "thresholding": _OFF,
    },
)
