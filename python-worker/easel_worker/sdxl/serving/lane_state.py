"""A lane's arrays as bytes, for another worker that computes the same numbers.

The bytes are those of the sample and the last predictions, and of the deep feature where the next
step needs it, without shapes: the worker that continues knows which arrays the image has there.
"""

import math
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Sharding

from easel_worker.engine import BadState, LaneState
from easel_worker.sdxl.serving.lanes import SdxlLane
from easel_worker.sdxl.serving.program_set import ProgramSet

T = TypeVar("T")


def save(lane: SdxlLane, most: int) -> LaneState | None:
    """See `Engine.save`.

    A deep feature is a hundred times larger than the rest. Where it does not fit, the state is that
    before the step that made it, and the worker that continues does that step again. An image that
    forecasts deep features needs two, and is not saved.
    """
    if lane.seen or not lane.settle():
        return None
    arrays = (lane.state, lane.deep)
    if nbytes(arrays) <= most:
        return LaneState(lane.evaluation, lane.step, _bytes(arrays))
    if lane.before_deep is None:
        return None
    evaluation, state = lane.before_deep
    if not evaluation or nbytes(state) > most:
        return None
    return LaneState(evaluation, lane.step_at(evaluation), _bytes(state))


def load(lane: SdxlLane, saved: LaneState, programs: ProgramSet, everywhere: Sharding) -> None:
    """Put a lane that has just begun where a saved one was.

    Args:
        lane: made by `Runner.start` of an equal spec.
        saved: its state.
        programs: those of the model.
        everywhere: the sharding of arrays.

    Raises:
        BadState: the state does not fit.
    """
    if not 0 < saved.evaluation <= lane.evaluations:
        raise BadState(f"evaluation {saved.evaluation} of {lane.evaluations}")
    if saved.step != lane.step_at(saved.evaluation):
        raise BadState(f"step {saved.step} is not that of evaluation {saved.evaluation}")
    begun, lane.evaluation = lane.evaluation, saved.evaluation
    cached = lane.evaluation < lane.evaluations and lane.next.cached
    deep = programs.deep(lane.size, guided=lane.next.guided) if cached else None
    shapes = (lane.state, deep)
    if len(saved.data) != nbytes(shapes):
        lane.evaluation = begun
        raise BadState(f"{len(saved.data)} bytes, and the image has {nbytes(shapes)}")
    lane.state, lane.deep = jax.device_put(_arrays(shapes, saved.data), everywhere)


def nbytes(arrays: Any) -> int:
    """The bytes of a pytree of arrays, or of their shapes."""
    return sum(math.prod(a.shape) * np.dtype(a.dtype).itemsize for a in jax.tree.leaves(arrays))


def _bytes(arrays: Any) -> bytes:
    return b"".join(np.asarray(array).tobytes() for array in jax.tree.leaves(arrays))


def _arrays(shapes: T, data: memoryview | bytes) -> T:
    """A pytree of arrays of these shapes and dtypes."""
    leaves, structure = jax.tree.flatten(shapes)
    arrays, at = [], 0
    for leaf in leaves:
        count = math.prod(leaf.shape)
        arrays.append(np.frombuffer(data, leaf.dtype, count, at).reshape(leaf.shape))
        at += arrays[-1].nbytes
    made: T = jax.tree.unflatten(structure, arrays)
    return made
