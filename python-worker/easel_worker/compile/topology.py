"""Devices to compile for: this machine's, or those of a TPU that is not attached."""

import os
import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies

TOPOLOGIES = ("v5e:1x1", "v5e:2x2", "v5e:2x4", "v6e:1x1")
PRESENT = "present"

_ELSEWHERE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
"""Without these, libtpu asks the cloud's metadata server, or refuses a second process."""

_FLAGS = "LIBTPU_INIT_ARGS"


class TopologyError(ValueError):
    """The devices are not available. The message says what to do."""


def dump_flags(folder: Path | str) -> str:
    """libtpu's flags that make the compiler write each program's HLO and schedules to a folder."""
    return (
        f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true "
        "--xla_jf_dump_llo_pass_label_regex=.*final_bundles.*"
    )


def prepare(topology: str, dump: Path) -> None:
    """Set the environment variables that libtpu reads. Call before jax looks for devices.

    Args:
        topology: `PRESENT`, or one of `TOPOLOGIES`.
        dump: an existing folder, where the compiler writes programs and their schedules.
    """
    if find_spec("libtpu") is not None:
        os.environ[_FLAGS] = f"{os.environ.get(_FLAGS, '')} {dump_flags(dump)}".strip()
    if topology == PRESENT:
        return
    for name, value in _ELSEWHERE.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", _accelerator(topology))
    update: Callable[[str, Any], None] = jax.config.update
    update("jax_platforms", "cpu")


def flags() -> str:
    """libtpu's flags, without those that make it write schedules."""
    return " ".join(f for f in os.environ.get(_FLAGS, "").split() if "dump" not in f)


def devices(topology: str) -> list[jax.Device]:
    """The devices of a topology or of this machine.

    Raises:
        TopologyError: the topology is unknown, or libtpu is not installed.
    """
    if topology == PRESENT:
        return list(jax.devices())
    bounds = _bounds(topology)
    if find_spec("libtpu") is None:
        raise TopologyError(
            "compiling for a TPU that is not attached needs libtpu: "
            "pip install --require-hashes -r requirements-tpu.lock"
        )
    described = topologies.get_topology_desc(
        platform="tpu", topology_name=topology, chips_per_host_bounds=bounds
    )
    return list(described.devices)


def _bounds(topology: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"v\de:(\d+)x(\d+)", topology)
    if found is None:
        raise TopologyError(f"unknown topology {topology!r}: choose {', '.join(TOPOLOGIES)}")
    return int(found[1]), int(found[2]), 1


def _accelerator(topology: str) -> str:
    width, height, _ = _bounds(topology)
    name = "v5litepod" if topology.startswith("v5e") else "v6e"
    return f"{name}-{width * height}"
