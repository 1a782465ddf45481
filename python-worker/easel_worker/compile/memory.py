"""Whether a model, its programs and its images in flight fit into a chip's memory."""

import re
from dataclasses import dataclass

from easel_worker.compile.counting_compiler import Counted
from easel_worker.sdxl.folder.model import SdxlParams
from easel_worker.sdxl.model.params import nbytes


@dataclass(frozen=True)
class Residents:
    """Bytes in use on one chip while it makes images.

    Attributes:
        weights: weights of all parts.
        code: code of all programs.
        image: what a guided image holds between steps: its state, the keys and values of its
            prompts, and the deep feature if steps may be cached.
        working: the maximum that one program needs while it runs, with its results.
    """

    weights: int
    code: int
    image: int
    working: int

    def total(self, images: int) -> int:
        """Total bytes with `images` guided images in flight."""
        return self.weights + self.code + images * self.image + self.working


def residents(
    params: SdxlParams, counted: list[Counted], refiner: SdxlParams | None = None
) -> Residents:
    """Add up the bytes of compiled programs.

    Args:
        params: shapes of all weights. Each chip has a copy.
        counted: the programs.
        refiner: shapes of the refiner's weights, of which it may share some with the model.
    """
    parts = [params.unet, params.vae, params.encoder, params.text.first, params.text.second]
    if refiner is not None:
        parts += [refiner.unet, refiner.text.second]
    images = [
        each.beside_weights // lanes for each in counted if (lanes := _guided_lanes(each.name))
    ]
    return Residents(
        weights=sum(nbytes(part) for part in parts),
        code=sum(each.cost.code for each in counted),
        image=max(images, default=0),
        working=max((each.cost.temporary + each.cost.outputs for each in counted), default=0),
    )


def _guided_lanes(name: str) -> int:
    """Lanes of a guided denoising program; 0 for another program."""
    found = re.search(r"^denoise .* guided(?: cached)? x(\d+)$", name)
    return int(found[1]) if found else 0
