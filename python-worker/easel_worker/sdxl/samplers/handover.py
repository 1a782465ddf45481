"""Divides an image's schedule between a model and a refiner, as diffusers' `denoising_end` does.

diffusers runs two pipelines, each with the whole schedule. The first one does the evaluations
whose timestep is at least a cut-off:
https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py#L1171
The second one does those below it:
https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_img2img.py#L661
"""

from dataclasses import replace
from typing import Any

import numpy as np

from easel_worker.sdxl.samplers.table import Coefficients, Levels, Table


def first_of_refiner(whole: Table, cutoff: int, *, second_order: bool) -> int:
    """The row of a whole schedule at which the refiner begins; as many as there are if none is its.

    A step of second order begins at the first of its two evaluations, so the refiner may do again
    the evaluation that was the model's last.
    """
    left = int(np.count_nonzero(whole.timesteps < cutoff))
    if left and second_order and left % 2 == 0:
        left += 1
    return len(whole.timesteps) - left


def join(model: Table, refiner: Table, *, whole: Table, cutoff: int) -> Table:
    """The table of an image that a refiner finishes.

    Args:
        model: the model's table, from the image's first row to the schedule's end.
        refiner: the refiner's, from its first row to the end: it has no earlier predictions.
        whole: the table of the whole schedule.
        cutoff: the least timestep of the model.

    Raises:
        ValueError: one of the two has nothing to do.
    """
    rows = len(whole.timesteps)
    first = rows - len(model.timesteps)
    done = int(np.count_nonzero(model.timesteps >= cutoff))
    if not done or not len(refiner.timesteps):
        who, change = ("refiner", "lower") if done else ("model", "higher")
        raise ValueError(
            f"denoising_end leaves no step to the {who}: choose a {change} one, or more steps"
        )
    start, end = rows - len(refiner.timesteps), first + done
    # In diffusers a sample has another scale for each level of noise, and the refiner takes the
    # model's last one for a sample of the level at which it begins.
    scale = whole.noised.alpha[start] / whole.noised.alpha[end]
    mine = Coefficients(*(_scaled(column[:done], name, scale) for name, column in _named(model)))
    return replace(
        model,
        timesteps=np.concatenate([model.timesteps[:done], refiner.timesteps]),
        coefficients=Coefficients(
            *(np.concatenate(both) for both in zip(mine, refiner.coefficients, strict=True))
        ),
        noised=Levels(
            np.concatenate([model.noised.alpha[:done], refiner.noised.alpha]),
            np.concatenate([model.noised.sigma[:done], refiner.noised.sigma]),
        ),
        handover=done,
        repeated=end - start,
    )


def _named(table: Table) -> "zip[tuple[str, Any]]":
    return zip(Coefficients._fields, table.coefficients, strict=True)


def _scaled(column: Any, name: str, scale: float) -> Any:
    """A column whose last value is of a sample at another scale; images have none."""
    if not name.startswith("next") or scale == 1.0:
        return column
    scaled = column.copy()
    scaled[-1] = np.float32(np.float64(column[-1]) * scale)
    return scaled
