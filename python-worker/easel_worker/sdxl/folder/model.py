"""Loads the parameters of all components of an SDXL model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.checkpoint import WeightsError
from easel_worker.sdxl.folder.files import ModelFiles
from easel_worker.sdxl.folder.weights import Put
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.kernel_layer import bind
from easel_worker.sdxl.model.kernel_options import PLAIN, KernelOptions
from easel_worker.sdxl.model.params import Tree, count
from easel_worker.sdxl.model.text_encoder import TextEncoder
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.model.vae import Decoder, Encoder, Vae
from easel_worker.sdxl.quantization import calibration, selection
from easel_worker.sdxl.quantization.calibration import Largest
from easel_worker.sdxl.quantization.source import Source


class TextParams(NamedTuple):
    """The two text encoders. A model may have the second one only."""

    first: TextEncoder | None
    second: TextEncoder


@dataclass(frozen=True)
class Dtypes:
    """Dtypes to compute in. The VAE may need more range or precision than the rest."""

    model: DTypeLike
    vae: DTypeLike
    int8: bool = False
    """Whether the UNet is quantised."""


@dataclass(frozen=True)
class SdxlParams:
    """The parameters of a model.

    Attributes:
        vae: the VAE's decoder.
        encoder: the VAE's encoder; None where no image begins from a picture.
        source: what a quantised UNet was made from; None without, and where nothing changes it.
    """

    text: TextParams
    unet: UNet
    vae: Decoder
    encoder: Encoder | None = None
    source: Source | None = None


def load_params(
    files: ModelFiles,
    config: SdxlConfig,
    dtypes: Dtypes,
    put: Put,
    report: Callable[[str], None],
    *,
    kernel_options: KernelOptions = PLAIN,
    largest: Sequence[Largest] | None = None,
    keep_source: bool = False,
    encoder: bool = False,
) -> SdxlParams:
    """Read all weights of a model.

    Args:
        files: of the model.
        config: of its components.
        dtypes: to convert the weights to.
        put: places each array on the devices.
        report: called with a log line before each component.
        kernel_options: the kernels of UNet and VAE.
        largest: the calibration of a model to quantise, from `calibration.read`.
        keep_source: keep what the layers are quantised from, so that it can be changed.
        encoder: keep the VAE's encoder, if the files have one.

    Raises:
        WeightsError: see `weights.load`.
    """

    def load(component: str, tree: Tree, dtype: DTypeLike) -> Tree:
        report(f"loading {component}: {count(tree) / 1e6:.1f} M parameters")
        return weights.load(files.components[component].weights, tree, dtype, put)

    trees = _declarations(config)
    whole = weights.has_any(files.components["vae"].weights, trees.vae.encoder)
    if encoder and not whole:
        if config.inpaints or config.pictures_only:
            path = files.components["vae"].weights.path
            raise WeightsError(
                f"{path}: the vae has no encoder, which this model needs for pictures: set VAE "
                "to a whole one, such as that of madebyollin/sdxl-vae-fp16-fix"
            )
        report("the vae has no encoder, so requests cannot bring pictures")
    autoencoder = load("vae", trees.vae, dtypes.vae) if whole else None
    loaded = SdxlParams(
        text=TextParams(
            None
            if trees.text.first is None
            else load("text_encoder", trees.text.first, dtypes.model),
            load("text_encoder_2", trees.text.second, dtypes.model),
        ),
        unet=load("unet", trees.unet, dtypes.model),
        vae=(
            load("vae", trees.vae.decoder, dtypes.vae)
            if autoencoder is None
            else autoencoder.decoder
        ),
        encoder=autoencoder.encoder if autoencoder is not None and encoder else None,
    )
    if largest is None:
        return _bound(loaded, kernel_options)
    report("quantising the unet to int8")
    made = selection.quantised_weights(loaded.unet, largest)
    source = Source(loaded.unet, trees.unet, made, largest, kernel_options)
    quantised = replace(loaded, unet=source.with_weights(loaded.unet, {}))
    return _bound(replace(quantised, source=source if keep_source else None), kernel_options)


def abstract_params(
    config: SdxlConfig,
    dtypes: Dtypes,
    *,
    kernel_options: KernelOptions = PLAIN,
    encoder: bool = False,
) -> SdxlParams:
    """Shapes and dtypes of the result of `load_params`, to compile programs without weights."""
    trees = _declarations(config)
    whole = SdxlParams(
        text=TextParams(
            None if trees.text.first is None else weights.abstract(trees.text.first, dtypes.model),
            weights.abstract(trees.text.second, dtypes.model),
        ),
        unet=weights.abstract(trees.unet, dtypes.model),
        vae=weights.abstract(trees.vae.decoder, dtypes.vae),
        encoder=weights.abstract(trees.vae.encoder, dtypes.vae) if encoder else None,
    )
    if not dtypes.int8:
        return _bound(whole, kernel_options)
    largest = [
        jax.ShapeDtypeStruct(shape, jnp.float32)  # type: ignore[no-untyped-call]
        for shape in calibration.shapes(trees.unet).values()
    ]
    quantised: UNet = jax.eval_shape(selection.quantise, whole.unet, largest)
    return _bound(replace(whole, unet=quantised), kernel_options)


def _bound(params: SdxlParams, kernel_options: KernelOptions) -> SdxlParams:
    """Binds kernel options to UNet and VAE. The text encoders are small and always use `PLAIN`."""
    encoder = params.encoder
    return replace(
        params,
        unet=bind(params.unet, kernel_options),
        vae=bind(params.vae, kernel_options),
        encoder=None if encoder is None else bind(encoder, kernel_options),
    )


@dataclass(frozen=True)
class _Declared:
    """The declarations of a whole checkpoint."""

    text: TextParams
    unet: UNet
    vae: Vae


def _declarations(config: SdxlConfig) -> _Declared:
    return _Declared(
        text=TextParams(
            None if config.text_encoder is None else TextEncoder.declare(config.text_encoder),
            TextEncoder.declare(config.text_encoder_2),
        ),
        unet=UNet.declare(config.unet),
        vae=Vae.declare(config.vae),
    )
