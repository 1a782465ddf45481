"""Images with LoRAs, nets and IP-Adapters together, of three kinds of model and an ensemble.

No torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from easel_worker.engine import ImageSpec, LoraUse
from easel_worker.sdxl.serving.engine import SdxlEngine
from parity import cases
from parity.controls.cases import NETS, ControlCase, NetUse, controlnet_of
from parity.ip_adapters.cases import IpAdapterCase
from parity.ip_adapters.files import PLAIN, PLUS, AdapterFile
from parity.loras.files import FILES
from parity.pipeline.cases import UNIPC, PipelineCase

LORA = FILES["peft"]
REFINER = cases.REFINER
MODELS = (cases.SDXL_BASE_IN_SMALL, cases.INPAINTING, REFINER)


def nets_of(model: cases.Case) -> dict[str, dict[str, Any]]:
    """Return the config.json of each of the nets for a model, by name."""
    levels = len(model.vae["block_out_channels"])
    picture = [8 * (level + 1) for level in range(levels)]
    config = controlnet_of(model.unet) | {"conditioning_embedding_out_channels": picture}
    made = {"canny": config, "depth": config}
    blocks = model.unet["block_out_channels"]
    if len(blocks) == 3:  # T2I-Adapters fit no others
        adapter = {"channels": [*blocks, blocks[-1]], "downscale_factor": 2**levels}
        made["sketch"] = NETS["sketch"] | adapter
    return made


@dataclass(frozen=True)
class TogetherCase:
    """An image to make.

    Attributes:
        image: what else it is.
        nets: that it follows, each by a picture of its own.
        lora: the weight of `LORA`, for all that it changes; None for an image without.
        adapter: its IP-Adapter, with the scale; None for an image without.
        end: `denoising_end`, of an image that a refiner finishes; these change the model's part.
    """

    image: PipelineCase
    nets: tuple[NetUse, ...] = ()
    lora: float | None = None
    adapter: tuple[AdapterFile, float] | None = None
    end: float | None = None

    @property
    def name(self) -> str:
        """The case's name."""
        return self.image.name

    @property
    def plain(self) -> "TogetherCase":
        """The image with none of them."""
        return replace(self, nets=(), lora=None, adapter=None)

    @property
    def control(self) -> ControlCase:
        """The image with its nets alone."""
        return ControlCase(self.image, self.nets)

    @property
    def reference_picture(self) -> NDArray[np.uint8]:
        """The picture that its IP-Adapter looks at."""
        return IpAdapterCase(self.name, PLAIN, 1.0, self.image).picture()

    def spec(self, engine: SdxlEngine) -> ImageSpec:
        """Return our engine's spec, with the digests of its files."""
        can, wanted = engine.capabilities, self.image.spec()
        if self.nets:
            wanted = self.control.spec(can.controls)
        if self.adapter is not None:
            file, scale = self.adapter
            alone = IpAdapterCase(self.name, file, scale, self.image).spec(engine)
            pictures = alone.ip_adapter_pictures
            wanted = replace(wanted, ip_adapters=alone.ip_adapters, ip_adapter_pictures=pictures)
        if self.lora is not None:
            [digest] = (each.digest for each in can.loras if each.name == LORA.name)
            wanted = replace(wanted, loras=(LoraUse(LORA.name, digest, self.lora, self.lora),))
        return wanted if self.end is None else replace(wanted, denoising_end=self.end)


CANNY, DEPTH, SKETCH = NetUse("canny"), NetUse("depth", 0.6, 0.1, 0.8), NetUse("sketch")
_SEEN = (PLAIN, 0.8)


def _of_base(name: str, image: dict[str, Any], parts: dict[str, Any]) -> TogetherCase:
    given = {"steps": 4, "settings": UNIPC} | image
    return TogetherCase(PipelineCase(name, cases.SDXL_BASE_IN_SMALL, **given), **parts)


def _with_refiner(name: str, image: dict[str, Any], parts: dict[str, Any]) -> TogetherCase:
    given = {"end": 0.6} | parts
    return _of_base(f"ensemble: {name}", {"steps": 8, "guidance": 3.0} | image, given)


