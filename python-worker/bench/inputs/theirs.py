"""Measures what each input of an image adds in diffusers, on the same model and files.

    python -m bench.inputs.theirs MODEL FOLDER [--rounds 5]                  (in python-worker/)

Needs torch, diffusers and peft. FOLDER has the files that `bench.inputs.ours` wrote; diffusers
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
    ControlNetModel,
    EulerDiscreteScheduler,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
    T2IAdapter,
)
from PIL import Image

from bench.inputs import kinds
from bench.inputs.kinds import (
    CONTROLNET,
    GUIDANCE,
    IP_ADAPTER,
    KINDS,
    SCALE,
    SIDE,
    STEPS,
    STRENGTH,
    T2I_ADAPTER,
    Inputs,
)

SWITCHES = 20
LORA = "lora.safetensors"


def image(pipe: Any, inputs: Inputs, seed: int) -> dict[str, float]:
    """Make an image; the times of its start, of a step (median) and of its end, in ms."""
    ticks: list[float] = []

    def tick(_step: int, _timestep: Any, _latents: Any) -> None:
        ticks.append(time.perf_counter())

    def tick_and_keep(_pipe: Any, _step: int, _timestep: Any, kept: dict[str, Any]) -> Any:
        ticks.append(time.perf_counter())
        return kept

    # The pipeline of T2I-Adapters has the older callback.
    called = (
        {"callback": tick} if inputs.net == T2I_ADAPTER else {"callback_on_step_end": tick_and_keep}
    )
    started = time.perf_counter()
    pipe(
        "",
        negative_prompt="",
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        generator=torch.Generator().manual_seed(seed),
        **called,
        **_given(inputs),
    )
    ended = time.perf_counter()
    steps = [later - earlier for earlier, later in pairwise(ticks)]
    step = statistics.median(steps)
    return {
        "start_ms": (ticks[0] - step - started) * 1000,
        "step_ms": step * 1000,
        "end_ms": (ended - ticks[-1]) * 1000,
    }


def _given(inputs: Inputs) -> dict[str, Any]:
    """What a pipeline gets of a kind besides the text."""
    size = {"width": SIDE, "height": SIDE}
    picture = Image.fromarray(kinds.picture())
    if inputs.mask:
        mask = Image.fromarray(kinds.mask()[..., 0])
        return size | {"image": picture, "mask_image": mask, "strength": STRENGTH}
    if inputs.picture:
        return {"image": picture, "strength": STRENGTH}
    if inputs.net == CONTROLNET:
        return size | {"image": picture, "controlnet_conditioning_scale": SCALE}
    if inputs.net == T2I_ADAPTER:
        return size | {"image": picture, "adapter_conditioning_scale": SCALE}
    if inputs.ip_adapter:
        return size | {"ip_adapter_image": picture}
    return size


def pipelines(base: Any, nets: Path) -> dict[str, Any]:
    """Return the pipeline of each kind that needs neither a LoRA nor an IP-Adapter."""
    controlnet = ControlNetModel.from_pretrained(nets / CONTROLNET)
    adapter = T2IAdapter.from_pretrained(nets / T2I_ADAPTER)
    found = {}
    for name, inputs in KINDS.items():
        if inputs.lora is not None or inputs.ip_adapter:
            continue
        if inputs.mask:
            found[name] = StableDiffusionXLInpaintPipeline.from_pipe(base)
        elif inputs.picture:
            found[name] = StableDiffusionXLImg2ImgPipeline.from_pipe(base)
        elif inputs.net == CONTROLNET:
            found[name] = StableDiffusionXLControlNetPipeline.from_pipe(base, controlnet=controlnet)
        elif inputs.net == T2I_ADAPTER:
            parts = {**base.components, "image_encoder": None, "feature_extractor": None}
            found[name] = StableDiffusionXLAdapterPipeline(**parts, adapter=adapter)
        else:
            found[name] = base
    for pipe in found.values():
        pipe.set_progress_bar_config(disable=True)
    return found


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="bench.inputs.theirs", description=__doc__)
    parser.add_argument("model", type=Path, help="a diffusers folder")
    parser.add_argument("folder", type=Path, help="the folder with the files")
    parser.add_argument("--rounds", default=5, type=int, help="images of each kind")
    chosen = parser.parse_args()
    base = StableDiffusionXLPipeline.from_pretrained(chosen.model, add_watermarker=False)
    base.scheduler = EulerDiscreteScheduler.from_config(base.scheduler.config)
    loras, nets, ip_adapters = kinds.folders(chosen.folder)
    pipes = pipelines(base, nets)
    times: dict[str, list[dict[str, float]]] = {}

    def measure(name: str, pipe: Any, inputs: Inputs, round_: int) -> None:
        made = image(pipe, inputs, seed=round_)
        if round_ > 0:  # the first one warms up
            times.setdefault(name, []).append(made)

    lora = next(name for name, inputs in KINDS.items() if inputs.lora == "lora")
    ip_adapter = next(name for name, inputs in KINDS.items() if inputs.ip_adapter)
    for round_ in range(chosen.rounds + 1):
        for name, pipe in pipes.items():
            measure(name, pipe, KINDS[name], round_)
        base.load_ip_adapter(
            str(ip_adapters),
            subfolder=IP_ADAPTER.name,
            weight_name=IP_ADAPTER.file,
            image_encoder_folder="image_encoder",
        )
        base.set_ip_adapter_scale(SCALE)
        measure(ip_adapter, base, KINDS[ip_adapter], round_)
        base.unload_ip_adapter()
        base.load_lora_weights(loras, weight_name=LORA, adapter_name="lora")
        measure(lora, base, KINDS[lora], round_)
        base.fuse_lora()
        measure(f"{lora}, fused", base, KINDS[lora], round_)
        base.unfuse_lora()
        base.unload_lora_weights()
    found = {
        "images": {
            name: {key: statistics.median(each[key] for each in all_) for key in all_[0]}
            for name, all_ in times.items()
        },
        "switch_ms": switches(base, loras),
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
