"""Lanes on the host: what an image in flight consists of, and which lanes share a call."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jax import Array

from easel_worker.engine import ImageSpec, NotFinite
from easel_worker.sdxl.folder.size import Size
from easel_worker.sdxl.samplers.table import Coefficients, Table
from easel_worker.sdxl.serving.programs import Conditions, Kept, LaneInput, State, StepNumbers
from easel_worker.sdxl.serving.step_plan import PlannedStep, plan_steps


@dataclass(eq=False)
class SdxlLane:
    """One image in flight.

    Attributes:
        spec: what is being made.
        table: its scheduler's.
        conditions: what its prompts say to each step; of a guided image, to each guided step.
        state: after `step` steps.
        alone: what the prompt alone says to the steps of a guided image that are not guided; None
            where all of them are.
        deep: the deep feature of the last whole step, as long as a step to come needs it.
        plan: how each of its steps is made.
        not_finite: set once a step is known to have made numbers that are not finite.
        unread: what the last step's program says of its lanes, and this lane's place among them,
            until it is read.
    """

    spec: ImageSpec
    table: Table
    conditions: Conditions
    state: State
    step: int = 0
    alone: Conditions | None = None
    deep: Array | None = None
    plan: tuple[PlannedStep, ...] = field(init=False)
    not_finite: NotFinite | None = None
    unread: "tuple[Array, int] | None" = None

    def __post_init__(self) -> None:
        self.plan = plan_steps(self.spec)

    @property
    def size(self) -> Size:
        """The image's size in pixels."""
        return Size(self.spec.width, self.spec.height)

    @property
    def input(self) -> LaneInput:
        """The arrays for the next step."""
        alone = self.spec.guided and not self.next.guided
        conditions = self.alone if alone else self.conditions
        if conditions is None:
            raise RuntimeError("a step without guidance was not planned when the lane was started")
        if not self.next.cached:
            return LaneInput(self.state, conditions)
        if self.deep is None:
            raise RuntimeError("a cached step was planned before a whole one")
        return LaneInput(self.state, conditions, self.deep)

    @property
    def next(self) -> PlannedStep:
        """How the next step is made."""
        return self.plan[self.step]

    def advance(self, made: State | Kept, finite: Array, place: int) -> None:
        """Take what the next step made, and let go of what no step to come needs.

        Args:
            made: of this lane.
            finite: of each lane of the call, whether its numbers are; see `settle`.
            place: of this lane in the call.
        """
        self.unread = (finite, place)
        if isinstance(made, Kept):
            self.state, self.deep = made
        else:
            self.state = made
        self.step += 1
        if self.step == len(self.plan) or not self.next.cached:
            self.deep = None

    def settle(self) -> bool:
        """Read what the last step's program said of this lane: whether its numbers are finite.

        Read when the next step begins and not at once: what the device said is here by then, and
        nobody has to wait for it.
        """
        if self.unread is not None:
            (finite, place), self.unread = self.unread, None
            if not np.asarray(finite)[place]:
                self.not_finite = NotFinite("denoise", f"step {self.step} of {self.spec.steps}")
        return self.not_finite is None


class LaneCounts(NamedTuple):
    """How many lanes the denoising programs take, ascending."""

    guided: tuple[int, ...]
    unguided: tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """Lanes to advance together, and how many more the program has room for."""

    lanes: tuple[SdxlLane, ...]
    guided: bool
    padding: int
    cached: bool = False

    @property
    def rows_padded(self) -> int:
        """How many rows are computed for nothing."""
        return self.padding * (2 if self.guided else 1)

    @property
    def padded(self) -> tuple[SdxlLane, ...]:
        """As many lanes as the program takes: the last one is repeated, and its copies are lost."""
        return self.lanes + self.lanes[-1:] * self.padding


def plan_calls(lanes: Sequence[SdxlLane], lane_counts: LaneCounts) -> list[Call]:
    """Split lanes into calls of programs by how their next step is made, else in order.

    Args:
        lanes: to advance, of one size.
        lane_counts: how many lanes the programs take.
    """
    calls = []
    for guided, cached in ((True, False), (False, False), (True, True), (False, True)):
        counts = lane_counts.guided if guided else lane_counts.unguided
        rest = tuple(lane for lane in lanes if lane.next == PlannedStep(guided, cached))
        while rest:
            # The largest program that they fill; failing that the smallest, in part for nothing.
            filled = [count for count in counts if count <= len(rest)]
            taken = filled[-1] if filled else counts[0]
            padding = max(taken - len(rest), 0)
            calls.append(Call(rest[:taken], guided, padding, cached))
            rest = rest[taken:]
    return calls


def step_numbers(lanes: Sequence[SdxlLane]) -> StepNumbers:
    """The numbers of each lane's next step."""
    rows = [lane.table.at(lane.step) for lane in lanes]
    return StepNumbers(
        timestep=np.array([lane.table.timesteps[lane.step] for lane in lanes], np.float32),
        guidance=np.array([lane.spec.guidance for lane in lanes], np.float32),
        seed=np.array([lane.spec.seed for lane in lanes], np.uint32),
        step=np.array([lane.step for lane in lanes], np.uint32),
        coefficients=Coefficients(
            *(np.array(column, np.float32) for column in zip(*rows, strict=True))
        ),
    )
