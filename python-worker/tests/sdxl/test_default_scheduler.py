"""Which sampler a model gets that names none of ours, and which models get none."""

from typing import Any

import pytest

from easel_worker.sdxl.samplers.config import SchedulerError
from easel_worker.sdxl.samplers.default import Default, default_scheduler
from easel_worker.sdxl.samplers.sampler import make_table, offered
from parity.schedulers.cases import SDXL


def default_of(file: dict[str, Any]) -> Default:
    return default_scheduler(file, offered(file))


@pytest.mark.parametrize(
    ("class_name", "scheduler"),
    [
        ("PNDMScheduler", "dpmpp_2m"),
        ("LMSDiscreteScheduler", "euler"),
        ("DEISMultistepScheduler", "dpmpp_2m"),
        ("DPMSolverSDEScheduler", "dpmpp_2m_sde"),
        ("SASolverScheduler", "dpmpp_2m_sde"),
        ("RePaintScheduler", "euler"),
        ("SchedulerOfTheFuture", "euler"),
    ],
)
def test_a_class_that_we_lack_gets_the_nearest_sampler_and_a_warning(
    class_name: str, scheduler: str
) -> None:
    file = SDXL | {"_class_name": class_name}
    default = default_of(file)
    assert default.scheduler == scheduler
    assert default.warning is not None
    assert class_name in default.warning
    assert "easel.json" in default.warning
    make_table(file, default.scheduler, 10)


@pytest.mark.parametrize(
    ("class_name", "change", "scheduler"),
    [
        ("UniPCMultistepScheduler", {"solver_order": 3}, "dpmpp_2m"),
        ("DPMSolverMultistepScheduler", {"use_lu_lambdas": True}, "euler"),
        ("DDIMScheduler", {"clip_sample": True}, "euler"),
        ("EulerDiscreteScheduler", {"interpolation_type": "log_linear"}, "ddim"),
        ("HeunDiscreteScheduler", {"rescale_betas_zero_snr": True}, "euler"),
    ],
)
def test_a_value_that_its_class_lacks_here_gets_another_sampler_and_a_warning(
    class_name: str, change: dict[str, Any], scheduler: str
) -> None:
    default = default_of(SDXL | {"_class_name": class_name} | change)
    assert default.scheduler == scheduler
    assert default.warning is not None
    (key,) = change
    assert key in default.warning


@pytest.mark.parametrize(
    ("class_name", "why"),
    [
        ("FlowMatchEulerDiscreteScheduler", "flow matching"),
        ("FlowMatchHeunDiscreteScheduler", "flow matching"),
        ("SCMScheduler", "flow matching"),
        ("CosineDPMSolverMultistepScheduler", "cosine schedule"),
        ("CMStochasticIterativeScheduler", "consistency models"),
        ("IPNDMScheduler", "without betas"),
        ("UnCLIPScheduler", "unCLIP"),
        ("KarrasVeScheduler", "variance exploding"),
    ],
)
def test_a_model_that_was_trained_in_another_way_gets_none(class_name: str, why: str) -> None:
    with pytest.raises(SchedulerError, match=why):
        default_of(SDXL | {"_class_name": class_name})


def test_an_unknown_class_without_betas_gets_none() -> None:
    with pytest.raises(SchedulerError, match=r"'SchedulerOfTheFuture' .* is not implemented"):
        default_of({"_class_name": "SchedulerOfTheFuture"})


def test_a_distilled_model_gets_no_other_sampler() -> None:
    with pytest.raises(SchedulerError, match="clip_sample=True"):
        default_of(SDXL | {"_class_name": "LCMScheduler", "clip_sample": True})


def test_a_sampler_that_the_worker_does_not_offer_is_replaced() -> None:
    file = SDXL | {"_class_name": "HeunDiscreteScheduler"}
    default = default_scheduler(file, ("ddim", "euler"))
    assert default.scheduler == "euler"
    assert default.warning is not None
    assert "is heun, which is not offered" in default.warning
