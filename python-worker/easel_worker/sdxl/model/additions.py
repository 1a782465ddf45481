"""What the pictures of a request add inside the UNet."""

from typing import NamedTuple

from jax import Array

from easel_worker.sdxl.model.config import UNetConfig


class Residuals(NamedTuple):
    """What ControlNets add: to the skip connections, the first convolution's first, and at the end
    of the middle block. All [B, h, w, channels].
    """

    skips: tuple[Array, ...]
    mid: Array


class Additions(NamedTuple):
    """All that is added. A kind that no net of the operator makes is None, and costs nothing.

    Attributes:
        residuals: of ControlNets.
        features: of T2I-Adapters, [B, h, w, channels] for each level from full resolution down, and
            then for the end of the middle block.
    """

    residuals: Residuals | None = None
    features: tuple[Array, ...] | None = None


NO_ADDITIONS = Additions()

Shape = tuple[int, int, int]


class ResidualShapes(NamedTuple):
    """The shapes [h, w, channels] of one image's residuals."""

    skips: tuple[Shape, ...]
    mid: Shape


def residual_shapes(config: UNetConfig, height: int, width: int) -> ResidualShapes:
    """The shapes of what can be added to a UNet's skip connections and middle block.

    Args:
        config: the UNet's, or a ControlNet's.
        height: of the latents.
        width: of the latents.
    """
    skips: list[Shape] = [(height, width, config.channels[0])]
    for level, channels in enumerate(config.channels):
        skips += [(height, width, channels)] * config.layers[level]
        if level < len(config.channels) - 1:
            height, width = -(-height // 2), -(-width // 2)
            skips.append((height, width, channels))
    return ResidualShapes(tuple(skips), (height, width, config.channels[-1]))


def feature_shapes(config: UNetConfig, height: int, width: int) -> tuple[Shape, ...]:
    """The shapes [h, w, channels] of the features that a UNet takes; see `Additions`.

    A level with transformers takes them before its downsampling, another one after it.
    """
    shapes: list[Shape] = []
    for level, channels in enumerate(config.channels):
        below = height, width
        if level < len(config.channels) - 1:
            below = -(-height // 2), -(-width // 2)
        at = (height, width) if config.down_transformers[level] else below
        shapes.append((*at, channels))
        height, width = below
    if config.mid_resnets:
        shapes.append((height, width, config.channels[-1]))
    return tuple(shapes)
