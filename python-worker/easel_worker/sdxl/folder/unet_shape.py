"""The blocks of a UNet in the original layout, from its tensors' names, as a diffusers config.

SSD-1B, Segmind Vega and KOALA are SDXL with fewer transformers. A single file has no config, but
its names number the blocks.
"""

import re
from collections import Counter
from collections.abc import Iterable
from itertools import count, takewhile
from typing import Any

_RESNET = re.compile(r"(\w+)\.(\d+)\.(0\.)?in_layers\.0\.weight")
_SAMPLER = re.compile(r"(\w+)\.(\d+)\.\d\.(op|conv)\.weight")
_TRANSFORMER = re.compile(r"(\w+)\.(\d+)\.(1\.)?transformer_blocks\.\d+\.norm1\.weight")

_MID_TYPES = {0: None, 1: "UNetMidBlock2D", 2: "UNetMidBlock2DCrossAttn"}
"""By the number of residual blocks in the middle."""

SDXL_BASE: dict[str, Any] = {
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "layers_per_block": [2, 2, 2],
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "reverse_transformer_layers_per_block": [[10, 10, 10], [2, 2, 2], 1],
    "transformer_layers_per_block": [1, [2, 2], [10, 10]],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
}
"""What `block_config` gives for SDXL base."""

Depths = list[int]
"""The number of layers in the transformer after each residual block of a level, 0 for none."""


def block_config(names: Iterable[str]) -> dict[str, Any]:
    """The keys of a UNet's config that say which blocks it has.

    Args:
        names: of its tensors in the original layout, without a prefix.
    """
    resnets, samplers, layers = Counter[Any](), Counter[Any](), Counter[Any]()
    for name in names:
        for pattern, found in ((_RESNET, resnets), (_SAMPLER, samplers), (_TRANSFORMER, layers)):
            if match := pattern.fullmatch(name):
                found[match[1], int(match[2])] += 1

    def levels(side: str, first: int) -> list[Depths]:
        result: list[Depths] = [[]]
        for block in takewhile(
            lambda b: b in resnets or b in samplers, ((side, i) for i in count(first))
        ):
            if block in resnets:
                result[-1].append(layers[block])
            if block in samplers:
                result.append([])
        return result

    down, up = levels("input_blocks", 1), levels("output_blocks", 0)
    middle = sum(1 for side, _ in resnets if side == "middle_block")
    depths = [_depths(level) for level in down]
    if not any(down[-1]):
        # The middle block has the depth of the last level, also where that has no transformers.
        depths[-1] = layers["middle_block", 1] or 1
    return {
        "down_block_types": [_type("Down", level) for level in down],
        "layers_per_block": [len(level) for level in down],
        "mid_block_type": _MID_TYPES.get(middle),
        "reverse_transformer_layers_per_block": [_depths(level) for level in up],
        "transformer_layers_per_block": depths,
        "up_block_types": [_type("Up", level) for level in up],
    }


def _type(way: str, level: Depths) -> str:
    return f"CrossAttn{way}Block2D" if any(level) else f"{way}Block2D"


def _depths(level: Depths) -> Depths | int:
    """A level without transformers has the default, 1."""
    return level if any(level) else 1
