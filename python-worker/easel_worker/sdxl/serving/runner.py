"""Runs a loaded and compiled model: starts, advances and decodes lanes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from easel_worker.embedding_check import embeddings_of
from easel_worker.engine import (
    ImageSpec,
    LaneState,
    Latents,
    NotFinite,
    Pixels,
    ProgramInfo,
    Tokens,
)
from easel_worker.sdxl.folder.model import SdxlParams
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.unet import UNet
from easel_worker.sdxl.samplers.table import Table
from easel_worker.sdxl.serving import lane_state
from easel_worker.sdxl.serving.adapters import Adapters
from easel_worker.sdxl.serving.beginning import Beginner
from easel_worker.sdxl.serving.chunk_vectors import ChunkVectors
from easel_worker.sdxl.serving.control_programs import StepKind
from easel_worker.sdxl.serving.controls import Controls
from easel_worker.sdxl.serving.image_prompts import ImagePrompts, SeenPicture
from easel_worker.sdxl.serving.lane_control import LaneControl
from easel_worker.sdxl.serving.lanes import Call, LaneCounts, SdxlLane, plan_calls, step_numbers
from easel_worker.sdxl.serving.picture_programs import Draws
from easel_worker.sdxl.serving.program_set import DenoiseKey, ProgramSet
from easel_worker.sdxl.serving.programs import Conditions, Decoded, Encoded, LaneInput, Prompt
from easel_worker.sdxl.serving.prompts import PromptEncoder, sorted_loras
from easel_worker.sdxl.serving.refiner import Refiner
from easel_worker.sdxl.serving.sharding import replicated
from easel_worker.sdxl.serving.time_ids import time_ids, time_ids_with_scores

TEXT_ENCODERS = ("text_encoder", "text_encoder_2")


class Runner:
    """Turns a valid spec into pixels.

    Attributes:
        controls: the operator's nets, once they are loaded and compiled.
        image_prompts: the same of IP-Adapters.
        refiner: the same of the refiner.
        params: the model's parameters.
    """

    def __init__(
        self,
        config: SdxlConfig,
        params: SdxlParams,
        programs: ProgramSet,
        mesh: Mesh,
        *,
        empty_text: Tokens,
        lane_counts: LaneCounts,
        adapters: Adapters,
        vectors: ChunkVectors,
    ) -> None:
        """Args:

        config: the model's configuration.
        params: its parameters, on the mesh.
        programs: compiled for every size and lane count that callers use.
        mesh: the devices.
        empty_text: the ids of the empty text.
        lane_counts: how many lanes each denoising program takes.
        adapters: gives the parameters of images with LoRAs.
        vectors: gives the vectors of embeddings.
        """
        self.controls: Controls | None = None
        self.image_prompts: ImagePrompts | None = None
        self.refiner: Refiner | None = None
        self.params = params
        self._adapters = adapters
        self._programs = programs
        self._everywhere = replicated(mesh)
        self._lane_counts = lane_counts
        self._vectors = vectors
        self._prompts = PromptEncoder(
            config,
            self._adapters.text,
            programs,
            self._everywhere,
            empty_text=empty_text,
            vectors=vectors,
        )
        self._scores = config.aesthetic_scores
        self._beginner = Beginner(config, programs, params.encoder, self._everywhere)

    @property
    def adapters(self) -> Adapters:
        """The parameters of images with LoRAs."""
        return self._adapters

    @property
    def infos(self) -> tuple[ProgramInfo, ...]:
        """The programs compiled so far."""
        more = () if self.refiner is None else self.refiner.programs.infos
        return (*self._programs.infos, *more)

    @property
    def has_encoder(self) -> bool:
        """Whether the model has what encodes pictures."""
        return self.params.encoder is not None

    def vector_ids(self, spec: ImageSpec) -> list[range]:
        """The ids of each of an image's embeddings.

        Raises:
            InvalidRequest: a file is another one now.
        """
        return [self._vectors.ids_of(use) for use in embeddings_of(spec)]

    def start(self, spec: ImageSpec, table: Table, draws: Draws | None) -> SdxlLane:
        """A lane before its first step, with noise from the spec's seed or the given noise."""
        return self._start(spec, table, draws, self.prompts_of(spec))

    def _refined_prompts(self, spec: ImageSpec, *, remember: bool) -> list[Encoded]:
        return (
            self._ready_refiner.prompts_of(spec, remember=remember)
            if spec.refined_from is not None
            else []
        )

    def prepare(self, spec: ImageSpec, ready: Callable[[], None]) -> bool:
        """See `Engine.prepare`. Prompts that are remembered need no text encoders."""
        loras = sorted_loras(spec)
        encodes = bool(loras) and not self._prompts.remembers(spec)
        return self.adapters.prepare(loras, ready, encodes=encodes)

    def prompts_of(self, spec: ImageSpec) -> list[Encoded]:
        """The encoded prompts of an image; see `PromptEncoder.of_image`."""
        return self._prompts.of_image(spec)

    def try_image(self, spec: ImageSpec, table: Table) -> None:
        """Make an image without a negative prompt and discard it.

        Safe while another thread makes images.

        Raises:
            NotFinite: its numbers are not finite.
        """
        prompts = self._prompts.of_image(spec, remember=False)
        lane = self._start(spec, table, None, prompts, remember=False)
        for _ in range(lane.evaluations):
            self.step([lane])
        self.finish(lane)

    def _start(
        self,
        spec: ImageSpec,
        table: Table,
        draws: Draws | None,
        prompts: Sequence[Encoded],
        *,
        remember: bool = True,
    ) -> SdxlLane:
        """Args: `prompts` holds the prompt, with the negative prompt before it if guided."""
        refiner_prompts = self._refined_prompts(spec, remember=remember)
        unet = self._adapters.unet(sorted_loras(spec))
        beginning = self._beginner.begin(spec, table, draws)
        lane = SdxlLane(
            spec=spec,
            table=table,
            conditions=self._project(spec, prompts, unet.params),
            state=beginning.state,
            unet=unet.params,
            background=beginning.background,
            inpainting=beginning.inpainting,
            refiner_prompts=refiner_prompts,
        )
        unet.users.add(lane)
        if spec.guided and not all(step.guided for step in lane.plan):
            lane.alone = self._project(spec, prompts[-1:], unet.params)
        seen = self._see(spec, lane)
        if spec.conditioned and self.controls is not None:
            lane.control = self._control(spec, prompts, lane)
            _wait([each.picture for each in lane.control.nets])
        _wait((lane.state, lane.conditions, lane.alone, lane.inpainting))
        for prompt in (*prompts, *refiner_prompts):
            for name, finite in zip(TEXT_ENCODERS, np.asarray(prompt.finite), strict=True):
                if not finite:
                    raise NotFinite("text_encoder", name)
        beginning.check()
        if seen is not None:
            seen.check()
        return lane

    def save(self, lane: SdxlLane, most: int) -> LaneState | None:
        """See `Engine.save`."""
        return lane_state.save(lane, most)

    def resume(self, spec: ImageSpec, table: Table, state: LaneState) -> SdxlLane:
        """See `Engine.resume`."""
        lane = self.start(spec, table, None)
        lane_state.load(lane, state, self._programs, self._everywhere)
        if lane.refined:
            self._hand_over(lane)
        return lane

    def step(self, lanes: Sequence[SdxlLane]) -> int:
        """Advance lanes of one shape, wait for the devices, and return how many rows were padding.

        Lanes whose numbers are known not to be finite do not advance.
        """
        lanes = [lane for lane in lanes if lane.settle()]
        calls = plan_calls(lanes, self._lane_counts)
        for call in calls:
            padded = call.padded
            key = self._key(call)
            programs = self._ready_refiner.programs if call.lanes[0].refined else self._programs
            run = programs.denoise(key)
            made, finite = run(call.lanes[0].unet, self._inputs(call, key), step_numbers(padded))
            finite.copy_to_host_async()
            for place, lane in enumerate(call.lanes):  # the rest is padding
                lane.advance(made[place], finite, place)
                self._blend(lane)
                if lane.evaluation == lane.handover:
                    self._hand_over(lane)
        _wait([lane.state for lane in lanes])
        return sum(call.rows_padded for call in calls)

    def _key(self, call: Call) -> DenoiseKey:
        spec, padded = call.lanes[0].spec, call.padded
        chunks = self._prompts.chunks(spec.prompt)
        how = call.guided, call.cached, chunks, call.lanes[0].shape.conditioned
        return DenoiseKey(spec.size, len(padded), *how)

    def _inputs(self, call: Call, key: DenoiseKey) -> tuple[LaneInput, ...]:
        inputs = tuple(map(self._input, call.lanes))
        inputs += inputs[-1:] * call.padding
        if not key.conditioned or self.controls is None:
            return inputs
        kind = StepKind(key.size, key.lanes, key.guided, key.chunks)
        additions = self._ready_controls.additions(call.padded, kind)
        return tuple(
            own._replace(additions=more) for own, more in zip(inputs, additions, strict=True)
        )

    def _input(self, lane: SdxlLane) -> LaneInput:
        line = lane.line if lane.next.cached else None
        if line is None:
            return lane.input
        forecast = self._programs.forecast(lane.size, guided=lane.next.guided)
        return lane.input._replace(deep=forecast(*line))

    def finish(self, lane: SdxlLane) -> Pixels:
        """Decode the lane's sample into pixels.

        Raises:
            NotFinite: the last step's numbers or the decoder's output are not finite.
        """
        self._settle(lane)
        decode = self._programs.decode(lane.size)
        pixels = _read(decode(self.params.vae, lane.state.sample))
        if pixels is None:
            raise NotFinite("decode", "the decoder")
        return pixels

    def latents(self, lane: SdxlLane) -> Latents:
        """The lane's sample.

        Raises:
            NotFinite: the last step's numbers are not finite.
        """
        self._settle(lane)
        return np.asarray(lane.state.sample, np.float32)

    def preview(self, lane: SdxlLane) -> Pixels | None:
        """The image that the lane's last step predicted, smaller if the image is large.

        None if its pixels are not finite; the finished image's pixels may still be.

        Raises:
            NotFinite: the last step's numbers are not finite.
        """
        self._settle(lane)
        preview = self._programs.preview(lane.size)
        return _read(preview(self.params.vae, lane.state.image))

    def _settle(self, lane: SdxlLane) -> None:
        lane.settle()
        if lane.not_finite is not None:
            raise lane.not_finite

    def _project(self, spec: ImageSpec, prompts: Sequence[Encoded], unet: UNet) -> Conditions:
        given: tuple[Prompt, ...] = tuple(prompt.prompt for prompt in prompts)
        project = self._programs.project(len(given), self._prompts.chunks(spec.prompt))
        return project(unet, given, self._time_ids(spec, len(given)))

    def _time_ids(self, spec: ImageSpec, rows: int) -> NDArray[np.float32]:
        """[rows, 5 or 6]."""
        both = time_ids_with_scores(spec) if self._scores else time_ids(spec)
        return np.stack(both[-rows:])

    def _see(self, spec: ImageSpec, lane: SdxlLane) -> SeenPicture | None:
        """Give a lane the keys and values of its picture, as its steps' programs take them."""
        prompts = self.image_prompts
        if not spec.conditioned or prompts is None:
            return None
        seen = prompts.begin(spec)
        rows = 2 if spec.guided else 1
        lane.conditions = lane.conditions._replace(picture=prompts.context(seen, rows))
        if lane.alone is not None:
            lane.alone = lane.alone._replace(picture=prompts.context(seen, 1))
        return seen

    def _control(self, spec: ImageSpec, prompts: Sequence[Encoded], lane: SdxlLane) -> LaneControl:
        def contexts(prompts: Sequence[Encoded]) -> Conditions:
            given = tuple(prompt.prompt for prompt in prompts)
            project = self._programs.contexts(len(given), self._prompts.chunks(spec.prompt))
            return project(lane.unet, given, self._time_ids(spec, len(given)))

        alone = None if lane.alone is None else contexts(prompts[-1:])
        return self._ready_controls.begin(spec, contexts(prompts), alone)

    @property
    def _ready_controls(self) -> Controls:
        if self.controls is None:
            raise RuntimeError("the operator's nets are not ready")
        return self.controls

    def _hand_over(self, lane: SdxlLane) -> None:
        """The rest of a lane's steps are the refiner's."""
        self._ready_refiner.take_over(lane)
        if lane.spec.adapters:
            self._adapters.release(lane)

    @property
    def _ready_refiner(self) -> Refiner:
        if self.refiner is None:
            raise RuntimeError("the refiner is not ready")
        return self.refiner

    def _blend(self, lane: SdxlLane) -> None:
        """Put back what the lane keeps of its picture."""
        if lane.background is not None:
            levels = lane.table.noised_at(lane.evaluation)
            blend = self._programs.pictures.blend(lane.size)
            lane.state = blend(lane.state, lane.background, *levels)


def _read(decoded: Decoded) -> Pixels | None:
    """Copy pixels from the devices; None if they are not finite."""
    decoded.finite.copy_to_host_async()
    pixels = np.asarray(decoded.pixels)
    return pixels if np.asarray(decoded.finite) else None


def _wait(arrays: Any) -> None:
    """Wait until the devices have computed a pytree of arrays."""
    for array in jax.tree.leaves(arrays):
        array.block_until_ready()
