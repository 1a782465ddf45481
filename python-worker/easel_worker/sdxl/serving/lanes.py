"""Lanes on the host: the arrays of an image in flight, and which lanes share a call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jax import Array

from easel_worker.engine import ImageSpec, NotFinite, StepShape, steps_done
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.samplers.table import Coefficients, Table
from easel_worker.sdxl.serving.lane_control import LaneControl
from easel_worker.sdxl.serving.picture_programs import Background
from easel_worker.sdxl.serving.programs import (
    Conditions,
    Encoded,
    Kept,
    LaneInput,
    State,
    StepNumbers,
)
from easel_worker.sdxl.serving.step_plan import PlannedStep, plan_steps
from easel_worker.values import Size


class Seen(NamedTuple):
    """The deep feature of an evaluation, and its timestep."""

    timestep: float
    deep: Array


class Line(NamedTuple):
    """What forecasts a deep feature: `last + factor · (last - before)`."""

    last: Array
    before: Array
    factor: np.float32


@dataclass(eq=False)
class SdxlLane:
    """One image in flight.

    Attributes:
        spec: what is being made.
        table: the coefficients of its scheduler.
        conditions: the UNet's inputs made from its prompts, for its guided steps if it has any.
        state: the state after `evaluation` runs of the UNet.
        unet: the UNet's parameters, with the image's LoRAs.
        evaluation: how many rows of the table are done.
        alone: the inputs made from the prompt alone, for the unguided steps of a guided image; None
            if it has no such steps.
        deep: the deep feature of the last full step while a later step needs it, else None.
        before_deep: the evaluations and the state before that step, to do it again.
        seen: for an image that forecasts deep features, the last two of full evaluations with the
            UNet's timesteps, while a later step is cached.
        background: what the image keeps of its picture; None for nothing.
        control: what adds to the UNet; None for an image without controls.
        inpainting: what an inpainting UNet takes besides the sample; None for other UNets.
        refiner_prompts: the prompts as the refiner reads them, until it takes over.
        plan: how each step is computed.
        not_finite: set once a step is known to have made numbers that are not finite.
        unread: the last call's finite flags and this lane's place among them; None once `settle`
            has read them.
    """

    spec: ImageSpec
    table: Table
    conditions: Conditions
    state: State
    unet: UNet
    evaluation: int = 0
    alone: Conditions | None = None
    deep: Array | None = None
    before_deep: "tuple[int, State] | None" = None
    seen: tuple[Seen, ...] = ()
    background: Background | None = None
    control: LaneControl | None = None
    inpainting: Array | None = None
    refiner_prompts: Sequence[Encoded] = ()
    plan: tuple[PlannedStep, ...] = field(init=False)
    not_finite: NotFinite | None = None
    unread: "tuple[Array, int] | None" = None

    def __post_init__(self) -> None:
        self.plan = plan_steps(self.spec)

    @property
    def size(self) -> Size:
        """The image's size in pixels."""
        return self.spec.size

    @property
    def evaluations(self) -> int:
        """How many rows the table has."""
        return len(self.table.timesteps)

    @property
    def scheduled(self) -> int:
        """How many evaluations its schedule has: one that both models do counts once."""
        return self.evaluations - self.table.repeated

    @property
    def handover(self) -> int | None:
        """See `Lane.handover`."""
        return self.table.handover

    @property
    def refined(self) -> bool:
        """Whether the refiner does the next evaluation."""
        return self.handover is not None and self.evaluation >= self.handover

    @property
    def shape(self) -> StepShape:
        """See `Lane.shape`."""
        return self.spec.refined_shape if self.refined else self.spec.shape

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self.step_at(self.evaluation)

    def step_at(self, evaluation: int) -> int:
        """How many steps are done after a number of evaluations."""
        refined = self.handover is not None and evaluation >= self.handover
        done = evaluation - (self.table.repeated if refined else 0)
        return steps_done(done, steps=self.spec.steps, evaluations=self.scheduled)

    @property
    def input(self) -> LaneInput:
        """The arrays for the next evaluation."""
        alone = self.spec.guided and not self.next.guided
        conditions = self.alone if alone else self.conditions
        if conditions is None:
            raise RuntimeError("an unguided step was not planned when the lane was started")
        if not self.next.cached:
            return LaneInput(self.state, conditions, inpainting=self.inpainting)
        if self.deep is None:
            raise RuntimeError("a cached step was planned before a full one")
        return LaneInput(self.state, conditions, self.deep, inpainting=self.inpainting)

    @property
    def next(self) -> PlannedStep:
        """How the next evaluation is computed: both evaluations of a step alike."""
        return self.plan[self.step]

    @property
    def line(self) -> Line | None:
        """The forecast for the next evaluation, which is a cached one; None to reuse `deep`."""
        if len(self.seen) < 2:
            return None
        before, last = self.seen
        if before.timestep == last.timestep:
            return None
        now = self.table.timesteps[self.evaluation]
        factor = (now - last.timestep) / (last.timestep - before.timestep)
        return Line(last.deep, before.deep, np.float32(factor))

    def advance(self, made: State | Kept, finite: Array, place: int) -> None:
        """Store the result of the next evaluation, and drop arrays that no later one needs.

        Args:
            made: this lane's result.
            finite: for each lane of the call, whether its numbers are finite; see `settle`.
            place: this lane's place in the call.
        """
        self.unread = (finite, place)
        if isinstance(made, Kept):
            self.before_deep = (self.evaluation, self.state)
            self.state, self.deep = made
            self._see(made.deep)
        else:
            self.state = made
        self.evaluation += 1
        if self.evaluation == self.evaluations or not self.next.cached:
            self.deep = self.before_deep = None
        if self.seen and not any(step.cached for step in self.plan[self.step :]):
            self.seen = ()

    def _see(self, deep: Array) -> None:
        """Note the deep feature of the evaluation that is being stored."""
        if not self.spec.cache_order:
            return
        alike = tuple(each for each in self.seen if each.deep.shape == deep.shape)
        self.seen = (*alike, Seen(float(self.table.timesteps[self.evaluation]), deep))[-2:]

    def settle(self) -> bool:
        """Read the last call's flag for this lane; returns whether its numbers are finite.

        Called when the next step begins: by then the flag has arrived, so reading it does not wait
        for the device.
        """
        if self.unread is not None:
            (finite, place), self.unread = self.unread, None
            if not np.asarray(finite)[place]:
                steps = self.spec.steps
                each = -(-self.evaluations // steps)
                step = (self.evaluation + each - 1) // each
                self.not_finite = NotFinite("denoise", f"step {step} of {steps}")
        return self.not_finite is None


class LaneCounts(NamedTuple):
    """How many lanes each compiled denoising program takes, ascending."""

    guided: tuple[int, ...]
    unguided: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """Lanes to advance in one call, and how many places of the program stay unused."""

    lanes: tuple[SdxlLane, ...]
    guided: bool
    padding: int
    cached: bool = False

    @property
    def rows_padded(self) -> int:
        """How many rows are computed only to fill the program."""
        return self.padding * (2 if self.guided else 1)

    @property
    def padded(self) -> tuple[SdxlLane, ...]:
        """As many lanes as the program takes: repeats the last one; the copies are discarded."""
        return self.lanes + self.lanes[-1:] * self.padding


def plan_calls(lanes: Sequence[SdxlLane], lane_counts: LaneCounts) -> list[Call]:
    """Group lanes into calls by how their next step is computed; the order is kept in each group.

    Args:
        lanes: the lanes to advance, all of one size.
        lane_counts: how many lanes each program takes.
    """
    calls = []
    for guided, cached in ((True, False), (False, False), (True, True), (False, True)):
        counts = lane_counts.guided if guided else lane_counts.unguided
        rest = tuple(lane for lane in lanes if lane.next == PlannedStep(guided, cached))
        while rest:
            # The largest program that they fill, or else the smallest program, padded.
            filled = [count for count in counts if count <= len(rest)]
            taken = filled[-1] if filled else counts[0]
            padding = max(taken - len(rest), 0)
            calls.append(Call(rest[:taken], guided, padding, cached))
            rest = rest[taken:]
    return calls


def step_numbers(lanes: Sequence[SdxlLane]) -> StepNumbers:
    """The timestep, guidance, seed and coefficients of each lane's next step."""
    rows = [lane.table.at(lane.evaluation) for lane in lanes]
    coefficients = Coefficients(
        *(np.array(column, np.float32) for column in zip(*rows, strict=True))
    )
    if lanes[0].state.older is None:  # the same in all lanes of an engine
        coefficients = coefficients._replace(next_older=None)
    return StepNumbers(
        timestep=np.array([lane.table.timesteps[lane.evaluation] for lane in lanes], np.float32),
        guidance=np.array([lane.spec.guidance for lane in lanes], np.float32),
        rescale=np.array([lane.spec.guidance_rescale for lane in lanes], np.float32),
        seed=np.array([lane.spec.seed for lane in lanes], np.uint32),
        step=np.array([lane.evaluation for lane in lanes], np.uint32),
        coefficients=coefficients,
    )
