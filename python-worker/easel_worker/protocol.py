"""The messages of the wire, versions 1 to 3, as types.

`protocol/README.md` says what each field means.
`easel_worker.codec` turns these types into frames and back, and checks headers against their
annotations. `easel_worker.engine` has the types of what an engine is told and says. A field that is
`UNSET` is absent from the header, which is not the same as null.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from easel_worker.engine import (
    Capabilities,
    Control,
    DeviceMemory,
    Embedding,
    IpAdapter,
    Lora,
    Parameters,
)
from easel_worker.values import (
    AtLeastOne,
    AtMost100,
    AtMost1000,
    Count,
    Id,
    Interval,
    Milliseconds,
    Name,
    OneTo6,
    OneTo100,
    Positive,
    Seconds,
    Sha256,
    Size,
    TenantWeight,
    Uint32,
)

VERSION, VERSION_WITH_PICTURES, VERSION_WITH_STATES = 1, 2, 3
"""The second byte of a message: the lowest version that has all it contains.

GENERATE with pictures has the second one, GENERATE and FAILED with states the third one.
"""

VERSIONS = (VERSION, VERSION_WITH_PICTURES, VERSION_WITH_STATES)
"""Those that a receiver reads."""

MAX_HEADER_BYTES = 1 << 20
"""The longest header that a receiver reads."""

Buffer = bytes | memoryview
"""Raw bytes of a binary frame."""

Stage = Literal["encoding", "denoising", "decoding"]
FailureCode = Literal[
    "invalid", "cancelled", "expired", "draining", "out_of_memory", "internal", "state"
]
RefusalCode = Name
"""`protocol`, `tokenizer`, `model`, or a later gateway's code: the worker exits after any."""

NO_PIXELS = memoryview(b"")
"""The pixels of a message without a picture."""

MAX_PICTURE_BYTES = 16 << 20
"""The largest binary frame that a worker reads."""


@dataclass(frozen=True, slots=True)
class LoraSets:
    """The weights of images with LoRAs; see `engine.Merges`."""

    held: Count
    merges_total: Count
    merge_seconds_total: Seconds
    preparing: Count


@dataclass(frozen=True, slots=True)
class NotFiniteTotals:
    """How many images failed because numbers were not finite, by the stage that showed it first."""

    text_encoder: Count
    denoise: Count
    decode: Count


@dataclass(frozen=True, slots=True)
class PreviewSize:
    """The size of the picture in a PROGRESS message's binary frame."""

    width: Positive
    height: Positive


@dataclass(frozen=True, slots=True)
class LatentsForm:
    """What a RESULT's binary frame holds instead of pixels: float32 numbers, little-endian.

    `channels` is their bytes in each place.
    """

    width: Positive
    height: Positive
    channels: Positive

    @property
    def bytes(self) -> int:
        """How long the frame is."""
        return self.width * self.height * self.channels


@dataclass(frozen=True, slots=True)
class Timings:
    """How long an image spent in each stage."""

    queue_ms: Milliseconds
    encode_ms: Milliseconds
    denoise_ms: Milliseconds
    decode_ms: Milliseconds


@dataclass(frozen=True, slots=True)
class Used:
    """How long the engine worked for an image, or for some together: its parts of shared calls."""

    encode_ms: Milliseconds = 0.0
    denoise_ms: Milliseconds = 0.0
    preview_ms: Milliseconds = 0.0
    decode_ms: Milliseconds = 0.0


@dataclass(frozen=True, slots=True)
class Busy:
    """How long the engine has worked in a session, and how long of that only for padding."""

    busy_ms: Milliseconds
    padding_ms: Milliseconds


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
    """Worker → gateway: the worker is alive; its counters and gauges."""

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
    features: tuple[Name, ...] | UnsetType = UNSET
    max_chunks: Positive | UnsetType = UNSET
    coming: tuple[Size, ...] | UnsetType = UNSET
    coming_features: tuple[Name, ...] | UnsetType = UNSET
    coming_max_chunks: Positive | UnsetType = UNSET
    loras: Annotated[tuple[Lora, ...], AtMost1000] | UnsetType = UNSET
    embeddings: Annotated[tuple[Embedding, ...], AtMost1000] | UnsetType = UNSET
    controls: Annotated[tuple[Control, ...], AtMost100] | UnsetType = UNSET
    ip_adapters: Annotated[tuple[IpAdapter, ...], AtMost100] | UnsetType = UNSET
    lora_sets: LoraSets | UnsetType = UNSET
    used: Busy | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Progress:
    """Worker → gateway: an image's progress. It has `pixels` if and only if it has a `preview`."""

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
    """Worker → gateway: one image is done.

    `pixels` holds width · height · 3 bytes, or what `latents` says.
    """

    kind: ClassVar[int] = 0x04
    id: Id
    image: Count
    seed: Uint32
    width: Positive
    height: Positive
    timings: Timings
    pixels: memoryview
    used: Used | UnsetType = UNSET
    latents: LatentsForm | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class StateForm:
    """What one binary frame with an image's state holds; see `engine.LaneState`.

    Attributes:
        image: index in the message's request.
        digest: of the state and of the image that it is for, see `states.digest_of`.
        used: in FAILED, what the image has used; part of the request's `used`.
    """

    image: Count
    step: Count
    evaluation: Count
    bytes: Positive
    digest: Sha256
    used: Used | UnsetType = UNSET


