"""How each step of an image is made. Pure: decided on the host, once, when the image begins."""

from typing import NamedTuple

from easel_worker.engine import Job


class PlannedStep(NamedTuple):
    """One step: `guided` by two rows, or of the prompt's row alone."""

    guided: bool


def plan_steps(job: Job) -> tuple[PlannedStep, ...]:
    """All steps of an image, in order."""
    return tuple(PlannedStep(step in job.guided_steps) for step in range(job.steps))
