"""The small interface between the worker's loop and whatever makes the images.

Two engines implement it: `easel_worker.sdxl.engine` (the real one) and `easel_worker.fake.engine`
(images that can be computed by hand). The loop and the step scheduler know only this module.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

READING, COMPILING = "reading", "compiling"
"""How names of an engine's threads begin that may take minutes; no exit waits for them."""

GUIDANCE_INTERVAL = "guidance_interval"
"""The feature of an engine that guides only `Job.guided_steps`."""

Pixels = NDArray[np.uint8]
"""RGB pixels, [height, width, 3]."""


class InvalidJob(ValueError):
    """The job does not fit the engine's capabilities. The client's fault, never the worker's."""


NotFiniteStage = Literal["text_encoder", "denoise", "decode"]


class NotFinite(ArithmeticError):
    """An image's numbers became NaN or infinite, so there is no picture. The text says where.

    Attributes:
        stage: the part of the work, for counting.
        where: the same in words, with the step.
    """

    def __init__(self, stage: NotFiniteStage, where: str) -> None:
        super().__init__(f"numbers that are not finite (NaN or infinite) came out of {where}")
        self.stage = stage
        self.where = where


@dataclass(frozen=True)
class Tokens:
    """A prompt as token ids for the two text encoders, each of the tokenizer's max_length."""

    ids: tuple[int, ...]
    ids_2: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    """One image to make. The same job always gives the same pixels.

    `guidance_start` and `guidance_end` are shares of the steps, 0 to 1: see `guided_steps`. With a
    `cache_interval` above 1 only every so manieth step computes all of the model.
    """

    prompt: Tokens
    negative: Tokens | None
    seed: int
    steps: int
    guidance: float
    scheduler: str
    width: int
    height: int
    clip_skip: int = 0
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    cache_interval: int = 1

    @property
    def guided_steps(self) -> range:
        """The steps, from 0, that are guided: with a guidance_scale above 1, the interval's.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/guiders/classifier_free_guidance.py#L140
        """
        first, end = int(self.guidance_start * self.steps), int(self.guidance_end * self.steps)
        return range(first, end) if self.guidance > 1.0 else range(0)

    @property
    def guided(self) -> bool:
        """Whether any step is guided."""
        return bool(self.guided_steps)

    def rows_at(self, step: int) -> int:
        """How many rows of a denoising step (from 0) the image takes."""
        return 2 if step in self.guided_steps else 1

    @property
    def rows(self) -> int:
        """The most rows that any of its steps takes; it holds them from its first to its last."""
        return 2 if self.guided else 1


@dataclass(frozen=True)
class Defaults:
    """What the model wants when a request does not say."""

    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    scheduler: str
    negative_prompt: str = ""


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for."""

    max_steps: int
    max_guidance_scale: float
    max_images: int
    max_cache_interval: int = 1


@dataclass(frozen=True)
class TokenizerInfo:
    """Identity of a tokenizer; the digest is defined in protocol/README.md."""

    digest: str
    pad_id: int
    max_length: int


@dataclass(frozen=True)
class ModelInfo:
    """Identity of the weights."""

    id: str
    digest: str
    dtype: str


@dataclass(frozen=True)
class DeviceInfo:
    """An accelerator, or the CPU."""

    id: int
    kind: str


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of one device in bytes, now."""

    device: int
    bytes_in_use: int
    bytes_limit: int


@dataclass(frozen=True)
class ProgramInfo:
    """A compiled program: how long it took, and whether it came from a cache."""

    name: str
    seconds: float
    cached: bool


@dataclass(frozen=True)
class Capabilities:
    """What an engine is and can do; sent to the gateway in HELLO.

    Sizes that are `coming` move to `sizes` one by one, while images are made already. `features`
    are those that not every engine has: `GUIDANCE_INTERVAL`.
    """

    model: ModelInfo
    tokenizers: tuple[TokenizerInfo, ...]
    sizes: tuple[tuple[int, int], ...]
    rows: int
    schedulers: tuple[str, ...]
    defaults: Defaults
    limits: Limits
    devices: tuple[DeviceInfo, ...]
    programs: tuple[ProgramInfo, ...] = field(default=())
    coming: tuple[tuple[int, int], ...] = field(default=())
    features: tuple[str, ...] = field(default=())


class Lane(Protocol):
    """One image in flight: the engine's own state, opaque to everyone else."""

    @property
    def job(self) -> Job:
        """What is being made."""

    @property
    def step(self) -> int:
        """How many denoising steps are done, 0 ≤ step ≤ job.steps."""

    @property
    def not_finite(self) -> NotFinite | None:
        """Set once it is known that a step made numbers that are not finite."""


class Engine(Protocol):
    """Makes images, one denoising step of several lanes at a time. Used from one thread only."""

    def warm(self, report: Callable[[str], None]) -> None:
        """Load and compile all that `start`, `step`, `finish` will need for the default size.

        Args:
            report: called with one readable line for each stage of the work.

        Raises:
            ValueError: the model or a setting is wrong, or what it computes is not finite.
        """

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do. Complete after `warm`, except that `coming` sizes come."""

    def start(self, job: Job) -> Lane:
        """Encode the prompt and draw the first latents.

        Raises:
            InvalidJob: the job is outside the capabilities.
            NotFinite: a text encoder's output is not finite.
        """

    def step(self, lanes: Sequence[Lane]) -> None:
        """Advance every lane by one denoising step, and return when the device is done.

        The lanes have one size and together at most `capabilities.rows` rows. Their step counts,
        schedulers, guidance and seeds may differ. No lane's pixels depend on its neighbours.

        A lane whose last step made numbers that are not finite is left where it is, and says so by
        `Lane.not_finite`; the others are advanced. That may be known one step late only.
        """

    def finish(self, lane: Lane) -> Pixels:
        """Decode a lane whose steps are all done into pixels [height, width, 3].

        Raises:
            NotFinite: the last step or the decoder made numbers that are not finite.
        """

    def preview(self, lane: Lane) -> Pixels | None:
        """A small and cheap picture of a lane in the middle of its work; None if it is not finite.

        Raises:
            NotFinite: the last step made numbers that are not finite.
        """

    def rows_padded(self) -> int:
        """How many rows were computed for nothing since the start, to fill compiled shapes."""

    def memory(self) -> tuple[DeviceMemory, ...]:
        """Memory in use on each device; empty where the backend does not tell."""