States = Annotated[tuple[StateForm, ...], OneTo100]


@dataclass(frozen=True, slots=True)
class Failed:
    """Worker → gateway: the request has failed; no further images of it follow.

    `frames` holds the `states`, in order.
    """

    kind: ClassVar[int] = 0x05
    id: Id
    code: FailureCode
    message: str
    used: Used | UnsetType = UNSET
    states: States | UnsetType = UNSET
    frames: tuple[memoryview, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Bye:
    """Worker → gateway: the worker exits and accepts no more requests."""

    kind: ClassVar[int] = 0x06
    reason: str


@dataclass(frozen=True, slots=True)
class Welcome:
    """Gateway → worker: the gateway accepts the worker and starts a session."""

    kind: ClassVar[int] = 0x81
    session: Id
    heartbeat_ms: Interval


@dataclass(frozen=True, slots=True)
class Refused:
    """Gateway → worker: the gateway refuses the worker."""

    kind: ClassVar[int] = 0x82
    code: RefusalCode
    message: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Gateway → worker: the gateway is alive."""

    kind: ClassVar[int] = 0x83
    session: Id


@dataclass(frozen=True, slots=True)
class Tenant:
    """Whom a request is for, and how much of the worker's time that one gets beside others."""

    id: Count
    weight: TenantWeight


@dataclass(frozen=True, slots=True)
class PictureForm:
    """What one binary frame of a GENERATE message holds: width · height · channels bytes."""

    role: Name
    width: Positive
    height: Positive
    channels: Positive

    @property
    def bytes(self) -> int:
        """How long the frame is."""
        return self.width * self.height * self.channels


@dataclass(frozen=True, kw_only=True)
class Generate(Parameters):
    """Gateway → worker: make one image for each seed, or continue it from its state.

    `frames` holds the `pictures` and then the `states`, in order.
    """

    kind: ClassVar[int] = 0x84
    id: Id
    seeds: Annotated[tuple[Uint32, ...], AtLeastOne]
    preview_every: Count = 0
    timeout_ms: Milliseconds | UnsetType = UNSET
    trace: str | UnsetType = UNSET
    tenant: Tenant | UnsetType = UNSET
    pictures: Annotated[tuple[PictureForm, ...], OneTo6] | UnsetType = UNSET
    states: States | UnsetType = UNSET
    max_state_bytes: Positive | UnsetType = UNSET
    frames: tuple[memoryview, ...] = field(default=(), repr=False)

    @property
    def picture_frames(self) -> tuple[memoryview, ...]:
        """The frames of `pictures`."""
        return self.frames[: 0 if self.pictures is UNSET else len(self.pictures)]

    @property
    def state_frames(self) -> tuple[memoryview, ...]:
        """The frames of `states`."""
        return self.frames[len(self.picture_frames) :]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Gateway → worker: nobody waits for this request any more."""

    kind: ClassVar[int] = 0x85
    id: Id


@dataclass(frozen=True, slots=True)
class Drain:
    """Gateway → worker: finish the requests that fit into the time, then exit."""

    kind: ClassVar[int] = 0x86
    grace_ms: Milliseconds


FromWorker = Hello | Heartbeat | Progress | Result | Failed | Bye
FromGateway = Welcome | Refused | Ping | Generate | Cancel | Drain
Message = FromWorker | FromGateway

FROM_WORKER: dict[int, type[FromWorker]] = {
    message.kind: message for message in (Hello, Heartbeat, Progress, Result, Failed, Bye)
}
"""The messages that a gateway receives, by kind byte."""

FROM_GATEWAY: dict[int, type[FromGateway]] = {
    message.kind: message for message in (Welcome, Refused, Ping, Generate, Cancel, Drain)
}
"""The messages that a worker receives, by kind byte."""
