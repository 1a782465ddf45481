"""An engine without a model: it waits as long as its options say and draws computable pictures.

The gateway's tests, the load benchmarks and the chaos tests use it, because its pictures prove
which request they belong to, its times are options, and it fails on demand.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from msgspec import UNSET

from easel_worker.engine import (
    CONTROLS,
    EMBEDDINGS,
    FEATURES,
    IMAGE_TO_IMAGE,
    INPAINTING,
    IP_ADAPTERS,
    LATENTS,
    LORAS,
    READING,
    REFINER,
    AdapterSet,
    BadState,
    Capabilities,
    Defaults,
    DeviceInfo,
    DeviceMemory,
    ImageSpec,
    InvalidRequest,
    Lane,
    LaneState,
    Latents,
    Limits,
    Merges,
    ModelInfo,
    NotFinite,
    Pixels,
    Preset,
    ProgramInfo,
    StepShape,
    TokenizerInfo,
    evaluations_of,
    steps_done,
)
from easel_worker.fake.files import (
    fake_controls,
    fake_embeddings,
    fake_ip_adapters,
    fake_loras,
)
from easel_worker.fake.image import canonical_text, latents, picture
from easel_worker.fake.options import Fault, Options
from easel_worker.timeline import Timeline
from easel_worker.tokenizer_digest import tokenizer_info

SECOND_ORDER = ("heun",)
SCHEDULERS = (
    *("euler", "euler_karras", "euler_ancestral", "ddim", "dpmpp_2m", "dpmpp_2m_karras"),
    *SECOND_ORDER,
)
PRESETS = (
    Preset(
        "lightning-4",
        num_inference_steps=4,
        guidance_scale=0.0,
        scheduler="euler",
        timestep_spacing="trailing",
    ),
)
PREVIEW_SCALE = 8
MAX_CLIP_SKIP = 10
MAX_LORAS = 4
MAX_CONTROLS = 2

STATE_BYTES = 40
STATE_KIND = sha256(b"fake engine's state 1").hexdigest()

FAULT_EXIT_STATUS = 70


@dataclass
class FakeLane:
    """An image in flight; only its count of evaluations changes.

    `unread` is the last step's failure until `settle` reads it, as in the real engine.
    """

    spec: ImageSpec
    evaluations: int
    handover: int | None = None
    evaluation: int = 0
    not_finite: NotFinite | None = None
    unread: NotFinite | None = None

    @property
    def step(self) -> int:
        """How many steps are done."""
        steps = self.spec.steps
        return steps_done(self.evaluation, steps=steps, evaluations=self.evaluations)

    @property
    def shape(self) -> StepShape:
        """That of the refiner's steps from `handover` on."""
        refined = self.handover is not None and self.evaluation >= self.handover
        return self.spec.refined_shape if refined else self.spec.shape

    def settle(self) -> bool:
        """Read the last step's failure; returns whether the lane's numbers are finite."""
        self.not_finite, self.unread = self.not_finite or self.unread, None
        return self.not_finite is None


