"""The samplers' names, limits and refusals. test_sampler_parity compares their numbers."""

from typing import Any

import numpy as np
import pytest

from easel_worker.sdxl.samplers.config import SchedulerError
from easel_worker.sdxl.samplers.sampler import default_scheduler, make_table, offered

ALL = ("euler", "euler_karras", "euler_ancestral", "ddim", "dpmpp_2m", "dpmpp_2m_karras")
SDXL = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "clip_sample": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "skip_prk_steps": True,  # a key of PNDM in SDXL base's file, which no sampler reads
}


def test_sdxl_base_gets_all_schedulers_and_euler_by_default() -> None:
    assert offered(SDXL) == ALL
    assert default_scheduler(SDXL) == "euler"


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("EulerAncestralDiscreteScheduler", "euler_ancestral"),
        ("DDIMScheduler", "ddim"),
        ("DPMSolverMultistepScheduler", "dpmpp_2m"),
    ],
)
def test_the_class_decides_the_default(class_name: str, name: str) -> None:
    assert default_scheduler(SDXL | {"_class_name": class_name}) == name


def test_karras_sigmas_of_the_config_apply_to_the_plain_name() -> None:
    configured = make_table(SDXL | {"use_karras_sigmas": True}, "euler", 10)
    named = make_table(SDXL, "euler_karras", 10)
    assert np.array_equal(configured.timesteps, named.timesteps)
    assert not np.array_equal(configured.timesteps, make_table(SDXL, "euler", 10).timesteps)


def test_the_refusal_of_an_unknown_class_lists_the_known_ones() -> None:
    with pytest.raises(SchedulerError, match=r"'LCMScheduler'.*EulerDiscreteScheduler"):
        default_scheduler(SDXL | {"_class_name": "LCMScheduler"})


def test_the_refusal_of_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SchedulerError, match="'heun': choose one of euler, "):
        make_table(SDXL, "heun", 10)


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"use_exponential_sigmas": True}, {"euler", "dpmpp_2m"}),
        ({"interpolation_type": "log_linear"}, {"euler"}),
        ({"timestep_type": "continuous"}, {"euler"}),
        ({"clip_sample": True}, {"ddim"}),
        ({"thresholding": True}, {"ddim", "dpmpp_2m"}),
        ({"algorithm_type": "sde-dpmsolver++"}, {"dpmpp_2m"}),
        ({"solver_order": 3}, {"dpmpp_2m"}),
        ({"prediction_type": "sample"}, {"euler_ancestral"}),
        ({"prediction_type": "flow_prediction"}, set(ALL)),
        ({"timestep_spacing": "random"}, set(ALL)),
        ({"beta_schedule": "sigmoid"}, set(ALL)),
    ],
)
def test_a_sampler_refuses_unsupported_values_of_keys_that_it_reads(
    change: dict[str, Any], lost: set[str]
) -> None:
    config = SDXL | change
    for name in ALL:
        if name.removesuffix("_karras") in lost or name in lost:
            (key,) = change
            with pytest.raises(SchedulerError, match=rf"{key}=.*set it to"):
                make_table(config, name, 10)
        else:
            make_table(config, name, 10)
    assert set(offered(config)) == {n for n in ALL if not {n, n.removesuffix("_karras")} & lost}


def test_the_refusal_of_a_default_value_says_that_it_is_the_default() -> None:
    without = {key: value for key, value in SDXL.items() if key != "clip_sample"}
    with pytest.raises(SchedulerError, match="clip_sample=True is DDIMScheduler's default"):
        make_table(without | {"_class_name": "DDIMScheduler"}, "ddim", 10)
    make_table(without, "ddim", 10)  # a file for another class, which has no such key


def test_ddim_refuses_epsilon_at_zero_terminal_snr() -> None:
    config = SDXL | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    with pytest.raises(SchedulerError, match="rescale_betas_zero_snr"):
        make_table(config, "ddim", 10)
    make_table(config | {"prediction_type": "v_prediction"}, "ddim", 10)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_step_counts_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="choose 1 to 1000"):
        make_table(SDXL, "euler", steps)


def test_ddim_refuses_a_first_timestep_beyond_training() -> None:
    with pytest.raises(ValueError, match="1000 steps: the first timestep would be 1000"):
        make_table(SDXL, "ddim", 1000)  # leading spacing starts at timestep 1000 of 0 to 999


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_a_table_has_exactly_the_requested_steps(name: str, spacing: str) -> None:
    # With 61 and 103 trailing steps diffusers adds one more, at timestep -1.
    for steps in (61, 103, 250):
        table = make_table(SDXL | {"timestep_spacing": spacing}, name, steps)
        assert table.timesteps.shape == (steps,)
        assert np.all(np.diff(table.timesteps) <= 0)
        assert table.timesteps[-1] >= 0
        assert np.all(np.isfinite(table.coefficients))


@pytest.mark.parametrize("name", ALL)
def test_samples_keep_unit_variance(name: str) -> None:
    """A model that predicts the noise exactly leads back to the image, which has variance 1."""
    table = make_table(SDXL | {"prediction_type": "v_prediction"}, name, 30)
    generator = np.random.default_rng(0)
    image, noise = generator.standard_normal((2, 10_000))
    sample, previous = table.initial * noise, np.zeros(10_000)
    assert table.initial == pytest.approx(1.0, abs=0.005)
    for step in range(30):
        at = table.at(step)
        alpha, sigma = at.data_sample, -at.data_output  # for v-prediction
        assert alpha**2 + sigma**2 == pytest.approx(1.0, abs=1e-6)
        implied = (sample - alpha * image) / sigma
        velocity = alpha * implied - sigma * image
        fresh = generator.standard_normal(10_000)
        kept = at.next_sample * sample + at.next_output * velocity
        sample = kept + at.next_previous * previous + at.next_noise * fresh
        previous = at.data_sample * (alpha * image + sigma * implied) + at.data_output * velocity
    np.testing.assert_allclose(sample, image, atol=2e-3)
