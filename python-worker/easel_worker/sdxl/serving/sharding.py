"""How arrays are placed on devices.

Weights are copied to every device. Lanes are split over the mesh axis `data`; with split guidance
the two rows of a guided lane are split over the axis `pair`.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from easel_worker.sdxl.folder.weights import Put
from easel_worker.sdxl.model.params import Param

DATA, PAIR = "data", "pair"

WHOLE = PartitionSpec()  # type: ignore[no-untyped-call]
"""Every device has a copy."""

BY_LANE = PartitionSpec(DATA)  # type: ignore[no-untyped-call]
"""The first dimension is split over the data axis."""

BY_LANE_AND_ROW = PartitionSpec(DATA, PAIR)  # type: ignore[no-untyped-call]
"""The first dimension is split over the data axis, the second one over the pair axis."""

BY_LANE_EVERYWHERE = PartitionSpec((DATA, PAIR))  # type: ignore[no-untyped-call]
"""The first dimension is split over all devices."""


def make_mesh(devices: Sequence[jax.Device], *, split_guidance: bool = False) -> Mesh:
    """A mesh of all devices.

    Args:
        devices: the devices to run on.
        split_guidance: two devices share a guided lane and compute a row each.

    Raises:
        ValueError: split guidance was asked for with an odd number of devices.
    """
    pair = 2 if split_guidance else 1
    if len(devices) % pair:
        raise ValueError(
            f"split_guidance needs an even number of devices, not {len(devices)}: turn it off"
        )
    return Mesh(np.asarray(devices).reshape(-1, pair), (DATA, PAIR))


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on each device of the mesh."""
    return NamedSharding(mesh, WHOLE)


def replicate(mesh: Mesh) -> Put:
    """A function that places weights: a copy on each device of the mesh."""
    everywhere = replicated(mesh)

    def put(array: NDArray[Any], _: Param) -> jax.Array:
        placed: jax.Array = jax.device_put(array, everywhere)
        return placed

    return put
