"""The small interface between the worker's loop and whatever makes the images.

Two engines implement it: `easel_worker.sdxl.serving.engine` (the real one) and
`easel_worker.fake.engine` (images that can be computed by hand). The loop and the step scheduler
know only this module.

What the engine and the gateway tell each other has its type here alone: `easel_worker.protocol`
makes GENERATE of `Parameters` and HELLO of `Capabilities`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from easel_worker.values import (
    AtLeastOne,
    Count,
    Guidance,
    Name,
    Positive,
    Seconds,
    Sha256,
    Share,
    Size,
    Uint32,
)

READING, COMPILING = "reading", "compiling"
"""How names of an engine's threads begin that may take minutes; no exit waits for them."""

GUIDANCE_INTERVAL = "guidance_interval"
"""The feature of an engine that guides only `ImageSpec.guided_steps`."""

FEATURES = {GUIDANCE_INTERVAL: ("guidance_start", "guidance_end")}
"""What not every engine can do, by name, and the parameters that then keep their defaults."""

LIMITED = {
    "steps": "max_steps",
    "guidance": "max_guidance_scale",
    "cache_interval": "max_cache_interval",
}
"""The parameters that have a limit, and its name in `Limits`."""

Pixels = NDArray[np.uint8]
"""RGB pixels, [height, width, 3]."""


class InvalidRequest(ValueError):
    """What is asked for does not fit the engine. The client's fault, never the worker's."""


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

    ids: Annotated[tuple[Uint32, ...], AtLeastOne]
    ids_2: Annotated[tuple[Uint32, ...], AtLeastOne]


@dataclass(frozen=True)
class Parameters:
    """All that decides an image but its seed, named as in GENERATE.

    `guidance_start` and `guidance_end` are shares of the steps: see `ImageSpec.guided_steps`. With
    a `cache_interval` above 1 only every so manieth step computes all of the model.
    """

    prompt: Tokens
    negative: Tokens | None
    steps: Positive
    guidance: Guidance
    scheduler: Name
    width: Positive
    height: Positive
    clip_skip: Count = 0
    guidance_start: Share = 0.0
    guidance_end: Share = 1.0
    cache_interval: Positive = 1


@dataclass(frozen=True, kw_only=True)
class ImageSpec(Parameters):
    """What one image is to be. The same spec always gives the same pixels."""

    seed: Uint32

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.width, self.height)

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

    width: Positive
    height: Positive
    num_inference_steps: Positive
    guidance_scale: Guidance
    scheduler: Name
    negative_prompt: str


@dataclass(frozen=True)
class Limits:
    """The most that one request may ask for."""

    max_steps: Positive
    max_guidance_scale: Guidance
    max_images: Positive
    max_cache_interval: Positive = 1


@dataclass(frozen=True)
class TokenizerInfo:
    """Identity of a tokenizer; the digest is defined in protocol/README.md."""

    digest: Sha256
    pad_id: Count
    max_length: Positive


@dataclass(frozen=True)
class ModelInfo:
    """Identity of the weights."""

    id: Name
    digest: Sha256
    dtype: Name


@dataclass(frozen=True)
class DeviceInfo:
    """An accelerator, or the CPU."""

    id: Count
    kind: str


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of one device in bytes, now."""

    device: Count
    bytes_in_use: Count
    bytes_limit: Count


@dataclass(frozen=True)
class ProgramInfo:
    """A compiled program: how long it took, and whether it came from a cache."""

    name: str
    seconds: Seconds
    cached: bool


@dataclass(frozen=True)
class Capabilities:
    """What an engine is and can do; sent to the gateway in HELLO.

    Sizes that are `coming` move to `sizes` one by one, while images are made already. `features`
    are those of `FEATURES` that the engine has.
    """

    model: ModelInfo
    tokenizers: Annotated[tuple[TokenizerInfo, ...], AtLeastOne]
    sizes: Annotated[tuple[Size, ...], AtLeastOne]
    rows: Positive
    schedulers: Annotated[tuple[Name, ...], AtLeastOne]
    defaults: Defaults
    limits: Limits
    devices: tuple[DeviceInfo, ...]
    programs: tuple[ProgramInfo, ...]
    coming: tuple[Size, ...] = ()
    features: tuple[Name, ...] = ()


class Lane(Protocol):
    """One image in flight: the engine's own state, opaque to everyone else."""

    @property
    def spec(self) -> ImageSpec:
        """What is being made."""

    @property
    def step(self) -> int:
        """How many denoising steps are done, 0 ≤ step ≤ spec.steps."""

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

    def start(self, spec: ImageSpec) -> Lane:
        """Encode the prompt and draw the first latents.

        Args:
            spec: fits the capabilities (`easel_worker.specs.check`).

        Raises:
            InvalidRequest: the spec breaks a limit that capabilities do not tell.
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
