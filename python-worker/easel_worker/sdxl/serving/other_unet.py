"""A UNet of another implementation in the place of ours, with the same weights."""

from dataclasses import replace
from typing import Any, Protocol, cast

from easel_worker.sdxl.folder.model import SdxlParams
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.serving.describe import Description


class OtherUNet(Protocol):
    """Computes predictions instead of our UNet, for comparisons."""

    @property
    def name(self) -> str:
        """What makes its images others than ours; HELLO says it after the dtype."""

    def of(self, unet: UNet) -> Any:
        """The other UNet with the weights of ours, or with their shapes.

        It is a pytree whose structure depends only on that of `unet`, and has what programs use of
        `UNet`: `config`, `dtype`, `maps_devices`, `project_context` and `whole`. Called on one
        thread at a time.

        Raises:
            ValueError: it does not fit these weights.
        """


def with_other(params: SdxlParams, other: OtherUNet | None) -> SdxlParams:
    """The parameters with the other UNet, if there is one."""
    if other is None:
        return params
    return replace(params, unet=cast(UNet, other.of(params.unet)))


def described(about: Description, other: OtherUNet | None) -> Description:
    """The description of the model with the other UNet, if there is one.

    Weights and precision decide a model's images (docs/architecture.md), so the name is part of the
    precision: a job never moves between a worker with our UNet and one with another.
    """
    if other is None:
        return about
    can = about.capabilities
    model = replace(can.model, dtype=f"{can.model.dtype}+{other.name}")
    return replace(about, capabilities=replace(can, model=model))
