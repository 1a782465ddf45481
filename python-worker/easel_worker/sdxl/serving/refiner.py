"""The refiner: a second model that does the last steps of an image, from the first one's latents.

It is another architecture with other programs, so the lanes that it steps are a group of their own
(`StepShape.refined`). Where it takes over, a lane keeps its state, and its table says at which
level of noise; see `samplers.handover`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jax.sharding import Sharding
from msgspec import UNSET

from easel_worker.engine import ImageSpec, Tokens
from easel_worker.sdxl.folder.model import SdxlParams
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.serving.chunk_vectors import ChunkVectors
from easel_worker.sdxl.serving.lanes import SdxlLane
from easel_worker.sdxl.serving.program_set import ProgramSet
from easel_worker.sdxl.serving.programs import Conditions, Encoded
from easel_worker.sdxl.serving.prompts import PromptEncoder
from easel_worker.sdxl.serving.time_ids import time_ids_with_scores


class Refiner:
    """A loaded and compiled refiner.

    Attributes:
        programs: its own: the encoding of prompts and the steps.
    """

    def __init__(
        self,
        config: SdxlConfig,
        params: SdxlParams,
        programs: ProgramSet,
        everywhere: Sharding,
        *,
        empty_text: Tokens,
    ) -> None:
        """Args:

        config: its configuration.
        params: its parameters, on the devices.
        programs: compiled for every size and number of chunks that callers use.
        everywhere: where encoded prompts are placed.
        empty_text: the ids of the empty text.
        """
        self.programs = programs
        self._params = params
        self._prompts = PromptEncoder(
            config,
            lambda _: params.text,
            programs,
            everywhere,
            empty_text=empty_text,
            vectors=ChunkVectors(None, None),
        )

    def prompts_of(self, spec: ImageSpec, *, remember: bool = True) -> list[Encoded]:
        """Its encoded prompts, without LoRAs: see `PromptEncoder.of_image`."""
        plain = replace(spec, loras=UNSET, pooled_at_end=False)
        return self._prompts.of_image(plain, remember=remember)

    def take_over(self, lane: SdxlLane) -> None:
        """Give a lane what the refiner's steps take, in the place of what the model's took."""
        spec = lane.spec
        lane.unet = self._params.unet
        lane.control = None
        lane.alone = None
        lane.conditions = self._project(spec, lane.refiner_prompts)
        left = lane.plan[lane.step :]
        if spec.guided and not all(step.guided for step in left):
            lane.alone = self._project(spec, lane.refiner_prompts[-1:])
        lane.refiner_prompts = ()

    def _project(self, spec: ImageSpec, prompts: Sequence[Encoded]) -> Conditions:
        given = tuple(prompt.prompt for prompt in prompts)
        project = self.programs.project(len(given), self._prompts.chunks(spec.prompt))
        ids = np.stack(time_ids_with_scores(spec)[-len(given) :])
        return project(self._params.unet, given, ids)
