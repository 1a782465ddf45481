"""How each step of an image is computed. Pure."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from easel_worker.engine import ImageSpec, Tokens
from easel_worker.sdxl.serving.step_plan import PlannedStep, plan_steps

PLAIN = ImageSpec(Tokens((0,), (0,)), None, 25, 5.0, "euler", 8, 8, seed=1)

shares = st.floats(0, 1)


@st.composite
def specs(draw: st.DrawFn) -> ImageSpec:
    start, end = sorted((draw(shares), draw(shares)))
    return replace(
        PLAIN,
        steps=draw(st.integers(1, 200)),
        guidance=draw(st.sampled_from([0.0, 1.0, 5.0])),
        guidance_start=start,
        guidance_end=end,
        cache_interval=draw(st.integers(1, 12)),
    )


def shown(plan: tuple[PlannedStep, ...]) -> str:
    """G and U for full steps, g and u for cached ones."""
    letters = {(True, False): "G", (True, True): "g", (False, False): "U", (False, True): "u"}
    return "".join(letters[step] for step in plan)


def test_examples() -> None:
    spec = replace(PLAIN, steps=10)
    assert shown(plan_steps(spec)) == "GGGGGGGGGG"
    assert shown(plan_steps(replace(spec, cache_interval=3))) == "GggGggGggG"
    assert shown(plan_steps(replace(spec, cache_interval=99))) == "Gggggggggg"
    part = replace(spec, guidance_start=0.2, guidance_end=0.7)
    assert shown(plan_steps(part)) == "UUGGGGGUUU"
    assert shown(plan_steps(replace(part, cache_interval=3))) == "UuGggGgUuu"


@given(specs())
def test_a_cached_step_follows_a_recent_full_step_with_as_many_rows(spec: ImageSpec) -> None:
    plan = plan_steps(spec)
    assert len(plan) == spec.steps
    assert [step for step, made in enumerate(plan) if made.guided] == list(spec.guided_steps)
    for step, made in enumerate(plan):
        if made.cached:
            whole = max(before for before in range(step) if not plan[before].cached)
            assert step - whole < spec.cache_interval
            assert all(other.guided is made.guided for other in plan[whole : step + 1])


@given(specs())
def test_as_few_steps_as_possible_are_full(spec: ImageSpec) -> None:
    plan = plan_steps(spec)
    for step in range(1, spec.steps):
        if not plan[step].cached:
            recent = plan[max(step - spec.cache_interval + 1, 0) : step]
            of_other_rows = plan[step - 1].guided is not plan[step].guided
            assert of_other_rows or all(made.cached for made in recent)


@given(specs())
def test_an_interval_of_one_caches_nothing(spec: ImageSpec) -> None:
    assert not any(step.cached for step in plan_steps(replace(spec, cache_interval=1)))
