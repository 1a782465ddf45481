"""What decides an image's bytes besides its request and the weights.

A worker continues the states of another one only if both have the same kind, so it has everything
in it that may change a number: also what would change it in images of other kinds only.
"""

import hashlib
import json
import os
from pathlib import Path

from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.describe import Description
from easel_worker.sdxl.serving.fingerprint import fingerprint
from easel_worker.sdxl.serving.options import Options

FORM = 1
"""The version of `lane_state`."""

CPU_INFO = Path("/proc/cpuinfo")


def state_kind(about: Description, options: Options) -> str:
    """SHA-256 (hex); see the module."""
    devices = resolve.devices(options)
    dtypes = resolve.dtypes(options)
    told = {
        "form": FORM,
        "platform": fingerprint(devices),
        "cpu": _cpu() if devices[0].platform == "cpu" else [],
        "dtypes": [_name(dtypes.model), _name(dtypes.vae), dtypes.int8],
        "kernels": str(resolve.kernel_options(options)),
        "lanes": [*resolve.lane_counts(options), options.split_guidance],
        "vae_tile": options.vae_tile,
        "states": [options.caching, about.keep_older],
        "embeddings": options.embeddings is not None,
        "controls": sorted({str(each.config) for each in about.controls}),
        "ip_adapters": sorted(str(each.shape) for each in about.ip_adapters),
        "scheduler": about.config.scheduler,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _name(dtype: object) -> str:
    return getattr(dtype, "__name__", str(dtype))


def _cpu() -> list[str]:
    """What XLA compiles for on a CPU: the cores that it splits sums among, and their abilities."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    # The first core's; x86 has "flags", Arm "Features" and the parts' numbers.
    kept = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU implementer", "CPU part")
    first: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in kept:
            first.setdefault(name.strip(), value.strip())
    return [str(cores), *(f"{name}={value}" for name, value in sorted(first.items()))]
