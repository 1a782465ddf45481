"""The samplers' names, limits and refusals. test_sampler_parity compares their numbers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from easel_worker.sdxl.samplers.config import SchedulerError
from easel_worker.sdxl.samplers.sampler import (
    make_table,
    needs_older,
    offered,
    own_scheduler,
    second_order,
    unspaced,
)
from easel_worker.sdxl.samplers.schedule import Schedule
from easel_worker.sdxl.samplers.table import Table
from parity.schedulers.cases import EDM_SCHEDULERS, SCHEDULERS

EDM_ALL = ("edm_euler", "edm_dpmpp_2m", "edm_dpmpp_2m_sde", "edm_dpmpp_3m")
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
EDM = {"_class_name": "EDMDPMSolverMultistepScheduler", "sigma_data": 0.5, "rho": 7.0}
ALL = offered(SDXL)


def test_sdxl_base_gets_all_schedulers_and_euler_by_default() -> None:
    assert set(offered(SDXL)) == set(SCHEDULERS)
    assert own_scheduler(SDXL) == "euler"


@pytest.mark.parametrize(
    ("class_name", "name"),
    [
        ("EulerAncestralDiscreteScheduler", "euler_ancestral"),
        ("DDIMScheduler", "ddim"),
        ("DDIMParallelScheduler", "ddim"),
        ("DDPMScheduler", "ddpm"),
        ("DPMSolverMultistepScheduler", "dpmpp_2m"),
        ("DPMSolverSinglestepScheduler", "dpmpp_2s"),
        ("HeunDiscreteScheduler", "heun"),
        ("KDPM2DiscreteScheduler", "dpm2"),
        ("KDPM2AncestralDiscreteScheduler", "dpm2_ancestral"),
        ("LCMScheduler", "lcm"),
        ("TCDScheduler", "tcd"),
        ("UniPCMultistepScheduler", "unipc"),
    ],
)
def test_the_class_decides_the_default(class_name: str, name: str) -> None:
    assert own_scheduler(SDXL | {"_class_name": class_name}) == name


def test_karras_sigmas_of_the_config_apply_to_the_plain_name() -> None:
    configured = make_table(SDXL | {"use_karras_sigmas": True}, "euler", 10)
    named = make_table(SDXL, "euler_karras", 10)
    assert np.array_equal(configured.timesteps, named.timesteps)
    assert not np.array_equal(configured.timesteps, make_table(SDXL, "euler", 10).timesteps)


def test_the_refusal_of_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(SchedulerError, match="'dpmpp_4m': choose one of euler, "):
        make_table(SDXL, "dpmpp_4m", 10)


DPM_SOLVER = {name for name in ALL if name.startswith(("dpmpp_2m", "dpmpp_3m"))}
NOT_EULER = {name for name in ALL if not name.startswith("euler") or "ancestral" in name}
SECOND_ORDER = {name for name in ALL if name.startswith(("heun", "dpm2"))}
SINGLESTEP = {name for name in ALL if name.startswith("dpmpp_2s")}
UNIPC = {name for name in ALL if name.startswith("unipc")}
BOUNDED = {"ddim", "ddpm", "lcm", "tcd"}
UNSPACED = SINGLESTEP | {"lcm", "tcd"}


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"interpolation_type": "log_linear"}, {n for n in ALL if n not in NOT_EULER}),
        ({"timestep_type": "continuous"}, NOT_EULER),
        ({"clip_sample": True}, BOUNDED | {"heun", "heun_karras"}),
        ({"thresholding": True}, BOUNDED | DPM_SOLVER | SINGLESTEP | UNIPC),
        ({"algorithm_type": "dpmsolver"}, DPM_SOLVER | SINGLESTEP),
        ({"use_lu_lambdas": True}, DPM_SOLVER | SINGLESTEP),
        ({"solver_order": 3}, SINGLESTEP | UNIPC),
        ({"solver_order": 4}, DPM_SOLVER | SINGLESTEP | UNIPC),
        (
            {"prediction_type": "sample"},
            {"euler_ancestral", "dpm2", "dpm2_karras", "dpm2_ancestral", "dpm2_ancestral_karras"},
        ),
        ({"variance_type": "learned"}, {"ddpm"} | DPM_SOLVER | SINGLESTEP),
        ({"timestep_spacing": "random"}, set(ALL) - UNSPACED),
        ({"beta_schedule": "sigmoid"}, set(ALL)),
    ],
)
def test_a_sampler_refuses_unsupported_values_of_keys_that_it_reads(
    change: dict[str, Any], lost: set[str]
) -> None:
    config = SDXL | change
    for name in ALL:
        if name in lost:
            (key,) = change
            with pytest.raises(SchedulerError, match=rf"{key}=.*set it to"):
                make_table(config, name, 10)
        else:
            make_table(config, name, 10)
    assert set(offered(config)) == set(ALL) - lost


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "flow matching"),
        ({"shift": 3.0}, "shift=3.0 .* flow matching"),
        ({"prediction_type": "flow_prediction"}, "flow matching"),
        ({"use_flow_sigmas": True}, "flow matching"),
        ({"use_dynamic_shifting": True}, "flow matching"),
        ({"sigma_data": 0.5}, "sigma_data=0.5 .* EDM's preconditioning.*set _class_name to"),
        ({"rho": 7.0}, "rho=7.0 .* EDM's preconditioning"),
        ({"sigma_schedule": "karras"}, "EDM's preconditioning"),
        ({"_class_name": "CMStochasticIterativeScheduler"}, "consistency models"),
    ],
)
def test_no_sampler_runs_a_model_that_was_trained_in_another_way(
    change: dict[str, Any], why: str
) -> None:
    assert offered(SDXL | change) == ()
    for name in (*ALL, *EDM_ALL):
        with pytest.raises(SchedulerError):
            make_table(SDXL | change, name, 10)
    with pytest.raises(SchedulerError, match=why):
        make_table(SDXL | change, "euler", 10)


@pytest.mark.parametrize("betas", [{}, {"beta_schedule": "scaled_linear", "beta_end": 0.012}])
def test_an_edm_model_gets_the_edm_samplers_alone(betas: dict[str, Any]) -> None:
    assert offered(EDM | betas) == EDM_ALL
    assert own_scheduler(EDM | betas) == "edm_dpmpp_2m"
    assert own_scheduler(EDM | {"_class_name": "EDMEulerScheduler"}) == "edm_euler"
    with pytest.raises(SchedulerError, match="use edm_euler or edm_dpmpp_2m"):
        make_table(EDM | betas, "euler", 10)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"algorithm_type": "sde-dpmsolver++"}, "dpmpp_2m_sde"),
        ({"solver_order": 3}, "dpmpp_3m"),
        ({"solver_order": 3, "algorithm_type": "sde-dpmsolver++"}, "dpmpp_3m_sde"),
        ({"solver_order": 1, "algorithm_type": "deis"}, "dpmpp_2m"),
    ],
)
def test_algorithm_and_order_decide_the_default_of_dpm_solver(
    change: dict[str, Any], name: str
) -> None:
    assert own_scheduler(SDXL | {"_class_name": "DPMSolverMultistepScheduler"} | change) == name


@pytest.mark.parametrize("name", sorted(SECOND_ORDER | SINGLESTEP))
def test_a_sampler_that_ignores_zero_terminal_snr_is_refused(name: str) -> None:
    with pytest.raises(SchedulerError, match="rescale_betas_zero_snr=True"):
        make_table(
            SDXL | {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}, name, 10
        )


def test_only_one_kind_of_sigmas_may_be_on() -> None:
    both = SDXL | {"use_karras_sigmas": True, "use_beta_sigmas": True}
    with pytest.raises(SchedulerError, match="use_karras_sigmas and use_beta_sigmas are true"):
        make_table(both, "euler", 10)
    beta = make_table(both, "euler_beta", 10)  # the name decides
    assert np.array_equal(beta.timesteps, make_table(SDXL, "euler_beta", 10).timesteps)


def test_unipc_refuses_a_last_step_that_divides_by_zero() -> None:
    with pytest.raises(SchedulerError, match="lower_order_final"):
        make_table(SDXL | {"lower_order_final": False}, "unipc", 10)


@pytest.mark.parametrize(
    ("name", "schedule", "why"),
    [
        ("euler_ancestral", Schedule(timesteps=(900, 500, 100)), "takes no timesteps"),
        ("ddim", Schedule(sigmas=(9.0, 5.0, 1.0, 0.0)), "takes no sigmas"),
        ("euler", Schedule(eta=0.5), "euler takes no eta"),
        ("lcm", Schedule(timestep_spacing="trailing"), "takes no timestep_spacing"),
        ("euler_karras", Schedule(timesteps=(900, 500, 100)), "because it spaces sigmas"),
        ("euler", Schedule(timesteps=(900, 500)), "2 entries, one for each of 3 steps"),
        ("euler", Schedule(timesteps=(900, 900, 100)), "descending"),
        ("euler", Schedule(timesteps=(1000, 900, 100)), "0 to 999"),
        ("euler", Schedule(sigmas=(9.0, 5.0, 1.0)), "3 entries; 3 steps need 4"),
        ("euler", Schedule(sigmas=(9.0, 5.0, 6.0, 0.0)), "descending"),
        ("euler", Schedule(sigmas=(9.0, 5.0, 1.0, -1.0)), "0 or more"),
        (
            "euler",
            Schedule(timesteps=(900, 500, 100), sigmas=(9.0, 5.0, 1.0, 0.0)),
            "cannot be combined",
        ),
    ],
)
def test_a_request_gives_a_schedule_only_to_samplers_that_take_it(
    name: str, schedule: Schedule, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        make_table(SDXL, name, 3, schedule)


def test_a_requests_spacing_replaces_the_models() -> None:
    asked = make_table(SDXL, "euler", 10, Schedule(timestep_spacing="trailing"))
    configured = make_table(SDXL | {"timestep_spacing": "trailing"}, "euler", 10)
    assert np.array_equal(asked.timesteps, configured.timesteps)
    assert asked.initial == configured.initial


def test_lcm_has_no_more_steps_than_its_distillation() -> None:
    with pytest.raises(ValueError, match="choose 1 to 50"):
        make_table(SDXL, "lcm", 51)


def beginnings(table: Table, name: str) -> NDArray[np.float32]:
    """The timesteps at which steps begin; a second evaluation may lie beyond the step's end."""
    return table.timesteps[:: 2 if second_order((name,)) else 1]


