"""An engine without a model: it takes its time and makes `image` pictures.

It is first-class: the gateway's tests, the load benchmarks and the chaos runs use it, because its
images prove which request they answer, its times are settings, and its faults come when asked for.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Literal, NoReturn

from easel_worker.engine import (
    GUIDANCE_INTERVAL,
    Capabilities,
    Defaults,
    DeviceInfo,
    DeviceMemory,
    InvalidJob,
    Job,
    Lane,
    Limits,
    ModelInfo,
    NotFinite,
    Pixels,
    ProgramInfo,
    TokenizerInfo,
)
from easel_worker.fake.image import canonical_text, picture
from easel_worker.tokenizer_digest import tokenizer_info

SCHEDULERS = ("euler", "euler_karras", "euler_ancestral", "ddim", "dpmpp_2m", "dpmpp_2m_karras")
PREVIEW_SCALE = 8

FaultKind = Literal["raise", "oom", "invalid", "exit", "hang", "nan"]
FAULT_EXIT_STATUS = 70


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong on purpose.

    `stage` is `warm`, `encode`, `decode`, or the number of the denoising step, from 1. `seed` says
    which image has the fault; None at `warm`, which has no image.
    """

    kind: FaultKind
    stage: str
    seed: int | None = None


@dataclass(frozen=True)
class StepTime:
    """How long a step takes, in milliseconds: a fixed part and a part for each row in it."""

    fixed_ms: float
    row_ms: float


@dataclass(frozen=True)
class FakeSettings:
    """How long things take, in milliseconds, and what the engine says that it can do.

    `step_times` go before `step_ms`, for the sizes that they name.
    """

    step_ms: float = 5.0
    step_times: Mapping[tuple[int, int], StepTime] = field(default_factory=dict)
    encode_ms: float = 1.0
    decode_ms: float = 1.0
    warm_ms: float = 0.0
    sizes: tuple[tuple[int, int], ...] = ((1024, 1024), (512, 512))
    rows: int = 8
    faults: tuple[Fault, ...] = ()
    model: Path | None = None
    max_cache_interval: int = 1
    exit_process: Callable[[int], object] = field(default=os._exit)


@dataclass
class FakeLane:
    """An image in the making; only the count of its steps changes.

    `unread` is what is not known yet of its last step, as with the real engine.
    """

    job: Job
    step: int = 0
    not_finite: NotFinite | None = None
    unread: NotFinite | None = None

    def settle(self) -> bool:
        """Learn of the last step; answers whether its numbers are finite."""
        self.not_finite, self.unread = self.not_finite or self.unread, None
        return self.not_finite is None


