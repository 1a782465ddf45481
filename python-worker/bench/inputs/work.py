"""Counts what inputs add to SDXL base at full size: floating-point operations and parameters.

    python -m bench.inputs.work MODEL [--side 1024]                          (in python-worker/)

MODEL is a folder with the configs of SDXL base; weights are not read. The operations are those of
the programs as they are written, before any compiler. Prints one JSON object.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from bench.inputs.kinds import adapter_of
from easel_worker.sdxl.folder.config import load_config
from easel_worker.sdxl.folder.config_reader import ConfigFile
from easel_worker.sdxl.folder.config_vision import read_vision_config
from easel_worker.sdxl.folder.control_config import read_adapter_config, read_controlnet_config
from easel_worker.sdxl.folder.weights import abstract
from easel_worker.sdxl.model.additions import NO_ADDITIONS, Additions
from easel_worker.sdxl.model.controlnet import ControlNet
from easel_worker.sdxl.model.ip_adapter import IpAdapter, ResamplerShape
from easel_worker.sdxl.model.params import count
from easel_worker.sdxl.model.t2i_adapter import T2IAdapter
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.model.vae import Encoder
from easel_worker.sdxl.model.vision_encoder import VisionEncoder
from parity.controls.cases import controlnet_of
from parity.ip_adapters.files import vision

TOKENS = 77
GUIDED = 2
"""Rows of a guided image."""

VISION = vision(1280, 32, 16, image_size=224, patch_size=14, projection_dim=1024)
"""The encoder of h94/IP-Adapter's ViT-H adapters."""

PLUS = ResamplerShape(tokens=16, features=1280, hidden=1280, heads=20, layers=4)
"""Of ip-adapter-plus_sdxl_vit-h."""


def main() -> None:
    """Count, and print the result."""
    parser = argparse.ArgumentParser(prog="bench.inputs.work", description=__doc__)
    parser.add_argument("model", type=Path, help="a folder with SDXL base's configs")
    parser.add_argument("--side", default=1024, type=int, help="of the images, in pixels")
    chosen = parser.parse_args()
    print(json.dumps(counted(chosen.model, chosen.side)))


def counted(model: Path, side: int) -> dict[str, dict[str, float]]:
    """For each input its operations at an image's start and in a guided step, and its parameters.

    "text" has the step's own.
    """
    config = load_config(model)
    unet_config = json.loads((model / "unet/config.json").read_text())
    unet = abstract(UNet.declare(config.unet), jnp.bfloat16)
    latents = side // config.vae.scale
    sample = _rows(latents, latents, config.unet.in_channels)
    numbers = _rows()
    pooled = _rows(config.unet.added_features - 6 * config.unet.time_id_features)
    rest = (numbers, pooled, _rows(6))
    picture = _struct(1, side, side, 3)
    found: dict[str, dict[str, float]] = {}

    def add(name: str, start: float, step: float, *trees: Any) -> None:
        found[name] = {"start": start, "step": step, "parameters": sum(map(count, trees))}

    def prompt(tokens: int) -> Any:
        context = _rows(tokens, config.unet.context)
        return jax.eval_shape(lambda unet, each: unet.project_context(each), unet, context)

    def step(tokens: int, additions: Additions = NO_ADDITIONS) -> float:
        def run(unet: UNet, sample: Any, prompt: Any, rest: Any, additions: Additions) -> Any:
            time, pooled, ids = rest
            return unet.whole(sample, time, prompt, pooled, ids, additions=additions).output

        return _operations(run, unet, sample, prompt(tokens), rest, additions)

    text = step(TOKENS)
    add("text", 0, text, UNet.declare(config.unet))

    encoder = Encoder.declare(config.vae)
    add("a picture", _operations(_call, abstract(encoder, jnp.bfloat16), picture), 0, encoder)

    read = read_controlnet_config(
        ConfigFile(model / "unet/config.json", controlnet_of(unet_config))
    )
    declared = ControlNet.declare(read)
    net = abstract(declared, jnp.bfloat16)
    embedded = _rows(latents, latents, config.unet.channels[0])

    def control(net: ControlNet, sample: Any, context: Any, rest: Any, embedded: Any) -> Any:
        time, pooled, ids = rest
        return net(sample, time, context, pooled, ids, picture=embedded)

    given = (net, sample, _rows(TOKENS, config.unet.context), rest, embedded)
    residuals = jax.eval_shape(control, *given)
    with_net = step(TOKENS, Additions(residuals=residuals)) + _operations(control, *given)
    add("a ControlNet", _operations(_call, net.picture, picture), with_net - text, declared)

    channels = [*config.unet.channels, config.unet.channels[-1]]
    read_adapter = read_adapter_config(ConfigFile(Path("config.json"), adapter_of(channels)))
    adapter = T2IAdapter.declare(read_adapter)
    given_adapter = (abstract(adapter, jnp.bfloat16), picture)
    features = jax.eval_shape(_call, *given_adapter)
    with_features = step(TOKENS, Additions(features=features))
    add("a T2I-Adapter", _operations(_call, *given_adapter), with_features - text, adapter)

    seer = VisionEncoder.declare(read_vision_config(ConfigFile(Path("config.json"), VISION)))
    prompts = IpAdapter.declare(PLUS, config.unet)
    pixels = _struct(VISION["image_size"], VISION["image_size"], 3)
    scale = _struct()

    def look(prompts: IpAdapter, seer: VisionEncoder, pixels: Any, scale: Any) -> Any:
        return prompts.project(prompts.tokens(seer, pixels), scale)

    looked = _operations(look, *(abstract(e, jnp.bfloat16) for e in (prompts, seer)), pixels, scale)
    # The picture's tokens have an attention of their own, whose products are those of more tokens.
    add("an IP-Adapter Plus", looked, step(TOKENS + PLUS.tokens) - text, prompts, seer)
    return found


def _rows(*shape: int) -> Any:
    return _struct(GUIDED, *shape)


def _struct(*shape: int) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.bfloat16)  # type: ignore[no-untyped-call]


def _call(layer: Any, given: Any) -> Any:
    return layer(given)


def _operations(run: Callable[..., Any], *given: Any) -> float:
    """Floating-point operations of a function of shapes."""
    analysis = jax.jit(run).lower(*given).cost_analysis()
    return float(analysis["flops"]) if analysis else math.nan


if __name__ == "__main__":
    main()
