"""The messages of the wire, version 1, as types. `protocol/README.md` says what each field means.

Pure data: this module imports nothing of ours and does nothing. `easel_worker.codec` turns these
types into frames and back; the annotations here are all that it knows about a header.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal, NamedTuple

VERSION = 1
"""The second byte of every message."""

MAX_HEADER_BYTES = 1 << 20
"""The longest header that a receiver reads."""

Buffer = bytes | memoryview
"""Raw bytes of a binary frame."""


class Between(NamedTuple):
    """Limits of a number, both included; None is no limit."""

    least: int | None = None
    most: int | None = None


class Length(NamedTuple):
    """Limits of the length of a string (in characters) or a list, both included."""

    least: int = 0
    most: int | None = None


Id = Annotated[str, Length(1, 200)]
Name = Annotated[str, Length(1, 255)]
Count = Annotated[int, Between(0)]
Positive = Annotated[int, Between(1)]
Uint32 = Annotated[int, Between(0, 2**32 - 1)]
Milliseconds = Annotated[float, Between(0)]
Interval = Annotated[float, Between(1)]
Guidance = Annotated[float, Between(0)]
Share = Annotated[float, Between(0, 1)]
Sha256 = Annotated[str, Length(64, 64)]

Stage = Literal["encoding", "denoising", "decoding"]
FailureCode = Literal["invalid", "cancelled", "expired", "draining", "out_of_memory", "internal"]
RefusalCode = Name
"""`protocol`, `tokenizer`, `model`, or one that a later gateway has: the worker leaves at any."""

BINARY = {"binary": True}
"""Marks the field that travels as a binary frame and not in the header."""


@dataclass(frozen=True, slots=True)
class Model:
    """Identity of the weights."""

    id: Name
    digest: Sha256
    dtype: Name


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """Identity of a tokenizer."""

    digest: Sha256
    pad_id: Count
    max_length: Positive


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the model wants when a client does not say."""

    width: Positive
    height: Positive
    num_inference_steps: Positive
    guidance_scale: Guidance
    scheduler: Name
    negative_prompt: str


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one request may ask for."""

    max_steps: Positive
    max_guidance_scale: Guidance
    max_images: Positive
    max_cache_interval: Positive | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """An accelerator, or the CPU."""

    id: Count
    kind: str


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled program."""

    name: str
    seconds: Annotated[float, Between(0)]
    cached: bool


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one device, in bytes."""

    device: Count
    bytes_in_use: Count
    bytes_limit: Count


@dataclass(frozen=True, slots=True)
class NotFiniteTotals:
    """Images that failed because their numbers were not finite, by where that was seen first."""

    text_encoder: Count
    denoise: Count
    decode: Count


@dataclass(frozen=True, slots=True)
class PreviewSize:
    """Size of the picture in a PROGRESS message's binary frame."""

    width: Positive
    height: Positive


@dataclass(frozen=True, slots=True)
class Timings:
    """Where an image's time went."""

    queue_ms: Milliseconds
    encode_ms: Milliseconds
    denoise_ms: Milliseconds
    decode_ms: Milliseconds


@dataclass(frozen=True, slots=True)
class TokenIds:
    """A prompt for both text encoders."""

    ids: Annotated[tuple[Uint32, ...], Length(1)]
    ids_2: Annotated[tuple[Uint32, ...], Length(1)]


@dataclass(frozen=True, slots=True)
class Hello:
    """Worker → gateway: who the worker is and what it can do."""

    kind: ClassVar[int] = 0x01
    protocol: Count
    worker: Name
    version: Name
    pid: Count
    model: Model
    tokenizers: Annotated[tuple[Tokenizer, ...], Length(1)]
    sizes: Annotated[tuple[tuple[Positive, Positive], ...], Length(1)]
    rows: Positive
    schedulers: Annotated[tuple[Name, ...], Length(1)]
    defaults: Defaults
    limits: Limits
    devices: tuple[Device, ...]
    programs: tuple[Program, ...]
    coming: tuple[tuple[Positive, Positive], ...] | None = None
    features: tuple[Name, ...] | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Worker → gateway: alive, and this is how much has been done."""

    kind: ClassVar[int] = 0x02
    session: Id
    steps_total: Count
    rows_in_use: Count
    rows_padded_total: Count
    queued: Count
    step_ms: Annotated[tuple[Milliseconds, ...], Length(0, 64)]
    memory: tuple[Memory, ...]
    sizes: Annotated[tuple[tuple[Positive, Positive], ...], Length(1)] | None = None
    not_finite: NotFiniteTotals | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Worker → gateway: an image came further. `pixels` is there exactly when `preview` is."""

    kind: ClassVar[int] = 0x03
    id: Id
    image: Count
    stage: Stage
    step: Count
    of: Positive
    preview: PreviewSize | None = None
    pixels: Buffer | None = field(default=None, metadata=BINARY)


@dataclass(frozen=True, slots=True)
class Result:
    """Worker → gateway: one image is done. `pixels` holds width · height · 3 bytes."""

    kind: ClassVar[int] = 0x04
    id: Id
    image: Count
    seed: Uint32
    width: Positive
    height: Positive
    timings: Timings
    pixels: Buffer = field(metadata=BINARY)


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker → gateway: the request ends without (all of) its images."""

    kind: ClassVar[int] = 0x05
    id: Id
    code: FailureCode
    message: str


@dataclass(frozen=True, slots=True)
class Bye:
    """Worker → gateway: the worker leaves and takes no more work."""

    kind: ClassVar[int] = 0x06
    reason: str


@dataclass(frozen=True, slots=True)
class Welcome:
    """Gateway → worker: you are in."""

    kind: ClassVar[int] = 0x81
    session: Id
    heartbeat_ms: Interval


@dataclass(frozen=True, slots=True)
class Refused:
    """Gateway → worker: you do not fit."""

    kind: ClassVar[int] = 0x82
    code: RefusalCode
    message: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Gateway → worker: I am here."""

    kind: ClassVar[int] = 0x83
    session: Id


@dataclass(frozen=True, slots=True)
class Generate:
    """Gateway → worker: make one image for each seed."""

    kind: ClassVar[int] = 0x84
    id: Id
    prompt: TokenIds
    negative: TokenIds | None
    seeds: Annotated[tuple[Uint32, ...], Length(1)]
    steps: Positive
    guidance: Guidance
    scheduler: Name
    width: Positive
    height: Positive
    clip_skip: Count = 0
    preview_every: Count = 0
    timeout_ms: Milliseconds | None = None
    trace: str | None = None
    guidance_start: Share | None = None
    guidance_end: Share | None = None
    cache_interval: Positive | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Gateway → worker: nobody wants this request any more."""

    kind: ClassVar[int] = 0x85
    id: Id


@dataclass(frozen=True, slots=True)
class Drain:
    """Gateway → worker: finish what fits in the time, then leave."""

    kind: ClassVar[int] = 0x86
    grace_ms: Milliseconds


FromWorker = Hello | Heartbeat | Progress | Result | Failed | Bye
FromGateway = Welcome | Refused | Ping | Generate | Cancel | Drain
Message = FromWorker | FromGateway

FROM_WORKER: dict[int, type[FromWorker]] = {
    message.kind: message for message in (Hello, Heartbeat, Progress, Result, Failed, Bye)
}
"""What a gateway reads, by kind byte."""

FROM_GATEWAY: dict[int, type[FromGateway]] = {
    message.kind: message for message in (Welcome, Refused, Ping, Generate, Cancel, Drain)
}
"""What a worker reads, by kind byte."""
