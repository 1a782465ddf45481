"""The family of a checkpoint, by the structure of its UNet."""

from easel_worker.sdxl.model.config import UNetConfig

SDXL, SSD_1B, VEGA, KOALA, LCM = "sdxl", "ssd-1b", "vega", "koala", "lcm"
REFINER = "sdxl-refiner"

_BY_STRUCTURE: dict[tuple[int, tuple[tuple[int, ...], ...]], str] = {
    (1, ((), (2, 2), (4, 4))): SSD_1B,
    (1, ((), (1, 1), (2, 2))): VEGA,
    (0, ((), (2,), (5,))): KOALA,
    (2, ((), (2,), (6,))): KOALA,
    (2, ((), (4, 4), (4, 4), ())): REFINER,
}
"""By the middle block's residual blocks and the transformers on the way down."""


def family(config: UNetConfig) -> str:
    """`sdxl`, `ssd-1b`, `vega`, `koala`, `sdxl-refiner` or `lcm`, which embeds the guidance scale.

    Fine-tunes and few-step models with SDXL base's structure are `sdxl`.
    """
    if config.guidance_features is not None:
        return LCM
    return _BY_STRUCTURE.get((config.mid_resnets, config.down_transformers), SDXL)
