"""Runs an adapter's parts with our layers, and makes images with our engine. No torch."""

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from easel_worker.engine import Pixels
from easel_worker.sdxl.folder import weights
from easel_worker.sdxl.folder.checkpoint import Weights
from easel_worker.sdxl.folder.ip_adapter import ENCODER, read_ip_adapter
from easel_worker.sdxl.model.config import UNetConfig
from easel_worker.sdxl.model.ip_adapter import IpAdapter
from easel_worker.sdxl.model.vision_encoder import VisionEncoder
from easel_worker.sdxl.serving.clip_pixels import clip_pixels
from easel_worker.sdxl.serving.compilation import Compiler
from easel_worker.sdxl.serving.engine import SdxlEngine
from parity.ip_adapters.cases import IpAdapterCase
from parity.ip_adapters.files import FILES, unet_of
from parity.ours import put
from parity.pipeline import ours as pipeline
from parity.pipeline.cases import PipelineCase

Floats = NDArray[np.float32]


class Parts(NamedTuple):
    """What an adapter makes of a picture.

    Attributes:
        pixels: the encoder's input, [side, side, 3].
        before_last: the encoder's tokens before its last layer, [tokens, hidden].
        embeds: its projected output, [projection].
        tokens: the adapter's, those of the negative first, [2, tokens, context].
    """

    pixels: Floats
    before_last: Floats
    embeds: Floats
    tokens: Floats


def run(folder: Path, unet: UNetConfig, picture: NDArray[np.uint8]) -> Parts:
    """Load an adapter's folder and return all its outputs."""
    files = read_ip_adapter(folder, unet)
    tree = IpAdapter.declare(files.shape, unet)
    adapter = weights.load(Weights(files.file, "ip_adapter"), tree, jnp.float32, put)
    tree_of_encoder = VisionEncoder.declare(files.vision)
    source = Weights(files.encoder, ENCODER)
    encoder = weights.load(source, tree_of_encoder, jnp.float32, put)
    pixels = clip_pixels(picture, files.vision.side)
    seen = encoder(jnp.asarray(pixels)[None])
    tokens = adapter.tokens(encoder, jnp.asarray(pixels))
    return Parts(pixels, *(np.asarray(each) for each in (*(s[0] for s in seen), tokens)))


def engine_for(
    case: IpAdapterCase,
    folder: Path,
    adapters: Path,
    seed: int = 0,
    compiler: Compiler | None = None,
) -> SdxlEngine:
    """Return a warm engine with all adapters, which also begins images from pictures.

    Args:
        case: any case of the model whose parts the folder has.
        folder: see `pipeline.ours.engine_for`.
        adapters: a folder for the adapters.
        seed: of the adapters.
        compiler: see `pipeline.ours.engine_for`.
    """
    for file in FILES:
        file.write(adapters, unet_of(case.image.model), seed)
    image = PipelineCase("ip adapters", case.image.model, strength=0.6)
    return pipeline.engine_for(image, folder, ip_adapters=adapters, compiler=compiler)


def image(case: IpAdapterCase, engine: SdxlEngine) -> Pixels:
    """Return our engine's image of a case, [H, W, 3]."""
    return pipeline.make(engine, case.spec(engine), *case.noises())
