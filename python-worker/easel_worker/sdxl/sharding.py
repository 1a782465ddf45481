"""Where arrays live: one mesh axis, `data`, over which rows are split and weights are copied."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from easel_worker.sdxl.params import Param
from easel_worker.sdxl.weights import Put

DATA = "data"

WHOLE = PartitionSpec()  # type: ignore[no-untyped-call]
"""Every device has a copy."""

BY_LANE = PartitionSpec(DATA)  # type: ignore[no-untyped-call]
"""The first dimension is split over the devices."""


def make_mesh(devices: Sequence[jax.Device]) -> Mesh:
    """All devices on the data axis."""
    return Mesh(np.asarray(devices), (DATA,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on each device of the mesh."""
    return NamedSharding(mesh, WHOLE)


def replicate(mesh: Mesh) -> Put:
    """How to place weights: a copy on each device of the mesh."""
    everywhere = replicated(mesh)

    def put(array: NDArray[Any], _: Param) -> jax.Array:
        placed: jax.Array = jax.device_put(array, everywhere)
        return placed

    return put
