"""A loaded and compiled model at work: lanes begun, advanced, decoded."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from easel_worker.engine import Job, Pixels, ProgramInfo, Tokens
from easel_worker.sdxl.config import SdxlConfig
from easel_worker.sdxl.lanes import LaneCounts, SdxlLane, plan_calls, step_numbers
from easel_worker.sdxl.model import SdxlParams
from easel_worker.sdxl.program_set import DenoiseKey, ProgramSet
from easel_worker.sdxl.programs import Conditions, Prompt, Size, State
from easel_worker.sdxl.prompts import PromptCache, zero_prompt
from easel_worker.sdxl.samplers.table import Table
from easel_worker.sdxl.sharding import replicated


class Runner:
    """Everything between a valid job and its pixels."""

    def __init__(
        self,
        config: SdxlConfig,
        params: SdxlParams,
        programs: ProgramSet,
        mesh: Mesh,
        *,
        empty_text: Tokens,
        lane_counts: LaneCounts,
    ) -> None:
        """Put the parts together.

        Args:
            config: the model's.
            params: its parameters, on the mesh.
            programs: compiled for all sizes and lane counts that will be asked for.
            mesh: the devices.
            empty_text: the ids of the empty text.
            lane_counts: how many lanes the denoising programs take.
        """
        self._params = params
        self._programs = programs
        self._everywhere = replicated(mesh)
        self._lane_counts = lane_counts
        self._prompts = PromptCache(self._encode)
        if config.force_zeros_for_empty_prompt:
            self._no_negative = zero_prompt(programs.prompt_shapes, self._everywhere)
        else:
            self._no_negative = self._encode(empty_text, 0)

    @property
    def infos(self) -> tuple[ProgramInfo, ...]:
        """What was compiled."""
        return self._programs.infos

    def start(self, job: Job, table: Table, noise: NDArray[np.float32] | None) -> SdxlLane:
        """A lane before its first step, from the job's seed or from given noise."""
        size = Size(job.width, job.height)
        prompt = self._prompts.encode(job.prompt, job.clip_skip)
        both = (self._negative(job), prompt) if job.guided else (prompt,)
        lane = SdxlLane(
            job=job,
            table=table,
            conditions=self._project(both),
            state=self._begin(size, job.seed, table.initial, noise),
        )
        if job.guided and not all(step.guided for step in lane.plan):
            lane.alone = self._project((prompt,))
        _wait((lane.state, lane.conditions, lane.alone))
        return lane

    def step(self, lanes: Sequence[SdxlLane]) -> int:
        """Advance lanes of one size, wait for it, and tell how many rows were padding."""
        calls = plan_calls(lanes, self._lane_counts)
        for call in calls:
            padded = call.padded
            key = DenoiseKey(lanes[0].size, len(padded), call.guided, call.cached)
            inputs = tuple(lane.input for lane in padded)
            run = self._programs.denoise(key)
            made = run(self._params.unet, inputs, step_numbers(padded))
            for lane, each in zip(call.lanes, made, strict=False):  # the rest is padding
                lane.advance(each)
        _wait([lane.state for lane in lanes])
        return sum(call.rows_padded for call in calls)

    def finish(self, lane: SdxlLane) -> Pixels:
        """The lane's sample as pixels."""
        decode = self._programs.decode(lane.size)
        return np.asarray(decode(self._params.vae, lane.state.sample))

    def preview(self, lane: SdxlLane) -> Pixels:
        """The image that the lane's last step predicted, smaller where that saves time."""
        preview = self._programs.preview(lane.size)
        return np.asarray(preview(self._params.vae, lane.state.image))

    def _project(self, prompts: tuple[Prompt, ...]) -> Conditions:
        return self._programs.project(len(prompts))(self._params.unet, prompts)

    def _negative(self, job: Job) -> Prompt:
        if job.negative is None:
            return self._no_negative
        # Diffusers' clip_skip is for the prompt only.
        return self._prompts.encode(job.negative, 0)

    def _encode(self, tokens: Tokens, skip: int) -> Prompt:
        ids, ids_2 = np.array(tokens.ids, np.int32), np.array(tokens.ids_2, np.int32)
        return self._programs.encode(self._params.text, ids, ids_2, np.int32(skip))

    def _begin(
        self, size: Size, seed: int, initial: float, noise: NDArray[np.float32] | None
    ) -> State:
        if noise is None:
            return self._programs.begin(size)(np.uint32(seed), np.float32(initial))
        sample = noise * np.float32(initial)
        return State(*jax.device_put((sample, np.zeros_like(sample)), self._everywhere))


def _wait(arrays: Any) -> None:
    """Until the devices are done with a pytree of arrays."""
    for array in jax.tree.leaves(arrays):
        array.block_until_ready()
