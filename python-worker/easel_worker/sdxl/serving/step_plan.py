"""How each step of an image is made. Pure: decided on the host, once, when the image begins."""

from typing import NamedTuple

from easel_worker.engine import ImageSpec


class PlannedStep(NamedTuple):
    """How one step is made.

    Attributes:
        guided: by two rows; or of the prompt's row alone.
        cached: only the top level is computed, over the deep feature of the last whole step; or the
            step is whole.
    """

    guided: bool
    cached: bool


def plan_steps(spec: ImageSpec) -> tuple[PlannedStep, ...]:
    """All steps of an image, in order.

    A step is whole when the last whole one is `spec.cache_interval` steps ago, and when guidance
    begins or ends: the deep feature has as many rows as the step that made it.

    https://arxiv.org/abs/2312.00858, section 3.2
    """
    plan: list[PlannedStep] = []
    last_whole = 0
    for step in range(spec.steps):
        guided = step in spec.guided_steps
        fits = step > 0 and plan[-1].guided is guided
        cached = fits and step - last_whole < spec.cache_interval
        if not cached:
            last_whole = step
        plan.append(PlannedStep(guided, cached))
    return tuple(plan)
