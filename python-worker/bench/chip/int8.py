"""Whether the int8 kernels round on the device as the host does.

    python -m bench.chip.int8                                          (in python-worker/)

The same check as of a worker with `QUANTIZATION=int8`. Without a TPU the kernel is interpreted.
Prints one JSON object: how many values were tried, how many differ, and the first that does.
"""

import json
from dataclasses import replace
from typing import Any

import jax

from easel_worker.sdxl.model.kernel_options import FAST
from easel_worker.sdxl.serving.int8_check import rounding


def check() -> dict[str, Any]:
    """Round on the first device and on the host, and compare."""
    interpret = jax.default_backend() != "tpu"
    found = rounding(replace(FAST, interpret=interpret), jax.devices()[0])
    result: dict[str, Any] = {"tried": found.tried, "wrong": found.wrong}
    return result if found.first is None else result | {"first": found.first._asdict()}


if __name__ == "__main__":
    print(json.dumps(check()))
