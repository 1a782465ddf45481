"""Lanes on the host: what an image in flight consists of, and which lanes share a call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from easel_worker.engine import Job
from easel_worker.sdxl.programs import Conditions, LaneInput, Size, State, StepNumbers
from easel_worker.sdxl.samplers.table import Coefficients, Table


@dataclass(eq=False)
class SdxlLane:
    """One image in flight.

    Attributes:
        job: what is being made.
        table: its scheduler's.
        conditions: what its prompts say to each step.
        state: after `step` steps.
    """

    job: Job
    table: Table
    conditions: Conditions
    state: State
    step: int = 0

    @property
    def size(self) -> Size:
        """The image's size in pixels."""
        return Size(self.job.width, self.job.height)

    @property
    def input(self) -> LaneInput:
        """The arrays for the next step."""
        return LaneInput(self.state, self.conditions)


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

    @property
    def rows_padded(self) -> int:
        """How many rows are computed for nothing."""
        return self.padding * (2 if self.guided else 1)

    @property
    def padded(self) -> tuple[SdxlLane, ...]:
        """As many lanes as the program takes: the last one is repeated, and its copies are lost."""
        return self.lanes + self.lanes[-1:] * self.padding


def plan_calls(lanes: Sequence[SdxlLane], lane_counts: LaneCounts) -> list[Call]:
    """Split lanes into calls of programs, guided and unguided ones apart, in order.

    Args:
        lanes: to advance, of one size.
        lane_counts: how many lanes the programs take.
    """
    calls = []
    for guided, counts in ((True, lane_counts.guided), (False, lane_counts.unguided)):
        rest = tuple(lane for lane in lanes if lane.job.guided is guided)
        while rest:
            # The largest program that they fill; failing that the smallest, in part for nothing.
            filled = [count for count in counts if count <= len(rest)]
            taken = filled[-1] if filled else counts[0]
            padding = max(taken - len(rest), 0)
            calls.append(Call(rest[:taken], guided, padding))
            rest = rest[taken:]
    return calls


def step_numbers(lanes: Sequence[SdxlLane]) -> StepNumbers:
    """The numbers of each lane's next step."""
    rows = [lane.table.at(lane.step) for lane in lanes]
    return StepNumbers(
        timestep=np.array([lane.table.timesteps[lane.step] for lane in lanes], np.float32),
        guidance=np.array([lane.job.guidance for lane in lanes], np.float32),
        seed=np.array([lane.job.seed for lane in lanes], np.uint32),
        step=np.array([lane.step for lane in lanes], np.uint32),
        coefficients=Coefficients(
            *(np.array(column, np.float32) for column in zip(*rows, strict=True))
        ),
    )
