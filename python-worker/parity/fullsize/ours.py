"""Compares one part of our model with diffusers.

    python -m parity.fullsize.ours MODEL REFERENCE PART DTYPE

Prints one JSON object. Each part runs in a process of its own, to measure its own peak memory.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.config import read_config
from easel_worker.sdxl.folder.files import locate
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.model.vae import Decoder
from parity.fullsize.inputs import inputs
from parity.fullsize.memory import peak_bytes
from parity.ours import declare, put
from parity.report import relative_rms

LIMITS = {"float32": 1e-5, "bfloat16": 4e-2}
"""The largest root mean square of the difference, relative to the reference's.

bfloat16 has 8 bits of precision, so each of the thousand or so roundings in a row is off by up to
0.4 %.
"""


def main() -> None:
    """Load the part, run it, compare its output and print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("part", choices=("unet", "vae"))
    parser.add_argument("dtype", choices=tuple(LIMITS))
    arguments = parser.parse_args()
    print(json.dumps(compare(**vars(arguments))))


def compare(model: Path, reference: Path, part: str, dtype: str) -> dict[str, Any]:
    """Return the table's figures for one part in one dtype."""
    files = locate(model)
    declared = declare(read_config(files))[part]
    started = time.perf_counter()
    params = weights.load(files.components[part].weights, declared, dtype, put)
    jax.block_until_ready(params)
    loaded = time.perf_counter()
    after_load = peak_bytes()
    output = run_unet(params) if part == "unet" else run_vae(params.decoder)
    with np.load(reference) as outputs:
        measured = relative_rms(output.transpose(0, 3, 1, 2), outputs[part])
    return {
        "part": part,
        "dtype": dtype,
        "measured": measured,
        "limit": LIMITS[dtype],
        "weights_bytes": sum(array.nbytes for array in jax.tree.leaves(params)),
        "load_s": loaded - started,
        "load_peak_bytes": after_load,
        "run_s": time.perf_counter() - loaded,
        "peak_bytes": peak_bytes(),
    }


def run_unet(unet: UNet) -> NDArray[np.float32]:
    """Return the UNet's prediction [1, h, w, 4]."""
    given = inputs()
    sample = given["sample"].transpose(0, 2, 3, 1)
    rest = [given[name] for name in ("timestep", "context", "pooled", "time_ids")]
    return np.asarray(_run(unet, sample, *rest).astype(jnp.float32))


def run_vae(decoder: Decoder) -> NDArray[np.float32]:
    """Return the decoded image [1, 8 h, 8 w, 3]."""
    latents = inputs()["latents"].transpose(0, 2, 3, 1)
    return np.asarray(_run(decoder, latents).astype(jnp.float32))


def _run(part: Callable[..., Any], *given: NDArray[Any]) -> Any:
    """Run the model compiled, with the parameters as arguments."""
    return jax.jit(lambda part, *given: part(*given))(part, *given)


if __name__ == "__main__":
    main()