class FakeEngine:
    """Implements `easel_worker.engine.Engine`, which documents the methods."""

    def __init__(
        self,
        options: Options,
        model: Path | None = None,
        *,
        sleep: Callable[[float], object] = time.sleep,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        """Args:

        options: the operator's options.
        model: a folder whose tokenizers the engine claims to have.
        sleep: waits this many seconds; tests pass one that does not wait.
        exit_process: ends the process with a status.
        """
        self._options = options
        self._step_times = dict(options.fake_step_times)
        self._sleep = sleep
        self._exit_process = exit_process
        self._tokenizers = _tokenizers(model)
        self._loras = fake_loras(options.loras)
        self._embeddings = fake_embeddings(options.embeddings)
        self._controls = fake_controls(options.controlnets)
        self._ip_adapters = fake_ip_adapters(options.ip_adapters)
        self._merged: dict[AdapterSet, str] = {}
        self._spent_s = 0.0

    def warm(self, report: Callable[[str], None]) -> None:
        """Take `fake_warm_ms`."""
        report("fake engine: warming up")
        self._take(self._options.fake_warm_ms)
        self._fault("warm", None)
        report("fake engine: warm")

    @property
    def capabilities(self) -> Capabilities:
        """What the options say."""
        width, height = self._options.sizes[0]
        refiner = self._options.refiner
        return Capabilities(
            model=ModelInfo(
                "fake",
                _digest(self._options.fake_weights),
                "uint8",
                refiner=UNSET if refiner is None else refiner.stem,
            ),
            tokenizers=self._tokenizers,
            sizes=self._options.sizes,
            rows=self._options.rows,
            schedulers=SCHEDULERS,
            defaults=Defaults(width, height, 20, 5.0, "euler", ""),
            limits=Limits(
                max_steps=1000,
                max_guidance_scale=50.0,
                max_images=16,
                max_cache_interval=self._options.max_cache_interval,
                max_clip_skip=MAX_CLIP_SKIP,
                max_chunks=self._options.max_prompt_chunks,
                max_loras=0 if self._options.loras is None else MAX_LORAS,
                max_controls=0 if self._options.controlnets is None else MAX_CONTROLS,
            ),
            devices=(DeviceInfo(0, "fake"),),
            programs=(ProgramInfo("fake", self._options.fake_warm_ms / 1000, cached=False),),
            features=tuple(name for name in FEATURES if name not in self._absent),
            second_order=SECOND_ORDER,
            loras=self._loras.list(),
            embeddings=self._embeddings.list(),
            controls=self._controls.list(),
            ip_adapters=self._ip_adapters.list(),
            presets=PRESETS,
            state_kind=STATE_KIND,
        )

    @property
    def _absent(self) -> set[str]:
        """The features that the options leave out."""
        folders = {
            LORAS: self._options.loras,
            EMBEDDINGS: self._options.embeddings,
            CONTROLS: self._options.controlnets,
            IP_ADAPTERS: self._options.ip_adapters,
            REFINER: self._options.refiner,
        }
        absent = {feature for feature, folder in folders.items() if folder is None}
        return (
            absent if self._options.image_inputs else absent | {IMAGE_TO_IMAGE, INPAINTING, LATENTS}
        )

    @property
    def adapter_sets(self) -> int:
        """As the options say; none without a folder."""
        return 0 if self._options.loras is None else self._options.lora_sets

    def prepare(self, spec: ImageSpec, ready: Callable[[], None]) -> bool:
        """Take `fake_merge_ms` for the first image of each set of LoRAs, on another thread."""
        wanted, seconds = spec.adapters, self._options.fake_merge_ms / 1000
        if not wanted or not seconds or self._merged.get(wanted) == "merged":
            return True
        if wanted not in self._merged:
            self._merged[wanted] = "merging"

            def merge() -> None:
                self._sleep(seconds)
                self._merged[wanted] = "merged"
                ready()

            threading.Thread(target=merge, name=READING, daemon=True).start()
        return False

    def start(self, spec: ImageSpec) -> FakeLane:
        """Take `fake_encode_ms`."""
        self._take(self._options.fake_encode_ms)
        self._fault("encode", spec.seed)
        evaluations = evaluations_of(spec, self.capabilities)
        return FakeLane(spec, evaluations, _handover(spec, evaluations))

    def save(self, lane: Lane, most: int) -> LaneState | None:
        """The digest of what the picture is drawn from, and the count of evaluations."""
        own = _own(lane)
        if not own.settle() or most < STATE_BYTES:
            return None
        data = self._digest(own.spec) + own.evaluation.to_bytes(8, "big")
        return LaneState(own.evaluation, own.step, data)

    def resume(self, spec: ImageSpec, state: LaneState) -> FakeLane:
        """Take `fake_encode_ms`, as `start` does."""
        lane = self.start(spec)
        self._fault("resume", spec.seed)
        wanted = self._digest(spec) + state.evaluation.to_bytes(8, "big")
        if state.data != wanted or not 0 < state.evaluation <= lane.evaluations:
            raise BadState("the state is not one of this image")
        lane.evaluation = state.evaluation
        return lane

    def step(self, lanes: Sequence[Lane]) -> None:
        """Take a step's time. After a fault no lane has advanced; NaN affects only its own lane."""
        self._check(lanes)
        stepping = [own for own in map(_own, lanes) if own.settle()]
        if not stepping:
            return
        self._take(self._step_ms(stepping))
        unread = [self._step_fault(lane) for lane in stepping]
        for lane, error in zip(stepping, unread, strict=True):
            lane.evaluation += 1
            lane.unread = error

    def finish(self, lane: Lane) -> Pixels:
        """Take `fake_decode_ms` and draw the picture."""
        self._end(lane)
        self._take(self._options.fake_decode_ms)
        self._fault("decode", lane.spec.seed)
        return picture(self._text(lane.spec), *lane.spec.size)

    def latents(self, lane: Lane) -> Latents:
        """The latents of the spec's text. They take no time."""
        self._end(lane)
        return latents(self._text(lane.spec), *lane.spec.size)

    def _end(self, lane: Lane) -> None:
        if lane.step != lane.spec.steps:
            raise ValueError(f"the end after {lane.step} of {lane.spec.steps} steps")
        self._settle(lane)

    def preview(self, lane: Lane) -> Pixels:
        """The picture of the spec's text plus `|` and the step, an eighth of the size."""
        self._settle(lane)
        text = f"{self._text(lane.spec)}|{lane.step}"
        return picture(text, lane.spec.width // PREVIEW_SCALE, lane.spec.height // PREVIEW_SCALE)

    def clock(self) -> float:
        """What its calls were told to take, whatever the machine's other load made of that."""
        return self._spent_s

    def rows_padded(self) -> int:
        """Always 0: a fake step has no padding."""
        return 0

    def merges(self) -> Merges | None:
        """Copies are only counted; none is dropped."""
        if self._options.loras is None:
            return None
        merged = sum(state == "merged" for state in self._merged.values())
        return Merges(merged, merged, merged * self._options.fake_merge_ms / 1000)

    def memory(self) -> tuple[DeviceMemory, ...]:
        """The memory of an invented device, always the same."""
        return (DeviceMemory(device=0, bytes_in_use=1 << 20, bytes_limit=1 << 30),)

    def _digest(self, spec: ImageSpec) -> bytes:
        return sha256(self._text(spec).encode()).digest()

    def _text(self, spec: ImageSpec) -> str:
        """What the picture is drawn from: the spec, and the weights if they were named."""
        weights = self._options.fake_weights
        return canonical_text(spec) + (f"|weights={weights}" if weights else "")

    def _step_fault(self, lane: FakeLane) -> NotFinite | None:
        """The lane's failure in the next step if its fault is NaN; other faults raise."""
        try:
            self._fault(str(lane.step + 1), lane.spec.seed)
        except NotFinite as error:
            return NotFinite(error.stage, f"step {lane.step + 1} of {lane.spec.steps}")
        return None

    def _settle(self, lane: Lane) -> None:
        own = _own(lane)
        own.settle()
        if own.not_finite is not None:
            raise own.not_finite

    def _check(self, lanes: Sequence[Lane]) -> None:
        """Check that the loop keeps the interface's conditions."""
        if len({lane.shape for lane in lanes}) != 1:
            raise ValueError("the lanes of a step must have one shape")
        if sum(lane.spec.rows for lane in lanes) > self._options.rows:
            raise ValueError(f"a step holds {self._options.rows} rows")
        if any(lane.step >= lane.spec.steps for lane in lanes):
            raise ValueError("a lane has no steps left")

    def _step_ms(self, lanes: Sequence[Lane]) -> float:
        time = self._step_times.get(lanes[0].spec.size)
        if time is None:
            return self._options.fake_step_ms
        return time.fixed_ms + time.row_ms * sum(lane.spec.rows_at(lane.step) for lane in lanes)

    def _take(self, milliseconds: float) -> None:
        if milliseconds > 0:
            self._sleep(milliseconds / 1000)
            self._spent_s += milliseconds / 1000

    def _fault(self, stage: str, seed: int | None) -> None:
        """Fail if the options have a fault for this stage and seed."""
        for fault in self._options.fake_faults:
            if (fault.stage, fault.seed) == (stage, seed):
                self._go_wrong(fault)

    def _go_wrong(self, fault: Fault) -> None:
        what = f"requested fault: {fault.kind} at {fault.stage}"
        if fault.kind == "invalid":
            raise InvalidRequest(what)
        if fault.kind == "nan":
            _not_finite(fault.stage)
        if fault.kind == "oom":
            raise MemoryError(what)
        if fault.kind == "exit":
            self._exit_process(FAULT_EXIT_STATUS)
        while fault.kind == "hang":
            self._sleep(3600)
        raise RuntimeError(what)


def build(model: Path | None, options: Options, _timeline: Timeline | None) -> FakeEngine:
    """See `engines.Build`."""
    return FakeEngine(options, model)


def _handover(spec: ImageSpec, evaluations: int) -> int | None:
    """The evaluation at which the invented refiner takes over."""
    share = spec.refined_from
    if share is None:
        return None
    if evaluations == 1:
        raise InvalidRequest("denoising_end needs 2 steps or more: one for each model")
    return min(max(int(evaluations * share), 1), evaluations - 1)


def _not_finite(stage: str) -> NoReturn:
    if stage == "warm":
        raise ValueError("the model's unet computes numbers that are not finite (NaN or infinite)")
    if stage == "encode":
        raise NotFinite("text_encoder", "text_encoder")
    if stage == "decode":
        raise NotFinite("decode", "the decoder")
    raise NotFinite("denoise", f"step {stage}")


def _digest(weights: str) -> str:
    return sha256(f"fake engine 1{weights}".encode()).hexdigest()


def _own(lane: Lane) -> FakeLane:
    assert isinstance(lane, FakeLane)
    return lane


def _tokenizers(model: Path | None) -> tuple[TokenizerInfo, ...]:
    """The tokenizers of a model folder, or two invented ones with SDXL's padding."""
    if model is not None:
        return tokenizer_info(model / "tokenizer"), tokenizer_info(model / "tokenizer_2")
    digest = sha256(b"no tokenizer").hexdigest()
    return TokenizerInfo(digest, 49407, 77), TokenizerInfo(digest, 0, 77)
