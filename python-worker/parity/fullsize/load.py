"""Loads a whole model in bfloat16 and stops: `python -m parity.fullsize.load MODEL`.

Prints one JSON object with the time and the peak memory that loading took.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from easel_worker.sdxl.folder.config import read_config
from easel_worker.sdxl.folder.files import locate
from easel_worker.sdxl.folder.model import Dtypes, load_params
from easel_worker.sdxl.serving import resolve
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.sharding import replicate
from parity.fullsize.memory import peak_bytes


def main() -> None:
    """Load the model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    files = locate(parser.parse_args().model)
    dtypes, put = Dtypes(jnp.bfloat16, jnp.bfloat16), replicate(resolve.mesh(Options()))
    started = time.perf_counter()
    params = load_params(files, read_config(files), dtypes, put, _say)
    arrays = jax.tree.leaves((params.text, params.unet, params.vae))
    jax.block_until_ready(arrays)
    found = {
        "weights_bytes": sum(array.nbytes for array in arrays),
        "load_s": time.perf_counter() - started,
        "load_peak_bytes": peak_bytes(),
    }
    print(json.dumps(found))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