@given(
    st.sampled_from([*SCHEDULERS, *EDM_SCHEDULERS]),
    st.integers(1, 50),
    st.sampled_from(["leading", "trailing", "linspace"]),
    st.sampled_from(["epsilon", "v_prediction"]),
    st.sampled_from(["zero", "sigma_min"]),
)
def test_every_table_is_finite_and_its_timesteps_fall(
    name: str, steps: int, spacing: str, prediction: str, final: str
) -> None:
    base = EDM if name in EDM_SCHEDULERS else SDXL
    table = make_table(
        base
        | {"timestep_spacing": spacing, "prediction_type": prediction, "final_sigmas_type": final},
        name,
        steps,
    )
    evaluations = 2 * steps - 1 if second_order((name,)) else steps
    assert table.timesteps.shape == (evaluations,)
    assert all(column.shape == (evaluations,) for column in table.coefficients)
    assert np.all(np.isfinite(table.coefficients))
    assert np.all(np.diff(beginnings(table, name)) <= 0)
    assert table.needs_older <= needs_older(name)
    # The first row has no earlier predictions, the second one only one.
    at = table.at(0)
    assert at.next_previous == 0
    assert np.all(table.coefficients.next_older[:2] == 0)


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


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("lcm", "tcd")])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_a_table_has_exactly_the_requested_steps(name: str, spacing: str) -> None:
    # With 61 and 103 trailing steps diffusers adds one more, at timestep -1.
    for steps in (61, 103, 250):
        table = make_table(SDXL | {"timestep_spacing": spacing}, name, steps)
        evaluations = 2 * steps - 1 if name in SECOND_ORDER else steps
        assert table.timesteps.shape == (evaluations,)
        assert np.all(np.diff(beginnings(table, name)) <= 0)
        assert table.timesteps[-1] >= 0
        assert np.all(np.isfinite(table.coefficients))


