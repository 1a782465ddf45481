"""Writes a random SDXL base as a diffusers folder: `python -m parity.fullsize.checkpoint FOLDER`.

Names, shapes and dtype are those of the published fp16 variant. The published UNet is one file;
here it is in shards with an index, as diffusers' `save_pretrained` writes them, because that is
the harder layout to read.
"""

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.model.params import Param, declared
from parity import synthetic
from parity.fullsize import single_file
from parity.golden import STEMS
from parity.ours import declare

MODELS = Path(__file__).parents[3] / "models"
CONFIGS = MODELS / "sdxl-base-config"

SHARD_BYTES = 2 * 10**9
STORED = np.dtype(np.float16)

PREFERENCES = {"defaults": {"width": 256, "height": 256, "num_inference_steps": 2}}
"""Small enough for CPUs: SDXL base's own 1024x1024 would take minutes per step."""


def write(folder: Path) -> None:
    """Write the folder, completely or not at all, unless it exists.

    Takes about 7 GB of disk and 3 GB of memory.
    """
    if folder.exists():
        return
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(CONFIGS, partial)
    (partial / "easel.json").write_text(json.dumps(PREFERENCES))
    for part, tree in declare(load_config(CONFIGS)).items():
        print(f"writing {part}", flush=True)
        write_part(partial / part, STEMS[part], declared(tree), SHARD_BYTES)
    partial.rename(folder)


def write_single(folder: Path) -> None:
    """Write a folder with a single file and easel.json, unless it exists."""
    if folder.exists():
        return
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / "easel.json").write_text(json.dumps(PREFERENCES))
    single_file.write(partial / "sdxl-base-random.safetensors", load_config(CONFIGS))
    partial.rename(folder)


def write_part(folder: Path, stem: str, params: Sequence[Param], shard_bytes: int) -> None:
    """Write a part's weights as the fp16 variant: one file, or shards and their index."""
    shards = list(split(params, shard_bytes))
    if len(shards) == 1:
        _save(folder / f"{stem}.fp16.safetensors", shards[0])
        return
    placed = {}
    for number, shard in enumerate(shards, 1):
        name = f"{stem}.fp16-{number:05}-of-{len(shards):05}.safetensors"
        _save(folder / name, shard)
        placed |= {param.name: name for param in shard}
    index = {
        "metadata": {"total_size": sum(_bytes(param) for param in params)},
        "weight_map": dict(sorted(placed.items())),
    }
    text = json.dumps(index, indent=2) + "\n"
    (folder / f"{stem}.safetensors.index.fp16.json").write_text(text)


def split(params: Sequence[Param], most: int) -> Iterator[list[Param]]:
    """Split parameters into runs of at most `most` bytes, or of a single larger parameter."""
    shard: list[Param] = []
    for param in params:
        if shard and sum(map(_bytes, shard)) + _bytes(param) > most:
            yield shard
            shard = []
        shard.append(param)
    yield shard


def _bytes(param: Param) -> int:
    return param.size * STORED.itemsize


def _save(path: Path, params: Sequence[Param]) -> None:
    tensors = {p.name: synthetic.weight(p.name, p.stored, gain=1.0).astype(STORED) for p in params}
    save_file(tensors, path, metadata={"format": "pt"})


def main() -> None:
    """Write to the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--single-file", action="store_true", help="write a single file instead")
    arguments = parser.parse_args()
    (write_single if arguments.single_file else write)(arguments.folder)


if __name__ == "__main__":
    main()
