"""Runs the operator's ControlNets and T2I-Adapters for lanes that have them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import Array

from easel_worker.engine import ImageSpec, InvalidRequest
from easel_worker.sdxl.model.additions import Additions, Residuals
from easel_worker.sdxl.model.controlnet import ControlNet
from easel_worker.sdxl.serving.control_programs import (
    ControlLane,
    ControlNumbers,
    ControlPrograms,
    StepKind,
    picture_part,
)
from easel_worker.sdxl.serving.lane_control import LaneControl, Net, UsedNet
from easel_worker.sdxl.serving.lanes import SdxlLane
from easel_worker.sdxl.serving.programs import Conditions


class Controls:
    """The operator's nets, loaded and compiled."""

    def __init__(self, nets: Sequence[Net], programs: ControlPrograms) -> None:
        """Args:

        nets: the nets, on the devices.
        programs: compiled for every size that callers use.
        """
        self._by_name = {net.listed.name: net for net in nets}
        self._programs = programs

    def begin(self, spec: ImageSpec, contexts: Conditions, alone: Conditions | None) -> LaneControl:
        """What an image's lane needs: looks at its pictures, once.

        Raises:
            InvalidRequest: a net is not here.
        """
        uses = spec.controls or ()
        used = []
        for use, picture in zip(uses, spec.control_pictures, strict=True):
            net = self._by_name.get(use.name)
            if net is None or net.listed.digest != use.digest:
                raise InvalidRequest(f"the control {use.name} with digest {use.digest} is not here")
            look = self._programs.picture(net.config, spec.size)
            used.append(UsedNet(net, use, look(picture_part(net.params), picture.pixels)))
        return LaneControl(tuple(used), contexts, alone)

    def additions(self, lanes: Sequence[SdxlLane], kind: StepKind) -> list[Additions]:
        """What pictures add in the next evaluation of these lanes, all of one kind."""
        nothing = self._programs.nothing(kind.size, 2 if kind.guided else 1)()
        residuals = nothing.residuals
        of_lanes: list[Residuals | None] = [residuals] * len(lanes)
        if residuals is not None:
            of_lanes = list(self._residuals(lanes, kind, residuals))
        features = [self._features(lane, nothing.features) for lane in lanes]
        return [Additions(*each) for each in zip(of_lanes, features, strict=True)]

    def _residuals(
        self, lanes: Sequence[SdxlLane], kind: StepKind, nothing: Residuals
    ) -> Sequence[Residuals]:
        """Each net runs for all lanes of the call, since each device has a lane.

        A lane's nets come in its own order, whatever other lanes have.
        """
        made: Sequence[Residuals] = [nothing] * len(lanes)
        controls = [_control(lane) for lane in lanes]
        scales = [_scales(lane, ControlNet) for lane in lanes]
        for place in range(max(len(each.nets) for each in controls)):
            at = [each[place] if place < len(each) else None for each in scales]
            for net in dict.fromkeys(each[0] for each in at if each is not None):
                mine = [each if each is not None and each[0] is net else None for each in at]
                some = next(each[2] for each in mine if each is not None)
                inputs = tuple(
                    ControlLane(
                        lane.state.sample,
                        control.contexts if kind.guided or control.alone is None else control.alone,
                        some if each is None else each[2],
                        before,
                    )
                    for lane, control, each, before in zip(lanes, controls, mine, made, strict=True)
                )
                numbers = ControlNumbers(
                    _floats(lane.table.timesteps[lane.evaluation] for lane in lanes),
                    _floats(0.0 if each is None else each[1] for each in mine),
                )
                made = self._programs.residuals(net.config, kind)(net.params, inputs, numbers)
        return made

    def _features(
        self, lane: SdxlLane, nothing: tuple[Array, ...] | None
    ) -> tuple[Array, ...] | None:
        """Of a lane's T2I-Adapters together. They change only where one begins or ends."""
        if nothing is None:
            return None
        control = _control(lane)
        adapters = [each for each in control.nets if not isinstance(each.net.params, ControlNet)]
        scales = tuple(each.scale(lane.evaluation, lane.scheduled) for each in adapters)
        if control.features is not None and control.features[0] == scales:
            return control.features[1]
        add, features = self._programs.features(lane.size), nothing
        for each, scale in zip(adapters, scales, strict=True):
            if scale:
                features = add(features, each.picture, np.float32(scale))
        control.features = scales, features
        return features


_Scaled = tuple[Net, float, Any]


def _scales(lane: SdxlLane, kind: type[ControlNet]) -> list[_Scaled | None]:
    """Each net of a lane with its scale and its picture; None for those that take no part now."""
    made: list[_Scaled | None] = []
    for each in _control(lane).nets:
        scale = each.scale(lane.evaluation, lane.scheduled)
        takes_part = isinstance(each.net.params, kind) and scale != 0.0
        made.append((each.net, scale, each.picture) if takes_part else None)
    return made


def _control(lane: SdxlLane) -> LaneControl:
    if lane.control is None:
        raise RuntimeError("a lane without controls in a step with them")
    return lane.control


def _floats(values: Any) -> Any:
    return np.array(list(values), np.float32)