@pytest.mark.parametrize("name", ALL)
def test_samples_keep_unit_variance(name: str) -> None:
    """A model that predicts the noise exactly leads back to the image, which has variance 1."""
    table = make_table(SDXL | {"prediction_type": "v_prediction"}, name, 30)
    generator = np.random.default_rng(0)
    image, noise = generator.standard_normal((2, 10_000))
    sample, previous, older = table.initial * noise, np.zeros(10_000), np.zeros(10_000)
    assert table.initial == pytest.approx(1.0, abs=0.005)
    for row in range(len(table.timesteps)):
        at = table.at(row)
        alpha, sigma = at.data_sample, -at.data_output  # for v-prediction
        assert alpha**2 + sigma**2 == pytest.approx(1.0, abs=1e-6)
        implied = (sample - alpha * image) / sigma
        velocity = alpha * implied - sigma * image
        fresh = generator.standard_normal(10_000)
        kept = at.next_sample * sample + at.next_output * velocity
        sample = kept + at.next_previous * previous + at.next_noise * fresh + at.next_older * older
        older = previous
        previous = at.data_sample * (alpha * image + sigma * implied) + at.data_output * velocity
    if name == "tcd":  # ends at timestep 0, which has some noise left
        image = np.sqrt(0.99915) * image + np.sqrt(0.00085) * implied
    np.testing.assert_allclose(sample, image, atol=2e-3)


@pytest.mark.parametrize("name", ALL)
def test_the_samplers_that_are_said_to_take_no_spacing_take_none(name: str) -> None:
    spaced = Schedule(timestep_spacing="trailing")
    if unspaced((name,)):
        with pytest.raises(ValueError, match=f"{name} takes no timestep_spacing"):
            make_table(SDXL, name, 4, spaced)
    else:
        make_table(SDXL, name, 4, spaced)


def test_some_samplers_take_no_spacing() -> None:
    assert {"lcm", "tcd", "dpmpp_2s"} <= set(unspaced(ALL))
    assert "euler" not in unspaced(ALL)
