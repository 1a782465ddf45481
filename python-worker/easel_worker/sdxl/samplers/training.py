"""How a model was trained, by its scheduler config: with betas, with EDM, or by flow matching.

The UNet learned one relation between noise level, input scale and timestep. A sampler for another
relation draws a wrong picture, so the class name or any key that belongs to another one refuses it.
"""

from collections.abc import Mapping
from typing import Any

EDM_CLASSES = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")

_EDM_KEYS = ("sigma_data", "rho", "sigma_schedule")
_FLOW_KEYS = ("shift", "base_shift", "max_shift", "invert_sigmas", "shift_terminal")
_FLOW_SWITCHES = ("use_flow_sigmas", "use_dynamic_shifting")
_FLOW_NAMES = ("FlowMatch", "FlowMap", "LTXEulerAncestralRF", "SCM", "PiFlow", "Helios", "MiniMax")
_OTHER = {
    "CMStochasticIterativeScheduler": "consistency models",
    "ConsistencyDecoderScheduler": "consistency models",
    "CosineDPMSolverMultistepScheduler": "models trained with the cosine schedule",
    "CogVideoXDDIMScheduler": "models trained with a shifted signal-to-noise ratio",
    "CogVideoXDPMScheduler": "models trained with a shifted signal-to-noise ratio",
    "DDPMWuerstchenScheduler": "models trained with the cosine schedule",
    "IPNDMScheduler": "models trained with its own schedule, without betas",
    "KarrasVeScheduler": "variance exploding models",
    "ScoreSdeVeScheduler": "variance exploding models",
    "ScoreSdeVpScheduler": "score models",
    "UnCLIPScheduler": "unCLIP models",
    "VQDiffusionScheduler": "models of discrete latents",
    "AmusedScheduler": "models of discrete latents",
}


def refuse_other_training(file: Mapping[str, Any], *, edm: bool) -> str | None:
    """Why a sampler does not fit the model, with what to do; None if it fits.

    Args:
        file: the contents of scheduler_config.json.
        edm: whether the sampler is for EDM models; else it is for models with betas.
    """
    return _refuse_unknown(file) or (_refuse_betas(file) if edm else _refuse_edm(file))


def _refuse_unknown(file: Mapping[str, Any]) -> str | None:
    name = str(file.get("_class_name"))
    what = f"_class_name={name!r} in scheduler/scheduler_config.json"
    if name.startswith(_FLOW_NAMES):
        return f"{what} is for models trained by flow matching, which are not supported"
    if name in _OTHER:
        return f"{what} is for {_OTHER[name]}, which are not supported"
    flow = [key for key in _FLOW_KEYS if file.get(key) is not None]
    flow += [key for key in _FLOW_SWITCHES if file.get(key)]
    if file.get("prediction_type") == "flow_prediction":
        flow.append("prediction_type")
    if flow:
        return (
            f"{flow[0]}={file[flow[0]]!r} in scheduler/scheduler_config.json is for models trained "
            "by flow matching, which are not supported: remove the key if this model was trained "
            "with betas"
        )
    return None


def _refuse_edm(file: Mapping[str, Any]) -> str | None:
    name = file.get("_class_name")
    if name in EDM_CLASSES:
        return (
            f"_class_name={name!r} in scheduler/scheduler_config.json says that the model was "
            "trained with EDM's preconditioning: use edm_euler or edm_dpmpp_2m"
        )
    for key in _EDM_KEYS:
        if file.get(key) is not None:
            return (
                f"{key}={file[key]!r} in scheduler/scheduler_config.json is for models trained "
                f"with EDM's preconditioning, and {name} has no such key: set _class_name to "
                f"{' or '.join(EDM_CLASSES)} if this is such a model, else remove the key"
            )
    return None


def _refuse_betas(file: Mapping[str, Any]) -> str | None:
    name = file.get("_class_name")
    if name in EDM_CLASSES:
        return None
    return (
        f"_class_name={name!r} in scheduler/scheduler_config.json says that the model was trained "
        "with betas, not with EDM's preconditioning: use another scheduler"
    )
