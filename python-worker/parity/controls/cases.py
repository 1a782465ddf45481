"""Images that follow pictures, and the nets that they follow them by. No torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from easel_worker.engine import Control, ControlUse, ImageSpec, Picture
from parity import cases
from parity.controls.files import is_adapter
from parity.pipeline.cases import UNIPC, PipelineCase

MODEL = cases.SDXL_BASE_IN_SMALL

_FOR_UNET = (
    "addition_embed_type",
    "addition_time_embed_dim",
    "attention_head_dim",
    "block_out_channels",
    "cross_attention_dim",
    "down_block_types",
    "layers_per_block",
    "norm_num_groups",
    "projection_class_embeddings_input_dim",
    "transformer_layers_per_block",
    "use_linear_projection",
)


def controlnet_of(unet: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config.json of a ControlNet for a UNet, without its picture's channels."""
    own = {key: unet[key] for key in _FOR_UNET if key in unet}
    return {"_class_name": "ControlNetModel"} | own


_CONTROLNET = controlnet_of(MODEL.unet)
NO_CONDITIONS = {
    "addition_embed_type": None,
    "addition_time_embed_dim": None,
    "projection_class_embeddings_input_dim": None,
}
_ADAPTER = {
    "_class_name": "T2IAdapter",
    "adapter_type": "full_adapter_xl",
    "channels": [32, 64, 96, 96],
    "downscale_factor": 16,
    "in_channels": 3,
    "num_res_blocks": 2,
}

NETS: dict[str, dict[str, Any]] = {
    "canny": _CONTROLNET | {"conditioning_embedding_out_channels": [16, 24, 32, 40]},
    "depth": _CONTROLNET | {"conditioning_embedding_out_channels": [16, 24, 32, 40]},
    # No transformers, no sizes, and blue first.
    "small": _CONTROLNET
    | NO_CONDITIONS
    | {
        "conditioning_embedding_out_channels": [8, 8, 16, 16],
        "controlnet_conditioning_channel_order": "bgr",
        "down_block_types": ["DownBlock2D"] * 3,
        "mid_block_type": "UNetMidBlock2D",
        "transformer_layers_per_block": 1,
    },
    "sketch": _ADAPTER,
    "grey": _ADAPTER | {"in_channels": 1, "num_res_blocks": 1},
}
"""The config.json of each net."""


@dataclass(frozen=True)
class NetUse:
    """A net that an image has; see `ControlUse`."""

    name: str
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0

    @property
    def adapter(self) -> bool:
        """Whether it is a T2I-Adapter."""
        return is_adapter(NETS[self.name])


@dataclass(frozen=True)
class ControlCase:
    """An image that follows a picture by each of one or two nets."""

    image: PipelineCase
    nets: tuple[NetUse, ...]

    @property
    def name(self) -> str:
        """The case's name."""
        return self.image.name

    def pictures(self) -> list[NDArray[np.uint8]]:
        """Return the picture of each net, [H, W, 3]: edges and noise in colours."""
        width, height = self.image.pixels
        generator = np.random.default_rng(self.image.seed + 7)
        blocks = generator.integers(0, 2, (len(self.nets), height // 4, width // 4, 3)) * 200
        large = blocks.repeat(4, axis=1).repeat(4, axis=2)
        return list((large + generator.integers(0, 56, large.shape)).astype(np.uint8))

    def spec(self, listed: Sequence[Control]) -> ImageSpec:
        """Return our engine's spec, with the digests of these nets."""
        digests = {each.name: each.digest for each in listed}
        return replace(
            self.image.spec(),
            controls=tuple(
                ControlUse(use.name, digests[use.name], use.scale, use.start, use.end)
                for use in self.nets
            ),
            control_pictures=tuple(
                Picture(f"picture {number}", picture)
                for number, picture in enumerate(self.pictures())
            ),
        )


def _cases() -> Iterator[ControlCase]:
    for guidance in (5.0, 1.0):
        guided = "guided" if guidance > 1 else "unguided"

        def image(name: str, guided: str = guided, guidance: float = guidance, **more: Any) -> Any:
            given = {"steps": 6, "settings": UNIPC, "strength": None} | more
            return PipelineCase(f"{name} {guided}", MODEL, guidance=guidance, **given)

        canny, depth, small = NetUse("canny"), NetUse("depth", 0.6), NetUse("small", 0.8)
        sketch, grey = NetUse("sketch"), NetUse("grey", 0.7)
        yield ControlCase(image("one net"), (canny,))
        yield ControlCase(image("one net from 0.2 to 0.7"), (replace(depth, start=0.2, end=0.7),))
        yield ControlCase(image("net without conditions", negative="dark"), (small,))
        yield ControlCase(
            image("two nets", scheduler="dpmpp_2m_karras"),
            (replace(canny, end=0.5), replace(small, start=0.3)),
        )
        yield ControlCase(image("one net twice", scheduler="heun", steps=3), (canny, depth))
        image_to_image = {"strength": 0.6, "scheduler": "ddim"}
        yield ControlCase(image("picture and one net", **image_to_image), (canny,))
        yield ControlCase(
            image("picture and two nets", **image_to_image, negative="dark"),
            (replace(canny, end=0.7), depth),
        )
        yield ControlCase(image("mask and one net", strength=0.6, masked=True), (canny,))
        yield ControlCase(
            image("mask and two nets", strength=1.0, masked=True),
            (replace(small, start=0.4), replace(depth, scale=1.5)),
        )
        yield ControlCase(image("one adapter"), (sketch,))
        yield ControlCase(image("one adapter to 0.5", negative="dark"), (replace(grey, end=0.5),))
        yield ControlCase(image("two adapters", scheduler="ddim"), (sketch, grey))
        yield ControlCase(image("picture and one adapter", **image_to_image), (sketch,))
        yield ControlCase(
            image("picture and one adapter to 0.5", strength=0.85, scheduler="euler_ancestral"),
            (replace(grey, end=0.5),),
        )
        yield ControlCase(image("mask and two adapters", strength=0.6, masked=True), (sketch, grey))
        yield ControlCase(
            image("mask and one adapter to 0.7", strength=1.0, masked=True, negative="dark"),
            (replace(sketch, end=0.7),),
        )
        yield ControlCase(image("adapter and net"), (replace(grey, end=0.5), depth))
        yield ControlCase(
            image("picture, net and adapter", **image_to_image),
            (replace(canny, start=0.3), sketch),
        )
        yield ControlCase(
            image("mask, net and adapter", strength=0.85, masked=True), (small, sketch)
        )


CONTROL_CASES = tuple(_cases())
