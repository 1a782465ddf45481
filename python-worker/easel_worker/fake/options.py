"""The fake engine's options: its capabilities, its times and its faults."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

from easel_worker import parse
from easel_worker.engine_options import (
    CONTROLNETS,
    EMBEDDINGS,
    IMAGE_INPUTS,
    IP_ADAPTERS,
    LORA_SETS,
    LORAS,
    MAX_CACHE_INTERVAL,
    MAX_PROMPT_CHUNKS,
    REFINER,
    ROWS,
    SIZES,
)
from easel_worker.options import Option
from easel_worker.values import Size

FaultKind = Literal["raise", "oom", "invalid", "exit", "hang", "nan"]


@dataclass(frozen=True)
class Fault:
    """A deliberate failure.

    `stage` is `warm`, `encode`, `resume`, `decode`, or the number of the denoising step, from 1.
    `seed` is that of the image with the fault; None at `warm`, which has no image.
    """

    kind: FaultKind
    stage: str
    seed: int | None = None


@dataclass(frozen=True)
class StepTime:
    """A step's milliseconds: a fixed part plus a part for each row."""

    fixed_ms: float
    row_ms: float


def faults(value: str) -> tuple[Fault, ...]:
    """KIND:warm or KIND:SEED@STAGE, joined by commas. Raises ValueError."""
    return tuple(_fault(text.strip()) for text in value.split(",") if text.strip())


def _fault(text: str) -> Fault:
    kind, _, where = text.partition(":")
    seed, _, stage = where.partition("@")
    if kind not in get_args(FaultKind):
        raise ValueError(f"{kind!r} is not a fault: choose one of {', '.join(get_args(FaultKind))}")
    if where == "warm":
        return Fault(kind, "warm")  # type: ignore[arg-type]
    if not (seed.isdecimal() and (stage in ("encode", "resume", "decode") or stage.isdecimal())):
        raise ValueError(f"{text!r} must look like raise:13@encode, raise:13@2 or oom:warm")
    return Fault(kind, stage, int(seed))  # type: ignore[arg-type]


def step_times(value: str) -> tuple[tuple[Size, StepTime], ...]:
    """WIDTHxHEIGHT=FIXED+ROW in milliseconds, joined by commas. Raises ValueError."""
    return tuple(_step_time(text.strip()) for text in value.split(","))


def _step_time(text: str) -> tuple[Size, StepTime]:
    size, equals, times = text.partition("=")
    fixed, plus, row = times.partition("+")
    if not (equals and plus):
        raise ValueError(f"{text!r} must look like 1024x1024=6+55")
    return parse.size(size), StepTime(parse.duration(fixed), parse.duration(row))


@dataclass(frozen=True)
class Options:
    """The engine's capabilities, its times in milliseconds, and its faults."""

    sizes: Annotated[tuple[Size, ...], SIZES] = (Size(1024, 1024), Size(512, 512))

    rows: Annotated[int, ROWS] = 8

    max_cache_interval: Annotated[int, MAX_CACHE_INTERVAL] = 1

    max_prompt_chunks: Annotated[int, MAX_PROMPT_CHUNKS] = 4

    image_inputs: Annotated[bool, IMAGE_INPUTS] = True

    loras: Annotated[Path | None, LORAS] = None

    lora_sets: Annotated[int, LORA_SETS] = 1

    embeddings: Annotated[Path | None, EMBEDDINGS] = None

    controlnets: Annotated[Path | None, CONTROLNETS] = None

    ip_adapters: Annotated[Path | None, IP_ADAPTERS] = None

    refiner: Annotated[Path | None, REFINER] = None

    fake_step_ms: Annotated[
        float, Option(parse.duration, "fake engine: milliseconds that a denoising step takes")
    ] = 5.0

    fake_step_times: Annotated[
        tuple[tuple[Size, StepTime], ...],
        Option(
            step_times,
            "fake engine: milliseconds of a step by size, as WIDTHxHEIGHT=FIXED+ROW joined by "
            "commas: a fixed part plus a part for each row; other sizes take --fake-step-ms",
        ),
    ] = ()

    fake_encode_ms: Annotated[
        float, Option(parse.duration, "fake engine: milliseconds that encoding a prompt takes")
    ] = 1.0

    fake_decode_ms: Annotated[
        float, Option(parse.duration, "fake engine: milliseconds that decoding an image takes")
    ] = 1.0

    fake_merge_ms: Annotated[
        float, Option(parse.duration, "fake engine: milliseconds that merging LoRAs takes")
    ] = 0.0

    fake_warm_ms: Annotated[
        float,
        Option(
            parse.duration,
            "fake engine: milliseconds that loading takes",
        ),
    ] = 0.0

    fake_weights: Annotated[
        str,
        Option(
            str,
            "fake engine: a text that stands for the model's weights: the digest and the pictures "
            "depend on it",
        ),
    ] = ""

    fake_faults: Annotated[
        tuple[Fault, ...],
        Option(
            faults,
            "fake engine: faults by seed, as KIND:SEED@STAGE or KIND:warm, joined by commas; KIND "
            "is raise, oom, invalid, exit, hang or nan; STAGE is encode, resume, decode or a step "
            "from 1",
        ),
    ] = ()