def _of_inpainting(name: str, image: dict[str, Any], parts: dict[str, Any]) -> TogetherCase:
    given = {"steps": 5, "settings": UNIPC, "guidance": 3.0, "masked": True} | image
    return TogetherCase(PipelineCase(f"inpainting: {name}", cases.INPAINTING, **given), **parts)


def _of_refiner(name: str, image: dict[str, Any], parts: dict[str, Any]) -> TogetherCase:
    given = {"steps": 5, "settings": UNIPC, "guidance": 3.0, "strength": 0.6} | image
    made = PipelineCase(f"refiner: {name}", cases.REFINER, zeros_for_no_negative=False, **given)
    return TogetherCase(made, **parts)


def _cases() -> Iterator[TogetherCase]:
    all_three: dict[str, Any] = {"nets": (CANNY,), "lora": 0.8, "adapter": _SEEN}
    yield from starmap(
        _of_base,
        (
            ("LoRA and net", {}, {"nets": (CANNY,), "lora": 0.8}),
            ("LoRA and net, unguided", {"guidance": 1.0}, {"nets": (DEPTH,), "lora": -0.7}),
            ("LoRA and IP-Adapter", {"negative": "dark"}, {"lora": 0.8, "adapter": (PLUS, 0.7)}),
            ("net and IP-Adapter", {}, {"nets": (DEPTH,), "adapter": _SEEN}),
            (
                "all, two nets, from a picture",
                {"strength": 0.6, "steps": 6},
                all_three | {"nets": (CANNY, DEPTH)},
            ),
            ("all, repainting", {"strength": 0.85, "masked": True}, all_three),
            (
                "all, T2I-Adapter and net, repainting",
                {"strength": 0.85, "masked": True, "steps": 6},
                all_three | {"nets": (SKETCH, DEPTH)},
            ),
        ),
    )
    yield from starmap(
        _with_refiner,
        (
            ("LoRA", {}, {"lora": 0.8, "end": 0.8}),
            ("net", {}, {"nets": (DEPTH,)}),
            (
                "net, samples of second order",
                {"scheduler": "heun", "steps": 6},
                {"nets": (replace(DEPTH, end=0.5),), "end": 0.8},
            ),
            ("T2I-Adapter", {"guidance": 1.0}, {"nets": (SKETCH,)}),
            ("IP-Adapter", {"negative": "dark"}, {"adapter": (PLUS, 0.7), "end": 0.3}),
            ("all", {"negative": "dark"}, all_three | {"nets": (CANNY, DEPTH), "end": 0.8}),
            ("all, from a picture", {"strength": 0.85}, all_three),
        ),
    )
    yield from starmap(
        _of_inpainting,
        (
            ("net, from text", {"strength": None, "masked": False}, {"nets": (CANNY,)}),
            ("net", {"strength": 0.6}, {"nets": (CANNY,)}),
            ("net, all of the picture", {"strength": 0.6, "masked": False}, {"nets": (DEPTH,)}),
            ("two nets", {"strength": 1.0, "guidance": 1.0}, {"nets": (CANNY, DEPTH)}),
            ("T2I-Adapter, from text", {"strength": None, "masked": False}, {"nets": (SKETCH,)}),
            ("T2I-Adapter and net", {"strength": 0.85}, {"nets": (CANNY, SKETCH)}),
            ("IP-Adapter", {"strength": 0.85}, {"adapter": _SEEN}),
            ("LoRA", {"strength": 0.85}, {"lora": 0.8}),
            ("all", {"strength": 1.0, "negative": "dark"}, all_three),
        ),
    )
    yield from starmap(
        _of_refiner,
        (
            ("net", {}, {"nets": (CANNY,)}),
            ("two nets", {"guidance": 1.0}, {"nets": (CANNY, DEPTH)}),
            ("net, repainting", {"masked": True}, {"nets": (DEPTH,)}),
            ("IP-Adapter", {}, {"adapter": _SEEN}),
            ("LoRA", {}, {"lora": 0.8}),
            ("all", {"strength": 0.85, "negative": "dark"}, all_three),
        ),
    )


TOGETHER_CASES = tuple(_cases())
"""Cases of one model follow one another."""


def model_name(case: TogetherCase) -> str:
    """The name of a case's model."""
    return case.image.model.name
