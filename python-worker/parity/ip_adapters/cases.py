"""Images with IP-Adapters. No torch."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from easel_worker.engine import ImageSpec, IpAdapterUse, Picture
from easel_worker.sdxl.serving.engine import SdxlEngine
from parity import cases
from parity.ip_adapters.files import FILES, PLAIN, PLUS, AdapterFile, picture
from parity.pipeline.cases import PipelineCase

IMAGE = PipelineCase("ip adapters", cases.SDXL_BASE_IN_SMALL, steps=4)


@dataclass(frozen=True)
class IpAdapterCase:
    """An image to make with an adapter.

    Attributes:
        image: what else it is.
    """

    name: str
    file: AdapterFile
    scale: float
    image: PipelineCase = IMAGE

    def picture(self) -> NDArray[np.uint8]:
        """Return the picture to prompt with."""
        return picture(self.image.seed + 4)

    def noises(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the noise that both sides start from, and that of the picture's latents."""
        image = self.image
        return image.noise(), image.posterior() if image.strength is not None else None

    def spec(self, engine: SdxlEngine) -> ImageSpec:
        """Return the image as our engine's spec."""
        digests = {each.name: each.digest for each in engine.capabilities.ip_adapters}
        return replace(
            self.image.spec(),
            ip_adapters=(IpAdapterUse(self.file.name, digests[self.file.name], self.scale),),
            ip_adapter_pictures=(Picture("", self.picture()),),
        )


def _case(name: str, file: AdapterFile, scale: float, **changes: Any) -> IpAdapterCase:
    return IpAdapterCase(name, file, scale, replace(IMAGE, **changes))


IP_ADAPTER_CASES = (
    *(_case(f"{file.name} {scale}", file, scale) for file in FILES for scale in (0, 0.6, 1)),
    _case("plain, unguided", PLAIN, 0.6, guidance=1.0),
    _case("plus, unguided", PLUS, 1.0, guidance=1.0),
    _case("plain, negative prompt", PLAIN, 1.0, negative="blurry and dark"),
    _case(
        "plus, negative prompt, rescale",
        PLUS,
        0.6,
        negative="blurry",
        scheduler="dpmpp_2m_karras",
        more={"guidance_rescale": 0.7},
    ),
    _case("plain, from a picture", PLAIN, 0.6, strength=0.6, steps=8),
    _case("plus, from a picture, unguided", PLUS, 1.0, strength=0.6, steps=8, guidance=1.0),
    _case("plus, repainting", PLUS, 0.8, strength=0.85, steps=6, masked=True),
    *(_case(f"plain, {m.name}", PLAIN, 0.8, model=m) for m in (cases.SSD_1B, cases.KOALA_700M)),
)
"""Cases of one model follow one another."""
