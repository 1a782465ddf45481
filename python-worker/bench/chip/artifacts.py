"""Tries the programs that `easel-compile --write` made on another machine.

    python -m bench.chip.artifacts MODEL FOLDER --side 1024            (in python-worker/)

Prints one JSON object: `refused`, the reason if the folder does not fit this machine, and `lines`,
what the worker would log for each program: whether it took it or had to compile it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax

from bench.card.ours import start
from easel_worker.sdxl.serving.artifacts import ArtifactError, UseArtifacts
from easel_worker.sdxl.serving.options import Options
from easel_worker.values import Size


def attempt(model: Path, folder: Path, size: Size) -> dict[str, Any]:
    """Take a model's programs from a folder where possible."""
    devices = jax.devices()[:1]
    options = Options(devices=devices, batch_lanes=(1,), sizes=(), max_prompt_chunks=1)
    lines: list[str] = []
    try:
        programs = UseArtifacts(folder, devices, lines.append)
    except ArtifactError as error:
        return {"refused": str(error), "lines": []}
    start(model, options, size, programs)
    return {"refused": None, "lines": lines}


def main() -> None:
    """Try, and print the result."""
    parser = argparse.ArgumentParser(prog="bench.chip.artifacts", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--side", default=1024, type=int)
    chosen = parser.parse_args()
    print(json.dumps(attempt(chosen.model, chosen.folder, Size(chosen.side, chosen.side))))


if __name__ == "__main__":
    main()
