"""Measures what each input of an image adds in diffusers, on the same model and files.

    python -m bench.inputs.theirs MODEL FOLDER [--rounds 5]                  (in python-worker/)

Needs torch, diffusers and peft. FOLDER has the LoRAs that `bench.inputs.ours` wrote; diffusers
reads no LoHa. LoRAs are measured as diffusers applies them by default, beside the weights, and
fused into them. Prints one JSON object.
"""

import argparse
import json
import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    EulerDiscreteScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image

from bench.inputs import kinds
from bench.inputs.kinds import GUIDANCE, KINDS, SIDE, STEPS, STRENGTH, Inputs

SWITCHES = 20
LORA = "lora.safetensors"


def image(pipe: Any, inputs: Inputs, seed: int) -> dict[str, float]:
    """Make an image; the times of its start, of a step (median) and of its end, in ms."""
    given: dict[str, Any] = {"width": SIDE, "height": SIDE}
    if inputs.picture:
        given |= {"image": Image.fromarray(kinds.picture()), "strength": STRENGTH}
    if inputs.picture and not inputs.mask:
        del given["width"], given["height"]
    if inputs.mask:
        given["mask_image"] = Image.fromarray(kinds.mask()[..., 0])
    ticks: list[float] = []

    def tick(_pipe: Any, _step: int, _timestep: Any, kept: dict[str, Any]) -> dict[str, Any]:
        ticks.append(time.perf_counter())
        return kept

    started = time.perf_counter()
    pipe(
        "",
        negative_prompt="",
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(seed),
        callback_on_step_end=tick,
        **given,
    )
    ended = time.perf_counter()
    steps = [later - earlier for earlier, later in pairwise(ticks)]
    step = statistics.median(steps)
    return {
        "start_ms": (ticks[0] - step - started) * 1000,
        "step_ms": step * 1000,
        "end_ms": (ended - ticks[-1]) * 1000,
    }


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="bench.inputs.theirs", description=__doc__)
    parser.add_argument("model", type=Path, help="a diffusers folder")
    parser.add_argument("folder", type=Path, help="the folder with the LoRAs")
    parser.add_argument("--rounds", default=5, type=int, help="images of each kind")
    chosen = parser.parse_args()
    base = StableDiffusionXLPipeline.from_pretrained(chosen.model, add_watermarker=False)
    base.scheduler = EulerDiscreteScheduler.from_config(base.scheduler.config)
    base.set_progress_bar_config(disable=True)
    pipes = {
        (False, False): base,
        (True, False): StableDiffusionXLImg2ImgPipeline.from_pipe(base),
        (True, True): StableDiffusionXLInpaintPipeline.from_pipe(base),
    }
    for pipe in pipes.values():
        pipe.set_progress_bar_config(disable=True)
    times: dict[str, list[dict[str, float]]] = {}

    def measure(name: str, inputs: Inputs, round_: int) -> None:
        made = image(pipes[inputs.picture, inputs.mask], inputs, seed=round_)
        if round_ > 0:  # the first one warms up
            times.setdefault(name, []).append(made)

    plain = {name: inputs for name, inputs in KINDS.items() if inputs.lora is None}
    lora = next(name for name, inputs in KINDS.items() if inputs.lora == "lora")
    for round_ in range(chosen.rounds + 1):
        for name, inputs in plain.items():
            measure(name, inputs, round_)
        base.load_lora_weights(chosen.folder, weight_name=LORA, adapter_name="lora")
        measure(lora, KINDS["text"], round_)
        base.fuse_lora()
        measure(f"{lora}, fused", KINDS["text"], round_)
        base.unfuse_lora()
        base.unload_lora_weights()
    found = {
        "images": {
            name: {key: statistics.median(each[key] for each in all_) for key in all_[0]}
            for name, all_ in times.items()
        },
        "switch_ms": switches(base, chosen.folder),
        "torch": torch.__version__,
    }
    print(json.dumps(found))


def switches(pipe: Any, folder: Path) -> dict[str, float]:
    """Median times of another weight, and of loading and fusing the file again, in ms."""
    set_, fused = [], []
    pipe.load_lora_weights(folder, weight_name=LORA, adapter_name="lora")
    for switch in range(SWITCHES):
        before = time.perf_counter()
        pipe.set_adapters("lora", 0.5 + switch / 100)
        set_.append((time.perf_counter() - before) * 1000)
    for _ in range(SWITCHES):
        before = time.perf_counter()
        pipe.fuse_lora()
        fused.append((time.perf_counter() - before) * 1000)
        pipe.unfuse_lora()
    pipe.unload_lora_weights()
    return {"set_adapters": statistics.median(set_), "fuse": statistics.median(fused)}


if __name__ == "__main__":
    main()
