"""A whole SDXL model in memory: its configuration and the parameters of all its parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from easel_worker.sdxl import calibration, int8, text_encoder, unet, vae, weights
from easel_worker.sdxl.calibration import Largest
from easel_worker.sdxl.config import SdxlConfig
from easel_worker.sdxl.params import Params, ParamTree, count
from easel_worker.sdxl.weights import Put


class TextParams(NamedTuple):
    """Parameters of the two text encoders."""

    first: Params
    second: Params


@dataclass(frozen=True)
class Dtypes:
    """What the parts compute in. The VAE may need more range or precision than the rest."""

    model: DTypeLike
    vae: DTypeLike
    int8: bool = False
    """Whether the UNet's linear layers are quantised; see `int8`."""


@dataclass(frozen=True)
class SdxlParams:
    """All parameters that making images needs; the VAE's encoder is not among them."""

    text: TextParams
    unet: Params
    vae: Params


def load_params(
    folder: Path,
    config: SdxlConfig,
    dtypes: Dtypes,
    put: Put,
    report: Callable[[str], None],
    *,
    largest: Sequence[Largest] | None = None,
) -> SdxlParams:
    """Read all weights of a diffusers folder.

    Args:
        folder: the model.
        config: its configuration.
        dtypes: to convert the weights to.
        put: places each array on the devices.
        report: called with a readable line before each part.
        largest: the calibration of a model to quantise, as `calibration.read` gives it.

    Raises:
        WeightsError: see `weights.load`.
    """

    def load(component: str, tree: ParamTree, dtype: DTypeLike) -> Params:
        report(f"loading {component}: {count(tree) / 1e6:.1f} M parameters")
        return weights.load(folder, component, tree, dtype, put)

    trees = _declarations(config)
    loaded = SdxlParams(
        text=TextParams(
            load("text_encoder", trees.text.first, dtypes.model),
            load("text_encoder_2", trees.text.second, dtypes.model),
        ),
        unet=load("unet", trees.unet, dtypes.model),
        vae=vae.decoder_only(load("vae", trees.vae, dtypes.vae)),
    )
    if largest is None:
        return loaded
    report("quantising the linear layers of the unet to int8")
    return replace(loaded, unet=int8.quantise(loaded.unet, largest))


def abstract_params(config: SdxlConfig, dtypes: Dtypes) -> SdxlParams:
    """Shapes and dtypes of `load_params`'s result, to compile programs without weights."""

    def abstract(tree: ParamTree, dtype: DTypeLike) -> Any:
        return weights.abstract(tree, dtype)

    trees = _declarations(config)
    whole = SdxlParams(
        text=TextParams(
            abstract(trees.text.first, dtypes.model), abstract(trees.text.second, dtypes.model)
        ),
        unet=abstract(trees.unet, dtypes.model),
        vae=abstract(vae.decoder_only(trees.vae), dtypes.vae),
    )
    if not dtypes.int8:
        return whole
    largest = [
        jax.ShapeDtypeStruct(shape, jnp.float32)  # type: ignore[no-untyped-call]
        for shape in calibration.shapes(trees.unet).values()
    ]
    return replace(whole, unet=jax.eval_shape(int8.quantise, whole.unet, largest))


def _declarations(config: SdxlConfig) -> SdxlParams:
    return SdxlParams(
        text=TextParams(
            text_encoder.declare(config.text_encoder),
            text_encoder.declare(config.text_encoder_2),
        ),
        unet=unet.declare(config.unet),
        vae=vae.declare(config.vae),
    )
