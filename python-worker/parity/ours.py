"""Our SDXL, loaded from a diffusers folder and run on inputs in diffusers' layout. No torch."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from numpy.typing import NDArray

from easel_worker.sdxl import text_encoder, unet, vae, vae_tiles, weights
from easel_worker.sdxl.config import SdxlConfig, load_config
from easel_worker.sdxl.params import Param, Params, ParamTree

Arrays = Mapping[str, NDArray[Any]]


def put(array: NDArray[Any], _: Param) -> jax.Array:
    """On the default device."""
    return jnp.asarray(array)


def declare(config: SdxlConfig) -> dict[str, ParamTree]:
    """The declarations of all four parts."""
    return {
        "text_encoder": text_encoder.declare(config.text_encoder),
        "text_encoder_2": text_encoder.declare(config.text_encoder_2),
        "unet": unet.declare(config.unet),
        "vae": vae.declare(config.vae),
    }


def load(folder: Path, dtype: DTypeLike) -> tuple[SdxlConfig, dict[str, Params]]:
    """The configuration and parameters of all four parts."""
    config = load_config(folder)
    trees = declare(config)
    return config, {
        part: weights.load(folder, part, tree, dtype, put) for part, tree in trees.items()
    }


def run(
    config: SdxlConfig, params: Mapping[str, Params], given: Arrays
) -> dict[str, NDArray[np.float32]]:
    """All outputs that `parity.reference.run` gives, under the same names, in its layout."""
    outputs: dict[str, jax.Array] = {}
    for part, ids in (("text_encoder", "ids"), ("text_encoder_2", "ids_2")):
        text = _jit(text_encoder.apply)(
            params[part], getattr(config, part), jnp.asarray(given[ids], jnp.int32)
        )
        outputs[f"{part}.hidden_states"] = text.hidden_states
        outputs[f"{part}.pooled"] = text.pooled
    conditions = [jnp.asarray(given[n]) for n in ("timestep", "context", "pooled", "time_ids")]
    noise = _jit(unet.apply)(params["unet"], config.unet, _nhwc(given["sample"]), *conditions)
    image = _jit(vae.decode)(params["vae"], config.vae, _nhwc(given["latents"]))
    mean, logvar = _jit(vae.encode)(params["vae"], config.vae, _nhwc(given["image"]))
    outputs |= {
        "unet": _nchw(noise),
        "vae.decode": _nchw(image),
        "vae.encode.mean": _nchw(mean),
        "vae.encode.logvar": _nchw(logvar),
    }
    return {name: np.asarray(value, np.float32) for name, value in outputs.items()}


def decode_in_tiles(
    config: SdxlConfig, params: Params, latents: NDArray[np.float32], tile: int
) -> NDArray[np.float32]:
    """What `parity.reference.decode_in_tiles` gives."""
    run = _jit(partial(vae_tiles.decode, tile=tile))
    return np.asarray(_nchw(run(params, config.vae, _nhwc(latents))), np.float32)


def _jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiled without LLVM's optimisations: each program runs once, so compiling is the cost."""
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(function, static_argnums=1, compiler_options=options)


def _nhwc(array: NDArray[Any]) -> jax.Array:
    return jnp.asarray(array.transpose(0, 2, 3, 1))


def _nchw(array: jax.Array) -> jax.Array:
    return array.transpose(0, 3, 1, 2)
