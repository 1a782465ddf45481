"""Whether a model, its programs and the images in flight fit a chip's memory."""

import re
from dataclasses import dataclass

from easel_worker.compile.counting_compiler import Counted, size
from easel_worker.sdxl.folder.model import SdxlParams


@dataclass(frozen=True)
class Residents:
    """Bytes on one chip while images are made.

    Attributes:
        weights: of all parts.
        code: of all programs.
        image: what a guided image holds between its steps: its state, the keys and values of its
            prompts, and the deep feature where steps may be cached.
        working: the most that one program needs while it runs, with its results.
    """

    weights: int
    code: int
    image: int
    working: int

    def total(self, images: int) -> int:
        """With so many guided images in flight."""
        return self.weights + self.code + images * self.image + self.working


def residents(params: SdxlParams, counted: list[Counted]) -> Residents:
    """Add up what was compiled.

    Args:
        params: shapes of all weights, of which each chip has a copy.
        counted: the programs.
    """
    parts = (params.unet, params.vae, params.text.first, params.text.second)
    images = [
        each.beside_weights // lanes for each in counted if (lanes := _guided_lanes(each.name))
    ]
    return Residents(
        weights=sum(size(part) for part in parts),
        code=sum(each.count.code for each in counted),
        image=max(images, default=0),
        working=max((each.count.temporary + each.count.outputs for each in counted), default=0),
    )


def _guided_lanes(name: str) -> int:
    """How many lanes a guided denoising program takes; 0 for another one."""
    found = re.search(r"^denoise .* guided(?: cached)? x(\d+)$", name)
    return int(found[1]) if found else 0
