"""Loads our SDXL from a diffusers folder and runs it on inputs in diffusers' layout. No torch."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from numpy.typing import NDArray

from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.config import read_config
from easel_worker.sdxl.folder.files import locate
from easel_worker.sdxl.model import vae_tiles
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.params import Param
from easel_worker.sdxl.model.text_encoder import TextEncoder
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.model.vae import Vae

Arrays = Mapping[str, NDArray[Any]]


def put(array: NDArray[Any], _: Param) -> jax.Array:
    """Put arrays on the default device."""
    return jnp.asarray(array)


def declare(config: SdxlConfig) -> dict[str, Any]:
    """Return the declarations of all parts."""
    first = {}
    if config.text_encoder is not None:
        first = {"text_encoder": TextEncoder.declare(config.text_encoder)}
    return {
        **first,
        "text_encoder_2": TextEncoder.declare(config.text_encoder_2),
        "unet": UNet.declare(config.unet),
        "vae": Vae.declare(config.vae),
    }


def load(model: Path, dtype: DTypeLike) -> dict[str, Any]:
    """Load all four parts."""
    files = locate(model)
    return {
        part: weights.load(files.components[part].weights, tree, dtype, put)
        for part, tree in declare(read_config(files)).items()
    }


def run(parts: Mapping[str, Any], given: Arrays) -> dict[str, NDArray[np.float32]]:
    """Return the outputs of `parity.reference.run`, under the same names and in its layout."""
    outputs: dict[str, jax.Array] = {}
    for part, ids in (("text_encoder", "ids"), ("text_encoder_2", "ids_2")):
        if part not in parts:
            continue
        text = _run(parts[part], jnp.asarray(given[ids], jnp.int32))
        outputs[f"{part}.hidden_states"] = text.hidden_states
        outputs[f"{part}.pooled"] = text.pooled
    conditions = [jnp.asarray(given[n]) for n in ("timestep", "context", "pooled", "time_ids")]
    if "guidance" in given:
        guidance = jnp.asarray(given["guidance"])
        unet = _jit(lambda unet, guidance, *inputs: unet(*inputs, guidance=guidance))
        noise = unet(parts["unet"], guidance, _nhwc(given["sample"]), *conditions)
    else:
        noise = _run(parts["unet"], _nhwc(given["sample"]), *conditions)
    image = _run(parts["vae"].decoder, _nhwc(given["latents"]))
    mean, logvar = _run(parts["vae"].encoder, _nhwc(given["image"]))
    outputs |= {
        "unet": _nchw(noise),
        "vae.decode": _nchw(image),
        "vae.encode.mean": _nchw(mean),
        "vae.encode.logvar": _nchw(logvar),
    }
    return {name: np.asarray(value, np.float32) for name, value in outputs.items()}


def decode_in_tiles(
    autoencoder: Vae, latents: NDArray[np.float32], tile: int
) -> NDArray[np.float32]:
    """Return our equivalent of `parity.reference.decode_in_tiles`."""
    run = _jit(partial(vae_tiles.decode, tile=tile))
    return np.asarray(_nchw(run(autoencoder.decoder, _nhwc(latents))), np.float32)


def _run(part: Callable[..., Any], *given: jax.Array) -> Any:
    """Run a part of the model compiled; its parameters are arguments of the program too."""
    return _jit(lambda part, *given: part(*given))(part, *given)


def _jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without LLVM's optimisations: a program runs once, so compiling takes most time."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def _nhwc(array: NDArray[Any]) -> jax.Array:
    return jnp.asarray(array.transpose(0, 2, 3, 1))


def _nchw(array: jax.Array) -> jax.Array:
    return array.transpose(0, 3, 1, 2)
