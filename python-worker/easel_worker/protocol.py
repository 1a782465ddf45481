"""The messages of the wire, version 1, as types. `protocol/README.md` says what each field means.

Pure data. `easel_worker.codec` turns these types into frames and back; the annotations are all that
it knows about a header. What an engine says or is told has its type in `easel_worker.engine`. A
field that is `UNSET` was left out; null is not the same.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from easel_worker.engine import Capabilities, DeviceMemory, Parameters
from easel_worker.values import (
    AtLeastOne,
    Count,
    Id,
    Interval,
    Milliseconds,
    Name,
    Positive,
    Size,
    Uint32,
)

VERSION = 1
"""The second byte of every message."""

MAX_HEADER_BYTES = 1 << 20
"""The longest header that a receiver reads."""

Buffer = bytes | memoryview
"""Raw bytes of a binary frame."""

Stage = Literal["encoding", "denoising", "decoding"]
FailureCode = Literal["invalid", "cancelled", "expired", "draining", "out_of_memory", "internal"]
RefusalCode = Name
"""`protocol`, `tokenizer`, `model`, or one that a later gateway has: the worker leaves at any."""

NO_PIXELS = memoryview(b"")
"""Of a message without a picture."""


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


@dataclass(frozen=True, kw_only=True)
class Hello(Capabilities):
    """Worker → gateway: who the worker is and what it can do."""

    kind: ClassVar[int] = 0x01
    protocol: Count
    worker: Name
    version: Name
    pid: Count


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Worker → gateway: alive, and this is how much has been done."""

    kind: ClassVar[int] = 0x02
    session: Id
    steps_total: Count
    rows_in_use: Count
    rows_padded_total: Count
    queued: Count
    step_ms: Annotated[tuple[Milliseconds, ...], Meta(max_length=64)]
    memory: tuple[DeviceMemory, ...]
    sizes: Annotated[tuple[Size, ...], AtLeastOne] | UnsetType = UNSET
    not_finite: NotFiniteTotals | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Progress:
    """Worker → gateway: an image came further. `pixels` come exactly with a `preview`."""

    kind: ClassVar[int] = 0x03
    id: Id
    image: Count
    stage: Stage
    step: Count
    of: Positive
    preview: PreviewSize | UnsetType = UNSET
    pixels: memoryview = NO_PIXELS


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
    pixels: memoryview


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


@dataclass(frozen=True, kw_only=True)
class Generate(Parameters):
    """Gateway → worker: make one image for each seed."""

    kind: ClassVar[int] = 0x84
    id: Id
    seeds: Annotated[tuple[Uint32, ...], AtLeastOne]
    preview_every: Count = 0
    timeout_ms: Milliseconds | UnsetType = UNSET
    trace: str | UnsetType = UNSET


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
