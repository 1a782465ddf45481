"""Times merging LoRAs into the UNet's weights, and how much memory many switches leave behind.

    python -m bench.card.loras MODEL FOLDER RANK [RANK …]                    (in python-worker/)

writes a random LoRA of each rank for a model's UNet: the linear layers of its transformers, under
PEFT's names.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from easel_worker.engine import LoraUse
from easel_worker.sdxl.folder.config import read_config
from easel_worker.sdxl.folder.files import locate
from easel_worker.sdxl.folder.shelf import Shelf
from easel_worker.sdxl.lora.file import Lora
from easel_worker.sdxl.lora.targets import UNET, declarations
from easel_worker.sdxl.model.params import declared
from easel_worker.sdxl.serving.adapters import Adapters


def time_loras(
    adapters: Adapters, shelf: Shelf[Lora], switches: int, memory: Callable[[], dict[str, int]]
) -> dict[str, Any]:
    """Merge each LoRA of a folder in turn, many times.

    Returns:
        For each the median time of a merge, and the bytes in use after the first switches and after
        the last one.
    """
    uses = [LoraUse(each.name, each.digest, 0.8, 0.0) for each in shelf.table.values()]
    times: dict[str, list[float]] = {use.name: [] for use in uses}
    early: dict[str, int] = {}
    for switch in range(switches):
        use = uses[switch % len(uses)]
        started = time.perf_counter()
        jax.block_until_ready(adapters.unet([use]).params)  # type: ignore[no-untyped-call]
        times[use.name].append(time.perf_counter() - started)
        if switch == 2 * len(uses):
            early = memory()
    return {
        "switches": switches,
        "merge_ms": {name: statistics.median(each) * 1000 for name, each in times.items() if each},
        "bytes_in_use_early": early.get("bytes_in_use"),
        "bytes_in_use_late": memory().get("bytes_in_use"),
    }


def write(model: Path, folder: Path, rank: int) -> None:
    """Write a LoRA of a rank for every linear layer of the UNet's transformers."""
    tensors = {}
    drawn = np.random.default_rng(rank)
    for param in declared(declarations(read_config(locate(model)))[UNET]):
        layer, _, leaf = param.name.rpartition(".")
        if "transformer_blocks" not in layer or leaf != "weight" or len(param.stored) != 2:
            continue
        outputs, inputs = param.stored
        scale = np.float32(0.1 / np.sqrt(rank * inputs))
        down = drawn.standard_normal((rank, inputs), np.float32) * scale
        up = drawn.standard_normal((outputs, rank), np.float32)
        tensors[f"unet.{layer}.lora_A.weight"] = down.astype(np.float16)
        tensors[f"unet.{layer}.lora_B.weight"] = up.astype(np.float16)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / f"rank-{rank}.safetensors")


def main() -> None:
    """Write the files that the command line names."""
    parser = argparse.ArgumentParser(prog="bench.card.loras", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("ranks", type=int, nargs="+")
    chosen = parser.parse_args()
    for rank in chosen.ranks:
        write(chosen.model, chosen.folder, rank)


if __name__ == "__main__":
    main()
