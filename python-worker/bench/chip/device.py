"""Prints as one JSON object what devices jax finds, and with which software.

python -m bench.chip.device                                        (in python-worker/)
"""

import json
import os
from typing import Any

import jax

from easel_worker.sdxl.serving.fingerprint import fingerprint


def describe() -> dict[str, Any]:
    """The devices, their memory in bytes (None where jax does not know it) and the versions."""
    devices = jax.devices()
    stats = devices[0].memory_stats() or {}
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "bytes_limit": stats.get("bytes_limit"),
        "host_cpus": os.cpu_count(),
        "fingerprint": fingerprint(devices),
    }


if __name__ == "__main__":
    print(json.dumps(describe()))
