"""Implements the worker's `Engine` interface with SDXL.

`start` checks the spec, encodes its prompts (or takes them from a cache) and draws the first
sample. Each `step` runs compiled denoising programs over the lanes, a fixed number of lanes in each
call. `finish` decodes the sample into pixels.

An image depends on its spec alone. By default each device computes one lane in a call, always with
the same program, so other lanes cannot change its arithmetic.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from easel_worker.engine import (
    AESTHETIC_SCORE,
    COMPILING,
    IMAGE_TO_IMAGE,
    INPAINTING,
    LATENTS,
    LORAS,
    PROMPT_WEIGHTS,
    REFINER,
    Capabilities,
    DeviceMemory,
    ImageSpec,
    InvalidRequest,
    Lane,
    LaneState,
    Latents,
    Merges,
    Pixels,
    Tokens,
)
from easel_worker.sdxl.samplers import sampler
from easel_worker.sdxl.samplers.schedule import Schedule
from easel_worker.sdxl.samplers.table import Table
from easel_worker.sdxl.serving import int8_check, resolve
from easel_worker.sdxl.serving.adapters import Adapters
from easel_worker.sdxl.serving.assembly import assemble
from easel_worker.sdxl.serving.compilation import Compiler
from easel_worker.sdxl.serving.conditioning import Conditioning, condition_features
from easel_worker.sdxl.serving.describe import describe
from easel_worker.sdxl.serving.lanes import SdxlLane
from easel_worker.sdxl.serving.lora_memory import bytes_beside, find_place
from easel_worker.sdxl.serving.options import Options
from easel_worker.sdxl.serving.other_unet import OtherUNet, described
from easel_worker.sdxl.serving.picture_programs import Draws
from easel_worker.sdxl.serving.program_set import ProgramSet
from easel_worker.sdxl.serving.programs import Encoded
from easel_worker.sdxl.serving.refiner_loading import RefinerLoader
from easel_worker.sdxl.serving.runner import Runner
from easel_worker.sdxl.serving.schedule_of import schedule_of
from easel_worker.sdxl.serving.shelves import Shelves
from easel_worker.sdxl.serving.state_kind import state_kind
from easel_worker.sdxl.serving.trial import try_picture, try_size
from easel_worker.timeline import FIRST_IMAGE, Timeline
from easel_worker.values import Size

MAX_IDS = 2**31
"""Programs take ids as int32."""


class SdxlEngine:
    """Makes images with an SDXL model from a diffusers folder or a single file."""

    def __init__(
        self,
        model: Path,
        options: Options | None = None,
        timeline: Timeline | None = None,
        compiler: Compiler | None = None,
        other: OtherUNet | None = None,
    ) -> None:
        """Read the small files; `warm` does the slow work.

        Args:
            model: the model's folder or file.
            options: the operator's options.
            timeline: records how long each part of the start took.
            compiler: makes the programs; None for the one that the options ask for.
            other: computes the UNet in the place of ours; None for ours.

        Raises:
            ValueError: the model or an option is not supported; the message says what to do.
        """
        self._model = model
        self._options = options or Options()
        self._about = described(describe(model, self._options), other)
        self._other = other
        self._capabilities = self._about.capabilities
        self._make_table = lru_cache(maxsize=256)(self._new_table)
        self._runner: Runner | None = None
        self._shelves = Shelves(self._about, self._options, self._say)
        self._rows_padded = 0
        self._timeline = timeline or Timeline()
        self._compiler = compiler
        self._report: Callable[[str], None] = lambda _: None

    def warm(self, report: Callable[[str], None]) -> None:
        """See `Engine.warm`. With `Options.compile_behind` it returns after the default size."""
        self._report = report
        report(f"reading {self._model}")
        for warning in self._about.warnings:
            report(f"warning: {warning}")
        for note in self._about.notes:
            report(note)
        about, timeline = self._about, self._timeline
        if resolve.dtypes(self._options).int8:
            with timeline.span("int8 check"):
                device = resolve.devices(self._options)[0]
                int8_check.check(resolve.kernel_options(self._options), device)
        self._shelves.watch()
        runner, digest, programs, compiler = assemble(
            about,
            self._options,
            timeline,
            report,
            self._shelves,
            compiler=self._compiler,
            other=self._other,
        )
        self._shelves.wait()
        first, *others = about.sizes
        with timeline.span("trial image"):
            try_size(runner, about, self._options, first)
        self._runner = runner
        self._capabilities = replace(
            self._capabilities,
            model=replace(self._capabilities.model, digest=digest),
            sizes=(first,),
            coming=tuple(others),
            coming_features=(
                *self._later(programs),
                *self._pictures,
                *condition_features(self._about),
                *self._refined,
            ),
            coming_max_chunks=self._options.max_prompt_chunks,
            programs=runner.infos,
            state_kind=state_kind(about, self._options),
        )
        if self._options.compile_behind:
            threading.Thread(
                target=self._extend, args=(programs, compiler, others), name=COMPILING, daemon=True
            ).start()
        else:
            self._extend(programs, compiler, others)

    def _extend(self, programs: ProgramSet, compiler: Compiler, sizes: Sequence[Size]) -> None:
        """Compile what goes beyond the default size and prompts of one chunk without masks.

        The programs for pictures come late, then those of nets, and the refiner's after all others:
        they are offered for all sizes or for none. With `Options.compile_behind` this runs while
        images are made, and what fails is not offered.
        """
        for feature, add in self._later(programs).items():
            self._add_features((feature,), add)
        for size in sizes:
            if not self._attempt(str(size), partial(self._add_size, programs, size)):
                self._offer(coming=_without(self._capabilities.coming, size))
        for chunks in range(2, self._options.max_prompt_chunks + 1):
            name = f"a prompt of {chunks} chunks"
            if not self._attempt(name, partial(self._add_chunks, programs, chunks)):
                self._offer(coming_max_chunks=self._capabilities.limits.max_chunks)
                break  # max_chunks cannot leave out a number
        if self._pictures:
            self._add_features(self._pictures, partial(self._add_pictures, programs))
        if features := condition_features(self._about):
            name = " and ".join(features)
            if not self._attempt(name, partial(self._add_conditions, programs, features)):
                self._offer(**self._come(features, ()))
        if self._refined:
            self._add_features(self._refined, partial(self._add_refiner, compiler))

    def _add_features(self, features: tuple[str, ...], add: Callable[[], None]) -> None:
        """Offer features, or drop them if what they need cannot be added."""
        worked = self._attempt(" and ".join(features), add)
        self._offer(**self._come(features, features if worked else ()))

    def _come(self, awaited: Sequence[str], offered: Sequence[str]) -> dict[str, Any]:
        """The capabilities' fields of features when none of the awaited ones is coming any more."""
        now = self._capabilities
        return {
            "features": (*now.features, *offered),
            "coming_features": tuple(each for each in now.coming_features if each not in awaited),
        }

    def _say(self, line: str) -> None:
        self._report(line)

    def _attempt(self, name: str, add: Callable[[], None]) -> bool:
        """Add an ability; returns whether it worked."""
        if not self._options.compile_behind:
            add()
            return True
        try:
            add()
        except Exception as error:  # noqa: BLE001 - the compiler may raise anything
            self._report(f"{name} is not offered: {error}")
            return False
        return True

    def _later(self, programs: ProgramSet) -> dict[str, Callable[[], None]]:
        """The features that the default size's programs lack, and what compiles each."""
        later = {PROMPT_WEIGHTS: programs.add_masks}
        if self._options.loras is not None:
            later[LORAS] = partial(self._add_loras, programs)
        return later

    @property
    def _pictures(self) -> tuple[str, ...]:
        """The features of images that begin from pictures, if the model can make any."""
        wanted = self._options.image_inputs and self._warm_runner.has_encoder
        return (IMAGE_TO_IMAGE, INPAINTING, LATENTS) if wanted else ()

    def _add_loras(self, programs: ProgramSet) -> None:
        adapters = self._warm_runner.adapters
        programs.add_merges(adapters.parameters)
        if adapters.source is not None and (memory := self.memory()):
            needed = bytes_beside(self._about, self._options, programs)
            find_place(adapters.source, needed, memory, self._report)

    def _add_pictures(self, programs: ProgramSet) -> None:
        for size in self._capabilities.sizes:
            programs.pictures.add_size(size)
            try_picture(self._warm_runner, self._about, self._options, size)

    def _add_conditions(self, programs: ProgramSet, features: Sequence[str]) -> None:
        conditioning = Conditioning(self._about, self._options, self._say)
        listed = conditioning.add(self._warm_runner, programs, self._capabilities)
        offered = tuple(each for each in features if listed[each])
        self._offer(**listed, **self._come(features, offered))

    @property
    def _refined(self) -> tuple[str, ...]:
        """The features that the operator's refiner brings, if there is one."""
        return () if self._about.refiner is None else (REFINER, AESTHETIC_SCORE)

    def _add_refiner(self, compiler: Compiler) -> None:
        now = self._capabilities
        loader = RefinerLoader(self._about, self._options, compiler, self._say)
        loader.add(self._warm_runner, now)
        self._offer()

    def _add_size(self, programs: ProgramSet, size: Size) -> None:
        programs.add_size(size, resolve.lane_counts(self._options))
        try_size(self._warm_runner, self._about, self._options, size)
        now = self._capabilities
        self._offer(sizes=(*now.sizes, size), coming=_without(now.coming, size))

    def _add_chunks(self, programs: ProgramSet, chunks: int) -> None:
        for size in self._capabilities.sizes:
            programs.add_chunks(size, chunks, resolve.lane_counts(self._options))
            try_size(self._warm_runner, self._about, self._options, size, chunks=chunks)
        self._offer(limits=replace(self._capabilities.limits, max_chunks=chunks))

    def _offer(self, **changes: Any) -> None:
        """Change capabilities in one assignment, so that other threads see all changes or none."""
        programs = self._warm_runner.infos
        self._capabilities = replace(self._capabilities, programs=programs, **changes)

    @property
    def capabilities(self) -> Capabilities:
        """See `Engine.capabilities`."""
        shelves = self._shelves
        return replace(self._capabilities, loras=shelves.loras, embeddings=shelves.embeddings)

    @property
    def adapter_sets(self) -> int:
        """See `Engine.adapter_sets`."""
        return 0 if self._options.loras is None else self._options.lora_sets

    def prepare(self, spec: ImageSpec, ready: Callable[[], None]) -> bool:
        """See `Engine.prepare`."""
        return self._warm_runner.prepare(spec, ready)

    def start(
        self,
        spec: ImageSpec,
        *,
        noise: NDArray[np.float32] | None = None,
        posterior: NDArray[np.float32] | None = None,
    ) -> SdxlLane:
        """See `Engine.start`.

        Args:
            spec: what to make.
            noise: unit normal noise [h, w, channels] to use instead of the seed's noise, for
                comparisons with other implementations.
            posterior: with `noise`, the same for the latents of the spec's picture; None for their
                mean.
        """
        self._check(spec)
        draws = None
        if noise is not None:
            draws = Draws(noise, np.zeros_like(noise) if posterior is None else posterior)
        return self._warm_runner.start(spec, self._table_of(spec), draws)

    def save(self, lane: Lane, most: int) -> LaneState | None:
        """See `Engine.save`."""
        return self._warm_runner.save(_own(lane), most)

    def resume(self, spec: ImageSpec, state: LaneState) -> SdxlLane:
        """See `Engine.resume`."""
        self._check(spec)
        return self._warm_runner.resume(spec, self._table_of(spec), state)

    def _table_of(self, spec: ImageSpec) -> Table:
        schedule = schedule_of(spec, self._about.preset)
        steps, begin = spec.schedule_length, spec.skipped_steps
        return self._make_table(spec.scheduler, steps, schedule, begin, spec.refined_from)

    def prompts_of(self, spec: ImageSpec) -> list[Encoded]:
        """The encoded prompts of an image, for comparisons: of a guided one the negative first."""
        return self._warm_runner.prompts_of(spec)

    @property
    def adapters(self) -> Adapters:
        """The copies of the weights with LoRAs, for tests and benchmarks."""
        return self._warm_runner.adapters

    def step(self, lanes: Sequence[Lane]) -> None:
        """See `Engine.step`."""
        own = [_own(lane) for lane in lanes]
        for lane in own:
            if lane.step >= lane.spec.steps:
                raise ValueError(f"a lane has no steps left after step {lane.step}: finish it")
            if (one := lane.shape) != (other := own[0].shape):
                raise ValueError(f"lanes of {one} and {other} cannot share a step")
        rows = sum(lane.spec.rows for lane in own)
        if rows > self._capabilities.rows:
            raise ValueError(f"{rows} rows in a step that holds {self._capabilities.rows}")
        if own:
            self._rows_padded += self._warm_runner.step(own)

    def finish(self, lane: Lane) -> Pixels:
        """See `Engine.finish`."""
        pixels = self._warm_runner.finish(_done(lane))
        if (first := self._timeline.once(FIRST_IMAGE)) is not None:
            self._report(f"the first image was done {first.end:.1f} s after the process began")
        return pixels

    def latents(self, lane: Lane) -> Latents:
        """See `Engine.latents`."""
        return self._warm_runner.latents(_done(lane))

    def preview(self, lane: Lane) -> Pixels | None:
        """See `Engine.preview`. Meaningless before the first step."""
        return self._warm_runner.preview(_own(lane))

    def merges(self) -> Merges | None:
        """See `Engine.merges`."""
        return self._warm_runner.adapters.merges() if self.adapter_sets else None

    def clock(self) -> float:
        """The monotonic clock: every call waits for the device."""
        return time.monotonic()

    def rows_padded(self) -> int:
        """See `Engine.rows_padded`."""
        return self._rows_padded

    def memory(self) -> tuple[DeviceMemory, ...]:
        """See `Engine.memory`."""
        known = []
        for device in resolve.devices(self._options):
            stats = device.memory_stats() or {}
            if "bytes_in_use" in stats and "bytes_limit" in stats:
                known.append(DeviceMemory(device.id, stats["bytes_in_use"], stats["bytes_limit"]))
        return tuple(known)

    def _check(self, spec: ImageSpec) -> None:
        """Check the limits that `Capabilities` does not contain.

        Raises:
            InvalidRequest: the spec breaks one.
        """
        if spec.conditioned and spec.cache_interval > 1:
            raise InvalidRequest(
                f"cache_interval is {spec.cache_interval}: an image with controls or ip_adapters "
                "needs 1"
            )
        vectors = [] if spec.embeddings is UNSET else self._warm_runner.vector_ids(spec)
        tokens_end = max(files.size for files in self._about.tokenizers)
        if any(each.start < tokens_end or each.stop > MAX_IDS for each in vectors):
            raise InvalidRequest(
                f"embeddings has a first_id outside {tokens_end} to {MAX_IDS}, or too near its end"
            )
        for name in ("prompt", "negative", "empty"):
            tokens: Tokens | UnsetType | None = getattr(spec, name)
            if tokens is None or tokens is UNSET:
                continue
            first, second = self._about.tokenizers
            pooled = () if tokens.pooled_ids_2 is UNSET else tokens.pooled_ids_2
            for ids, files in ((tokens.ids, first), ((*tokens.ids_2, *pooled), second)):
                outside = (each for each in ids if each >= files.size)
                if not all(any(each in known for known in vectors) for each in outside):
                    raise InvalidRequest(f"{name} has a token id outside 0 to {files.size - 1}")

    @property
    def _warm_runner(self) -> Runner:
        if self._runner is None:
            raise RuntimeError("the engine is not ready: call warm() first")
        return self._runner

    def _new_table(
        self, scheduler: str, steps: int, schedule: Schedule, begin: int, end: float | None
    ) -> Table:
        file = self._about.config.scheduler
        try:
            return sampler.make_table(file, scheduler, steps, schedule, begin=begin, end=end)
        except ValueError as error:
            raise InvalidRequest(str(error)) from error


def _without(sizes: tuple[Size, ...], size: Size) -> tuple[Size, ...]:
    return tuple(other for other in sizes if other != size)


def _own(lane: Lane) -> SdxlLane:
    if not isinstance(lane, SdxlLane):
        raise TypeError(f"{type(lane).__name__} is not a lane of this engine")
    return lane


def _done(lane: Lane) -> SdxlLane:
    own = _own(lane)
    if own.step != own.spec.steps:
        raise ValueError(f"step {own.step} of {own.spec.steps}: the lane has steps left")
    return own
