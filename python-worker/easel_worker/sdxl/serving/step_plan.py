"""Plans how each step of an image is computed. Pure; the host plans once, when an image starts."""

from typing import NamedTuple

from easel_worker.engine import ImageSpec


class PlannedStep(NamedTuple):
    """How one step is computed.

    Attributes:
        guided: with two rows, or else with the prompt's row alone.
        cached: only the top level, over the deep feature of the last full step; or else the step is
            full: it computes all of the UNet.
    """

    guided: bool
    cached: bool


def plan_steps(spec: ImageSpec) -> tuple[PlannedStep, ...]:
    """All steps of an image, in order.

    A step is full if the last full one was `spec.cache_interval` steps ago, and where guidance
    begins or ends, because the deep feature has as many rows as the step that made it.

    https://arxiv.org/abs/2312.00858, section 3.2
    """
    plan: list[PlannedStep] = []
    last_full = 0
    for step in range(spec.steps):
        guided = step in spec.guided_steps
        fits = step > 0 and plan[-1].guided is guided
        cached = fits and step - last_full < spec.cache_interval
        if not cached:
            last_full = step
        plan.append(PlannedStep(guided, cached))
    return tuple(plan)
