"""Golden files: outputs of diffusers and transformers, so that comparing needs no torch.

A golden file has configs, the names and shapes of all tensors, inputs and outputs, but no weights:
names and shapes determine them (see `synthetic.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from parity import synthetic

Arrays = dict[str, NDArray[Any]]
Shapes = dict[str, tuple[int, ...]]

SHARDS = 3
STEMS = {
    "text_encoder": "model",
    "text_encoder_2": "model",
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
}


@dataclass(frozen=True)
class Golden:
    """The reference's inputs and outputs for one case.

    Attributes:
        stamp: the versions and the command that made it.
        stored: dtype of the weights.
        gain: scale of the weights, see `synthetic.weight`.
        files: the folder's JSON files by path.
        shapes: all tensors of each part.
        inputs: see `reference.inputs`.
        outputs: see `reference.run`.
    """

    name: str
    stamp: dict[str, str]
    stored: str
    gain: float
    files: dict[str, Any]
    shapes: dict[str, Shapes]
    inputs: Arrays
    outputs: Arrays

    def save(self, folder: Path) -> None:
        """Write NAME.json (readable by people) and NAME.npz."""
        head: dict[str, Any] = {
            "stamp": self.stamp,
            "stored": self.stored,
            "gain": self.gain,
            "files": self.files,
        }
        (folder / f"{self.name}.json").write_text(json.dumps(head, indent=1) + "\n")
        arrays = {f"inputs/{name}": value for name, value in self.inputs.items()}
        arrays |= {f"outputs/{name}": value for name, value in self.outputs.items()}
        for part, shapes in self.shapes.items():
            lines = [" ".join([name, *map(str, shape)]) for name, shape in shapes.items()]
            arrays[f"shapes/{part}"] = np.array(lines)
        np.savez_compressed(folder / f"{self.name}.npz", allow_pickle=False, **arrays)

    def weights(self, part: str) -> Arrays:
        """Return the part's weights, by the reference's tensor names."""
        return {
            name: synthetic.weight(name, shape, self.gain).astype(self.stored)
            for name, shape in self.shapes[part].items()
        }


def load(folder: Path, name: str) -> Golden:
    """Read the files that `Golden.save` wrote."""
    head = json.loads((folder / f"{name}.json").read_text())
    groups: dict[str, Arrays] = {"inputs": {}, "outputs": {}, "shapes": {}}
    with np.load(folder / f"{name}.npz") as arrays:
        for key, value in arrays.items():
            group, _, own = key.partition("/")
            groups[group][own] = value
    shapes = {part: dict(map(_parse, lines)) for part, lines in groups["shapes"].items()}
    return Golden(
        name=name, shapes=shapes, inputs=groups["inputs"], outputs=groups["outputs"], **head
    )


def _parse(line: str) -> tuple[str, tuple[int, ...]]:
    name, *sizes = str(line).split(" ")
    return name, tuple(map(int, sizes))


def write_folder(golden: Golden, folder: Path, *, sharded: bool, older_names: bool) -> None:
    """Write the golden's model as a diffusers folder.

    Args:
        golden: the model and its weights.
        folder: the folder to write.
        sharded: write several files and an index for each part, instead of one file.
        older_names: name tensors as the libraries' releases of 2023 did.
    """
    for path, content in golden.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(json.dumps(content))
    for part in golden.shapes:
        weights = golden.weights(part)
        if older_names:
            weights = with_older_names(part, weights)
        variant = ".fp16" if golden.stored == "float16" else ""
        write = write_shards if sharded else write_single
        write(folder / part, STEMS[part], variant, weights)


def with_older_names(part: str, weights: Mapping[str, NDArray[Any]]) -> Arrays:
    """Rename tensors as in the first SDXL checkpoints, and add their buffer of positions."""
    renamed = dict(weights)
    if part == "text_encoder":
        renamed = {f"text_model.{name}": value for name, value in renamed.items()}
    if part.startswith("text_encoder"):
        positions = renamed["text_model.embeddings.position_embedding.weight"].shape[0]
        renamed["text_model.embeddings.position_ids"] = np.arange(positions)[None]
    if part == "vae":
        for new, old in (
            ("to_q", "query"),
            ("to_k", "key"),
            ("to_v", "value"),
            ("to_out.0", "proj_attn"),
        ):
            renamed = {name.replace(f".{new}.", f".{old}."): v for name, v in renamed.items()}
    return renamed


def write_single(folder: Path, stem: str, variant: str, weights: Arrays) -> None:
    """Write one safetensors file."""
    save_file(weights, folder / f"{stem}{variant}.safetensors")


def write_shards(folder: Path, stem: str, variant: str, weights: Arrays) -> None:
    """Write several safetensors files and their index, named as diffusers names them."""
    names = sorted(weights)
    weight_map: dict[str, str] = {}
    for i in range(SHARDS):
        file = f"{stem}{variant}-{i + 1:05}-of-{SHARDS:05}.safetensors"
        own = names[i::SHARDS]
        save_file({name: weights[name] for name in own}, folder / file)
        weight_map |= dict.fromkeys(own, file)
    index = f"{stem}.safetensors.index{variant}.json"
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
