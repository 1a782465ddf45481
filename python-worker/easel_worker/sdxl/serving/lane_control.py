"""What a lane with controls has besides its other arrays."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from jax import Array

from easel_worker.engine import Control, ControlUse
from easel_worker.sdxl.model.controlnet import ControlNet
from easel_worker.sdxl.model.t2i_adapter import T2IAdapter
from easel_worker.sdxl.serving.control_programs import NetConfig
from easel_worker.sdxl.serving.programs import Conditions


@dataclass(frozen=True, eq=False)
class Net:
    """A ControlNet or T2I-Adapter on the devices."""

    listed: Control
    config: NetConfig
    params: ControlNet | T2IAdapter

    @property
    def name(self) -> str:
        """By which requests name it."""
        return self.listed.name


class UsedNet(NamedTuple):
    """A net that an image has, with what was made of the picture at the image's start.

    Attributes:
        picture: of a ControlNet the embedded picture, of a T2I-Adapter its features.
    """

    net: Net
    use: ControlUse
    picture: Any

    def scale(self, evaluation: int, evaluations: int) -> float:
        """How strong it is in an evaluation of the UNet, counted from 0."""
        return self.use.scale if self.use.in_step(evaluation, evaluations) else 0.0


@dataclass(eq=False)
class LaneControl:
    """The nets of an image.

    Attributes:
        nets: in the request's order.
        contexts: the conditions of its guided steps, with contexts, if it has any.
        alone: the same for the unguided steps of a guided image; None if it has none.
        features: of its T2I-Adapters together, with the scales that they are for.
    """

    nets: tuple[UsedNet, ...]
    contexts: Conditions
    alone: Conditions | None = None
    features: tuple[tuple[float, ...], tuple[Array, ...]] | None = None
