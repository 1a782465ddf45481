"""Times diffusers on a card, eager or compiled; in bfloat16, on a CPU in float32.

    python -m bench.card.theirs MODEL [--compiled default] [--batches 1,2]   (in python-worker/)

Needs torch and diffusers. The loop is that of diffusers' pipeline without its text encoders: two
rows for an image, guidance, an Euler step, then the decoder. Prints one JSON object.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel

from bench.card.ours import GUIDANCE, STEPS

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPE = torch.bfloat16 if DEVICE == "cuda" else torch.float32
ON: dict[str, Any] = {"device": DEVICE, "dtype": DTYPE}


@dataclass
class Peer:
    """The model's parts, on the device, and the side of its images in pixels."""

    unet: Any
    vae: Any
    scheduler: Any
    side: int

    def images(self, batch: int, steps: int) -> dict[str, float]:
        """Make images of random prompts in one batch, and time them."""
        config, side = self.unet.config, self.side
        projected, times_of = config.projection_class_embeddings_input_dim, 6
        pooled = projected - times_of * config.addition_time_embed_dim
        context = torch.randn(2 * batch, 77, config.cross_attention_dim, **ON)
        added = {
            "text_embeds": torch.randn(2 * batch, pooled, **ON),
            "time_ids": torch.tensor([[side, side, 0, 0, side, side]] * 2 * batch, **ON),
        }
        self.scheduler.set_timesteps(steps, device=DEVICE)
        scale = 2 ** (len(self.vae.config.block_out_channels) - 1)
        _wait()
        started = time.perf_counter()
        latents = torch.randn(batch, 4, side // scale, side // scale, **ON)
        latents = latents * self.scheduler.init_noise_sigma
        times = []
        for timestep in self.scheduler.timesteps:
            before = time.perf_counter()
            scaled = self.scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
            scaled = scaled.to(DTYPE, memory_format=torch.channels_last)
            output = self.unet(
                scaled, timestep, context, added_cond_kwargs=added, return_dict=False
            )[0]
            uncond, cond = output.chunk(2)
            output = uncond + GUIDANCE * (cond - uncond)
            latents = self.scheduler.step(output, timestep, latents, return_dict=False)[0]
            _wait()
            times.append(time.perf_counter() - before)
        decoding = time.perf_counter()
        for each in latents.to(DTYPE).split(1):
            scaled = each / self.vae.config.scaling_factor
            image = self.vae.decode(scaled, return_dict=False)[0].float()
            pixels = ((image / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).cpu()
            assert pixels.shape[-1] == side
        ended = time.perf_counter()
        return {
            "step_ms": statistics.median(times) * 1000,
            "decode_ms": (ended - decoding) / batch * 1000,
            "images_per_s": batch / (ended - started),
        }


@torch.inference_mode()  # type: ignore[untyped-decorator,unused-ignore]
def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="bench.card.theirs", description=__doc__)
    parser.add_argument("model", type=Path, help="a diffusers folder")
    parser.add_argument("--batches", default="1", help="numbers of images in a call")
    parser.add_argument("--compiled", default="", help="a mode of torch.compile")
    parser.add_argument("--side", default=1024, type=int, help="pixels along an image's sides")
    chosen = parser.parse_args()
    peer = _read(chosen.model, chosen.side, chosen.compiled)
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else DEVICE
    found: dict[str, Any] = {"torch": torch.__version__, "device": device}
    for batch in map(int, chosen.batches.split(",")):
        started = time.perf_counter()
        peer.images(batch, steps=2)
        first_s = time.perf_counter() - started
        found[f"batch_{batch}"] = {"first_s": first_s, **peer.images(batch, steps=STEPS)}
        print(batch, found[f"batch_{batch}"], file=sys.stderr, flush=True)
    print(json.dumps(found))


def _read(model: Path, side: int, compiled: str) -> Peer:
    """Diffusers' own settings for speed: channels last, one product for queries, keys, values."""
    fp16 = any((model / "unet").glob("*.fp16*.safetensors"))
    given: dict[str, Any] = {"torch_dtype": DTYPE, "variant": "fp16" if fp16 else None}
    unet = UNet2DConditionModel.from_pretrained(model / "unet", **given).to(DEVICE)
    vae = AutoencoderKL.from_pretrained(model / "vae", **given).to(DEVICE)
    unet.to(memory_format=torch.channels_last)
    vae.to(memory_format=torch.channels_last)
    unet.fuse_qkv_projections()
    if compiled:
        torch._inductor.config.conv_1x1_as_mm = True
        unet = torch.compile(unet, mode=compiled, fullgraph=True)
    scheduler = EulerDiscreteScheduler.from_pretrained(model / "scheduler")
    return Peer(unet, vae, scheduler, side)


def _wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
