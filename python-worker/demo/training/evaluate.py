"""Evaluates a model folder with diffusers' own pipeline, without a worker or a gateway."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline

from demo.evaluation.report import Generate, Image
from demo.evaluation.run import add_options, run

_BATCH = 10


def from_diffusers(folder: Path, guidance: float | None = None) -> Generate:
    """Return a generator that runs diffusers' own pipeline on a model folder."""
    settings = json.loads((folder / "easel.json").read_text())["defaults"]
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    def generate(prompts: list[str], seeds: list[int]) -> list[Image]:
        images: list[Image] = []
        for start in range(0, len(prompts), _BATCH):
            chosen = slice(start, start + _BATCH)
            floats = pipeline(
                prompts[chosen],
                generator=[torch.Generator().manual_seed(seed) for seed in seeds[chosen]],
                num_inference_steps=settings["num_inference_steps"],
                guidance_scale=settings["guidance_scale"] if guidance is None else guidance,
                width=settings["width"],
                height=settings["height"],
                output_type="np",
            ).images
            images += list(np.rint(np.clip(floats, 0, 1) * 255).astype(np.uint8))
        return images

    return generate


def main() -> int:
    """Run the evaluation; the exit code is 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../models/demo"))
    parser.add_argument("--guidance", type=float, help="instead of the folder's default")
    add_options(parser)
    options = parser.parse_args()
    return run(from_diffusers(options.folder, options.guidance), options)


if __name__ == "__main__":
    sys.exit(main())