class FakeEngine:
    """See `easel_worker.engine.Engine` for what the methods promise."""

    def __init__(
        self, settings: FakeSettings, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """Args: `sleep` waits so many seconds; tests pass one that does not."""
        self._settings = settings
        self._sleep = sleep
        self._tokenizers = _tokenizers(settings.model)

    def warm(self, report: Callable[[str], None]) -> None:
        """Take `warm_ms`."""
        report("fake engine: warming up")
        self._take(self._settings.warm_ms)
        self._fault("warm", None)
        report("fake engine: warm")

    @property
    def capabilities(self) -> Capabilities:
        """As the settings say."""
        width, height = self._settings.sizes[0]
        return Capabilities(
            model=ModelInfo(id="fake", digest=sha256(b"fake engine 1").hexdigest(), dtype="uint8"),
            tokenizers=self._tokenizers,
            sizes=self._settings.sizes,
            rows=self._settings.rows,
            schedulers=SCHEDULERS,
            defaults=Defaults(width, height, 20, 5.0, "euler"),
            limits=Limits(
                max_steps=1000,
                max_guidance_scale=50.0,
                max_images=16,
                max_cache_interval=self._settings.max_cache_interval,
            ),
            devices=(DeviceInfo(0, "fake"),),
            programs=(ProgramInfo("fake", self._settings.warm_ms / 1000, cached=False),),
            features=(GUIDANCE_INTERVAL,),
        )

    def start(self, job: Job) -> FakeLane:
        """Take `encode_ms`."""
        self._take(self._settings.encode_ms)
        self._fault("encode", job.seed)
        return FakeLane(job)

    def step(self, lanes: Sequence[Lane]) -> None:
        """Take a step's time; on a fault no lane has advanced, but for NaN, which is one's own."""
        self._check(lanes)
        stepping = [own for own in map(_own, lanes) if own.settle()]
        if not stepping:
            return
        self._take(self._step_ms(stepping))
        unread = [self._step_fault(lane) for lane in stepping]
        for lane, error in zip(stepping, unread, strict=True):
            lane.step += 1
            lane.unread = error

    def finish(self, lane: Lane) -> Pixels:
        """Take `decode_ms` and draw the picture."""
        if lane.step != lane.job.steps:
            raise ValueError(f"finished after {lane.step} of {lane.job.steps} steps")
        self._settle(lane)
        self._take(self._settings.decode_ms)
        self._fault("decode", lane.job.seed)
        return picture(canonical_text(lane.job), lane.job.width, lane.job.height)

    def preview(self, lane: Lane) -> Pixels:
        """The picture of the job's text with `|` and the step behind it, an eighth of the size."""
        self._settle(lane)
        text = f"{canonical_text(lane.job)}|{lane.step}"
        return picture(text, lane.job.width // PREVIEW_SCALE, lane.job.height // PREVIEW_SCALE)

    def rows_padded(self) -> int:
        """A fake step has no padding."""
        return 0

    def memory(self) -> tuple[DeviceMemory, ...]:
        """A made-up device with a constant use."""
        return (DeviceMemory(device=0, bytes_in_use=1 << 20, bytes_limit=1 << 30),)

    def _step_fault(self, lane: FakeLane) -> NotFinite | None:
        """What the next step makes of the lane, where the numbers are at fault; others raise."""
        try:
            self._fault(str(lane.step + 1), lane.job.seed)
        except NotFinite as error:
            return NotFinite(error.stage, f"step {lane.step + 1} of {lane.job.steps}")
        return None

    def _settle(self, lane: Lane) -> None:
        own = _own(lane)
        own.settle()
        if own.not_finite is not None:
            raise own.not_finite

    def _check(self, lanes: Sequence[Lane]) -> None:
        """Hold the loop to its side of the interface."""
        if len({(lane.job.width, lane.job.height) for lane in lanes}) != 1:
            raise ValueError("the lanes of a step must have one size")
        if sum(lane.job.rows for lane in lanes) > self._settings.rows:
            raise ValueError(f"a step holds {self._settings.rows} rows")
        if any(lane.step >= lane.job.steps for lane in lanes):
            raise ValueError("a lane has no steps left")

    def _step_ms(self, lanes: Sequence[Lane]) -> float:
        job = lanes[0].job
        time = self._settings.step_times.get((job.width, job.height))
        if time is None:
            return self._settings.step_ms
        return time.fixed_ms + time.row_ms * sum(lane.job.rows_at(lane.step) for lane in lanes)

    def _take(self, milliseconds: float) -> None:
        if milliseconds > 0:
            self._sleep(milliseconds / 1000)

    def _fault(self, stage: str, seed: int | None) -> None:
        """Do what a fault for this stage and seed says, if there is one."""
        for fault in self._settings.faults:
            if (fault.stage, fault.seed) == (stage, seed):
                self._go_wrong(fault)

    def _go_wrong(self, fault: Fault) -> None:
        what = f"a fault was asked for: {fault.kind} at {fault.stage}"
        if fault.kind == "invalid":
            raise InvalidJob(what)
        if fault.kind == "nan":
            _not_finite(fault.stage)
        if fault.kind == "oom":
            raise MemoryError(what)
        if fault.kind == "exit":
            self._settings.exit_process(FAULT_EXIT_STATUS)
        while fault.kind == "hang":
            self._sleep(3600)
        raise RuntimeError(what)


def _not_finite(stage: str) -> NoReturn:
    if stage == "warm":
        raise ValueError("the model's unet computes numbers that are not finite (NaN or infinite)")
    if stage == "encode":
        raise NotFinite("text_encoder", "text_encoder")
    if stage == "decode":
        raise NotFinite("decode", "the decoder")
    raise NotFinite("denoise", f"step {stage}")


def _own(lane: Lane) -> FakeLane:
    assert isinstance(lane, FakeLane)
    return lane


def _tokenizers(model: Path | None) -> tuple[TokenizerInfo, ...]:
    """The tokenizers of a model folder, or two made-up ones with SDXL's padding."""
    if model is not None:
        return tokenizer_info(model / "tokenizer"), tokenizer_info(model / "tokenizer_2")
    digest = sha256(b"no tokenizer").hexdigest()
    return TokenizerInfo(digest, 49407, 77), TokenizerInfo(digest, 0, 77)
