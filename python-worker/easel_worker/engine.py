"""The interface between the worker's loop and an engine, which makes the images.

Two engines implement it: `easel_worker.sdxl.serving.engine` (the real one) and
`easel_worker.fake.engine` (whose images any program can compute). The loop and the step scheduler
depend only on this module.

The types here are also those of the wire: `easel_worker.protocol` extends `Parameters` to GENERATE
and `Capabilities` to HELLO.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, NamedTuple, Protocol

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from easel_worker.values import (
    AtLeastOne,
    AtMost8,
    AtMost32,
    AtMost100,
    AtMost1000,
    CacheOrder,
    ConditioningScale,
    Count,
    Guidance,
    HeightWidth,
    InnerShare,
    LoraName,
    LoraWeight,
    Name,
    OneTo4,
    OneTo8,
    OneTo64,
    OutputType,
    Positive,
    Score,
    Seconds,
    Sha256,
    Share,
    ShortText,
    Sigmas,
    Size,
    Spacing,
    Timesteps,
    TopLeft,
    TriggerWord,
    Uint32,
    Upscaler,
    Weight,
    Weighting,
)

READING, COMPILING = "reading", "compiling"
"""Prefixes of the names of an engine's threads that may run for minutes; no exit waits for them."""

GUIDANCE_INTERVAL = "guidance_interval"
"""The feature of an engine that can leave some steps unguided; see `ImageSpec.guided_steps`."""

PROMPT_WEIGHTS = "prompt_weights"
"""The feature of an engine that can apply weights to prompts; see `Tokens`."""

GUIDANCE_EMBEDDING = "guidance_embedding"
"""The feature of a model that takes the guidance scale as an input: no image has a second row."""

SCHEDULES = "schedules"
"""The feature of an engine whose samplers take timesteps, sigmas and eta of a request."""

GUIDANCE_RESCALE = "guidance_rescale"
"""The feature of an engine that can rescale guided predictions."""

CACHE_ORDER = "cache_order"
"""The feature of an engine whose cached steps can forecast features."""

MICRO_CONDITIONING = "micro_conditioning"
"""The feature of an engine that can condition on other sizes than the image's own."""

LORAS = "loras"
"""The feature of an engine that has a folder of LoRAs, which may be empty."""

EMBEDDINGS = "embeddings"
"""The feature of an engine that has a folder of embeddings, which may be empty."""

AESTHETIC_SCORE = "aesthetic_score"
"""The feature of a model that is conditioned on aesthetic scores, as SDXL's refiner is."""

PICTURES_ONLY = "pictures_only"
"""The feature of a model that changes pictures and makes none from text alone."""

IMAGE_TO_IMAGE = "image_to_image"
"""The feature of an engine that can begin from a picture, at a later step of the schedule."""

LATENTS = "latents"
"""The feature of an engine whose images may be latents, and may begin from latents of any size."""

INPAINTING = "inpainting"
"""The feature of an engine that can repaint the part of a picture that a mask marks."""

CONTROLS = "controls"
"""The feature of an engine with ControlNets or T2I-Adapters, which pictures control images by."""

IP_ADAPTERS = "ip_adapters"
"""The feature of an engine with IP-Adapters, by which pictures are prompts."""

REFINER = "refiner"
"""The feature of an engine with a second model, which does an image's last steps."""

FEATURES = {
    SCHEDULES: ("timestep_spacing", "timesteps", "sigmas", "eta"),
    GUIDANCE_INTERVAL: ("guidance_start", "guidance_end"),
    PROMPT_WEIGHTS: ("weighting", "empty"),
    GUIDANCE_RESCALE: ("guidance_rescale",),
    CACHE_ORDER: ("cache_order",),
    LORAS: ("loras",),
    EMBEDDINGS: ("embeddings", "pooled_at_end"),
    IMAGE_TO_IMAGE: ("image", "schedule_steps"),
    INPAINTING: ("mask",),
    LATENTS: ("latents", "latents_upscaler", "output_type"),
    CONTROLS: ("controls",),
    IP_ADAPTERS: ("ip_adapters",),
    AESTHETIC_SCORE: ("aesthetic_score", "negative_aesthetic_score"),
    REFINER: ("denoising_end",),
    MICRO_CONDITIONING: (
        "original_size",
        "crops_coords_top_left",
        "target_size",
        "negative_original_size",
        "negative_crops_coords_top_left",
        "negative_target_size",
    ),
}
"""Optional features by name, and the fields of a spec that have their defaults without them."""

LIMITED = {
    "steps": "max_steps",
    "schedule_steps": "max_steps",
    "guidance": "max_guidance_scale",
    "cache_interval": "max_cache_interval",
    "clip_skip": "max_clip_skip",
}
"""The parameters that have a limit, with the limit's field in `Limits`."""

Pixels = NDArray[np.uint8]
"""RGB pixels, [height, width, 3]."""

Latents = NDArray[np.float32]
"""An image before the VAE decodes it, in the UNet's scale: [h, w, channels]."""


@dataclass(frozen=True)
class Picture:
    """A picture that a request brings. Its digest decides whether it equals another.

    Attributes:
        digest: SHA-256 of the pixels, rows from the top.
        pixels: [height, width, channels].
    """

    digest: str
    pixels: NDArray[np.uint8] = field(compare=False, repr=False)


class InvalidRequest(ValueError):
    """The engine cannot do what the request asks for. Always the client's fault."""


class BadState(ValueError):
    """An image cannot be continued from this state; it can still be made from its start."""


@dataclass(frozen=True)
class LaneState:
    """An unfinished image as another worker of the same `Capabilities.state_kind` continues it.

    Only what its request does not decide: prompts, pictures and LoRAs are prepared again.

    Attributes:
        evaluation: how many times the UNet had run.
        step: how many of the request's steps were done.
        data: the engine's own.
    """

    evaluation: int
    step: int
    data: memoryview | bytes = field(repr=False)


NotFiniteStage = Literal["text_encoder", "denoise", "decode"]


class NotFinite(ArithmeticError):
    """An image's numbers became NaN or infinite, so the image fails. The text says where.

    Attributes:
        stage: where it happened, for metrics.
        where: the same in words, with the step.
    """

    def __init__(self, stage: NotFiniteStage, where: str) -> None:
        super().__init__(f"{where} produced numbers that are not finite (NaN or infinite)")
        self.stage = stage
        self.where = where


@dataclass(frozen=True)
class Tokens:
    """A prompt as token ids for the two text encoders (`_2` is the second one).

    The ids are chunks of the tokenizer's max_length, each with its start, end and padding; both
    encoders have the same number of chunks. Ids beyond the tokenizer's are vectors of embeddings,
    see `EmbeddingUse`. A list that is `UNSET` is absent.

    Attributes:
        weights: one weight for each id; absent means 1 for all.
        masked: [start, end) positions that each extra encoding hides, for compel's weights below 1.
        pooled_ids_2: the chunk that gives the pooled embedding; absent means the first one.
    """

    ids: Annotated[tuple[Uint32, ...], AtLeastOne]
    ids_2: Annotated[tuple[Uint32, ...], AtLeastOne]
    weights: Annotated[tuple[Weight, ...], AtLeastOne] | UnsetType = UNSET
    weights_2: Annotated[tuple[Weight, ...], AtLeastOne] | UnsetType = UNSET
    masked: Annotated[tuple[tuple[Count, Count], ...], AtMost32] | UnsetType = UNSET
    masked_2: Annotated[tuple[tuple[Count, Count], ...], AtMost32] | UnsetType = UNSET
    pooled_ids_2: Annotated[tuple[Uint32, ...], AtLeastOne] | UnsetType = UNSET

    @property
    def weighted(self) -> bool:
        """Whether any of the optional lists is there."""
        optional = self.weights, self.weights_2, self.masked, self.masked_2, self.pooled_ids_2
        return any(each is not UNSET for each in optional)


@dataclass(frozen=True, order=True)
class LoraUse:
    """A LoRA that an image has, and its weights for the UNet and for the text encoders."""

    name: LoraName
    digest: Sha256
    unet_weight: LoraWeight
    text_weight: LoraWeight


@dataclass(frozen=True, order=True)
class EmbeddingUse:
    """An embedding that an image's prompts have: the ids from `first_id` on are its vectors."""

    name: LoraName
    digest: Sha256
    first_id: Uint32


@dataclass(frozen=True)
class ControlUse:
    """A ControlNet or T2I-Adapter that an image has, how strong it is, and in which steps.

    `start` and `end` are shares of the steps that run; see `in_step`.
    """

    name: LoraName
    digest: Sha256
    scale: ConditioningScale
    start: Share = 0.0
    end: Share = 1.0

    def in_step(self, step: int, steps: int) -> bool:
        """Whether it changes this step, counted from 0, of so many.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/controlnet/pipeline_controlnet_sd_xl.py#L1405
        """
        return not (step / steps < self.start or (step + 1) / steps > self.end)


@dataclass(frozen=True)
class IpAdapterUse:
    """An IP-Adapter that an image has, and how strong it is."""

    name: LoraName
    digest: Sha256
    scale: ConditioningScale


AdapterSet = tuple[tuple[str, float], ...]
"""The digests and weights of the LoRAs of an image's UNet; empty for the model's own weights."""


class StepShape(NamedTuple):
    """What images must have in common to share a step.

    Attributes:
        size: of the images.
        tokens: of their prompts, for each text encoder.
        adapters: the LoRAs of their UNet.
        conditioned: whether pictures control their steps; see `ImageSpec.conditioned`.
        refined: whether the refiner does these steps.
    """

    size: Size
    tokens: int
    adapters: AdapterSet = ()
    conditioned: bool = False
    refined: bool = False


@dataclass(frozen=True)
class Parameters:
    """Everything that decides an image except its seed, with the names of GENERATE's fields.

    `guidance_start` and `guidance_end` are shares of the steps; see `ImageSpec.guided_steps`. With
    a `cache_interval` of N only every Nth step computes the full UNet; with a `cache_order` of 1
    the others forecast its features by the line through the last two. `weighting` says how the
    prompts' weights are applied; compel's needs `empty`, the empty text in one chunk.
    `timestep_spacing`, `timesteps`, `sigmas` and `eta` replace what the scheduler's config says;
    `timesteps` has one for each step, `sigmas` one more. Absent ones are the model's own.
    `loras` change the weights, in any order. `embeddings` are those of all prompts, in any order.
    With `pooled_at_end` the pooled embedding is always that of the end-of-text token; otherwise
    a text encoder that takes the highest id for it, as old configs want, takes a vector's place.
    An image that begins from a picture runs the last
    `steps` of a schedule of `schedule_steps`; absent, they are the same. `controls` and
    `ip_adapters` have a picture each, in the same order.
    `guidance_rescale` is diffusers': how far a guided prediction's deviation moves to that of the
    unguided one. Absent sizes of SDXL's micro-conditioning are the image's own. Models with
    aesthetic scores have them in the place of the target size. With a `denoising_end` the refiner
    does the steps from this share of the training timesteps on. With an `output_type` the image is
    not decoded. `latents_upscaler` scales the latents that an image begins from.
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
    cache_order: CacheOrder = 0
    guidance_rescale: Share = 0.0
    original_size: HeightWidth | UnsetType = UNSET
    crops_coords_top_left: TopLeft = (0, 0)
    target_size: HeightWidth | UnsetType = UNSET
    negative_original_size: HeightWidth | UnsetType = UNSET
    negative_crops_coords_top_left: TopLeft = (0, 0)
    negative_target_size: HeightWidth | UnsetType = UNSET
    aesthetic_score: Score = 6.0
    negative_aesthetic_score: Score = 2.5
    denoising_end: InnerShare | UnsetType = UNSET
    weighting: Weighting | UnsetType = UNSET
    empty: Tokens | UnsetType = UNSET
    loras: Annotated[tuple[LoraUse, ...], OneTo8] | UnsetType = UNSET
    embeddings: Annotated[tuple[EmbeddingUse, ...], OneTo64] | UnsetType = UNSET
    pooled_at_end: bool = False
    timestep_spacing: Spacing | UnsetType = UNSET
    timesteps: Timesteps | UnsetType = UNSET
    sigmas: Sigmas | UnsetType = UNSET
    eta: Share | UnsetType = UNSET
    schedule_steps: Positive | UnsetType = UNSET
    output_type: OutputType | UnsetType = UNSET
    latents_upscaler: Upscaler | UnsetType = UNSET
    controls: Annotated[tuple[ControlUse, ...], OneTo4] | UnsetType = UNSET
    ip_adapters: Annotated[tuple[IpAdapterUse, ...], OneTo4] | UnsetType = UNSET


@dataclass(frozen=True, kw_only=True)
class ImageSpec(Parameters):
    """Everything that decides one image. The same spec always gives the same pixels.

    Attributes:
        image: the picture that the image begins from, RGB and of the image's size.
        mask: where to repaint it, of one channel: 128 or more repaints, less keeps.
        latents: what the image begins from instead of a picture, of any size: the bytes of float32
            numbers, little-endian, in the UNet's scale.
        control_pictures: that of each of `controls`, RGB and of the image's size.
        ip_adapter_pictures: that of each of `ip_adapters`, RGB and of any size.
    """

    seed: Uint32
    guidance_embedding: bool = False
    image: Picture | None = None
    mask: Picture | None = None
    latents: Picture | None = None
    control_pictures: tuple[Picture, ...] = ()
    ip_adapter_pictures: tuple[Picture, ...] = ()

    @property
    def schedule_length(self) -> int:
        """How many steps the sampler's schedule has."""
        return self.steps if self.schedule_steps is UNSET else self.schedule_steps

    @property
    def begun(self) -> Picture | None:
        """The picture or the latents that the image begins from."""
        return self.image or self.latents

    @property
    def skipped_steps(self) -> int:
        """How many steps of the schedule are left out at its start."""
        return self.schedule_length - self.steps

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.width, self.height)

    @property
    def shape(self) -> StepShape:
        """What images must have in common to share a step, before the refiner takes over."""
        return StepShape(self.size, len(self.prompt.ids), self.adapters, self.conditioned)

    @property
    def refined_from(self) -> float | None:
        """From which share of the training timesteps on the refiner does its steps, if at all."""
        return None if self.denoising_end is UNSET else self.denoising_end

    @property
    def refined_shape(self) -> StepShape:
        """The same in the steps of the refiner: LoRAs and pictures change the base model only."""
        return StepShape(self.size, len(self.prompt.ids), refined=True)

    @property
    def conditioned(self) -> bool:
        """Whether any net or adapter changes its steps by a picture, which takes other programs."""
        return self.controls is not UNSET or self.ip_adapters is not UNSET

    @property
    def adapters(self) -> AdapterSet:
        """The LoRAs of its UNet, sorted by name."""
        loras = () if self.loras is UNSET else sorted(self.loras)
        return tuple((each.digest, each.unet_weight) for each in loras if each.unet_weight)

    @property
    def guided_steps(self) -> range:
        """The guided steps, counted from 0: those in the interval if guidance is above 1, or none.

        https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/guiders/classifier_free_guidance.py#L140
        """
        first, end = int(self.guidance_start * self.steps), int(self.guidance_end * self.steps)
        two_rows = self.guidance > 1.0 and not self.guidance_embedding
        return range(first, end) if two_rows else range(0)

    @property
    def guided(self) -> bool:
        """Whether any step is guided."""
        return bool(self.guided_steps)

    def rows_at(self, step: int) -> int:
        """How many rows the image takes in a denoising step, counted from 0."""
        return 2 if step in self.guided_steps else 1

    @property
    def rows(self) -> int:
        """The most rows that any of its steps takes; it holds them until its last step."""
        return 2 if self.guided else 1


@dataclass(frozen=True)
class Defaults:
    """The values for what a request leaves out, as the model's folder says."""

    width: Positive
    height: Positive
    num_inference_steps: Positive
    guidance_scale: Guidance
    scheduler: Name
    negative_prompt: str


@dataclass(frozen=True)
class Preset:
    """Values of request fields that belong together, under these fields' names in POST /generate.

    A field that is `UNSET` stays what it is without the preset.
    """

    name: Name
    num_inference_steps: Positive
    guidance_scale: Guidance
    scheduler: Name
    timestep_spacing: Spacing | UnsetType = UNSET
    timesteps: Timesteps | UnsetType = UNSET
    sigmas: Sigmas | UnsetType = UNSET
    eta: Share | UnsetType = UNSET


@dataclass(frozen=True)
class Limits:
    """The largest values that a request may have.

    `max_chunks` is for chunks of a prompt, `max_loras` for the LoRAs of an image, `max_controls`
    for its ControlNets and T2I-Adapters together.
    """

    max_steps: Positive
    max_guidance_scale: Guidance
    max_images: Positive
    max_cache_interval: Positive = 1
    max_clip_skip: Count = 0
    max_chunks: Positive = 1
    max_loras: Count = 0
    max_controls: Count = 0


@dataclass(frozen=True)
class TokenizerInfo:
    """Identity of a tokenizer; the digest is defined in protocol/README.md."""

    digest: Sha256
    pad_id: Count
    max_length: Positive


@dataclass(frozen=True)
class ModelInfo:
    """Identity of the weights. `family` is the model's architecture, such as `sdxl` or `koala`.

    `refiner` is the name of the refiner, whose weights the digest is of too.
    """

    id: Name
    digest: Sha256
    dtype: Name
    family: Name | UnsetType = UNSET
    refiner: Name | UnsetType = UNSET


@dataclass(frozen=True)
class Lora:
    """A LoRA that requests may name.

    Attributes:
        digest: SHA-256 of its file.
        kind: `lora`, `locon`, `loha`, `lokr`, `dora` or `full`.
        rank: the largest rank of its updates.
        parts: what it changes: `unet`, `text_encoder`, `text_encoder_2`.
        trigger_words: what its metadata says belongs into the prompt.
        base_model: the model that its metadata says it was trained on.
        preset: the preset of the few-step model that its name says it makes, whether or not the
            model has it.
    """

    name: LoraName
    digest: Sha256
    kind: Name
    rank: Positive | UnsetType = UNSET
    parts: Annotated[tuple[Name, ...], AtMost8] | UnsetType = UNSET
    trigger_words: Annotated[tuple[TriggerWord, ...], AtMost8] | UnsetType = UNSET
    base_model: ShortText | UnsetType = UNSET
    preset: Name | UnsetType = UNSET


@dataclass(frozen=True)
class Embedding:
    """A textual inversion that prompts may name.

    Attributes:
        digest: SHA-256 of its file.
        vectors: how many it has for each text encoder; each takes the place of a token.
    """

    name: LoraName
    digest: Sha256
    vectors: Positive


@dataclass(frozen=True)
class Control:
    """A net that requests may name to follow a picture.

    Attributes:
        digest: SHA-256 of what decides its numbers.
        kind: `controlnet` or `t2i-adapter`.
    """

    name: LoraName
    digest: Sha256
    kind: Name


@dataclass(frozen=True)
class IpAdapter:
    """An IP-Adapter that requests may name; it makes so many tokens of each picture."""

    name: LoraName
    digest: Sha256
    tokens: Positive


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
    """A compiled program: how long compiling or loading took, and whether a cache had it."""

    name: str
    seconds: Seconds
    cached: bool


@dataclass(frozen=True)
class Capabilities:
    """What an engine is and can do; sent to the gateway in HELLO.

    `second_order` are those of `schedulers` that evaluate the UNet twice in each step of a request
    but the last, and `unspaced` those that take no `timestep_spacing`. `coming` are the sizes still
    being compiled; each moves to `sizes` when it is ready. `features` are those of `FEATURES` that
    the engine has. `features` and `limits.max_chunks` grow while programs are compiled;
    `coming_features` are those that they will have then besides, and `coming_max_chunks` is what
    the limit will be. `loras` and `embeddings` follow their folders; `controls` and `ip_adapters`
    are those that were there at the start. `presets` are those that fit the model. `state_kind` is
    SHA-256 over all that decides an image's bytes besides the weights; absent if the engine cannot
    `save` and `resume` images.
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
    coming_features: tuple[Name, ...] = ()
    coming_max_chunks: Positive = 1
    features: tuple[Name, ...] = ()
    second_order: tuple[Name, ...] = ()
    unspaced: tuple[Name, ...] = ()
    loras: Annotated[tuple[Lora, ...], AtMost1000] = ()
    embeddings: Annotated[tuple[Embedding, ...], AtMost1000] = ()
    controls: Annotated[tuple[Control, ...], AtMost100] = ()
    ip_adapters: Annotated[tuple[IpAdapter, ...], AtMost100] = ()
    presets: tuple[Preset, ...] = ()
    state_kind: Sha256 | UnsetType = UNSET


def evaluations_of(spec: ImageSpec, capabilities: Capabilities) -> int:
    """How many times the UNet runs for an image, in as many steps that images share.

    With a refiner it may be one more: only the engine knows, see `Lane.evaluations`.
    """
    second_order = spec.scheduler in capabilities.second_order
    return 2 * spec.steps - 1 if second_order else spec.steps


def steps_done(evaluation: int, *, steps: int, evaluations: int) -> int:
    """How many of a request's steps are done after a number of evaluations of the UNet."""
    return steps if evaluation == evaluations else evaluation // (2 if evaluations > steps else 1)


class Merges(NamedTuple):
    """What an engine has merged LoRAs into."""

    held: int
    """Copies of the UNet's weights on the devices now, one for each set of LoRAs."""
    total: int
    """Copies of the UNet's and of the text encoders' weights made since the start."""
    seconds: float
    """How long the host worked on them, with reading the LoRAs."""


class Lane(Protocol):
    """One image in flight: the engine's own state. Other code uses only these properties."""

    @property
    def spec(self) -> ImageSpec:
        """What is being made."""

    @property
    def step(self) -> int:
        """How many of the request's steps are done, 0 ≤ step ≤ spec.steps."""

    @property
    def evaluation(self) -> int:
        """How many times the UNet has run for it, 0 ≤ evaluation ≤ `evaluations`."""

    @property
    def evaluations(self) -> int:
        """How many times it runs in all."""

    @property
    def handover(self) -> int | None:
        """The evaluation at which the refiner takes over, 0 < handover < evaluations; else None."""

    @property
    def shape(self) -> StepShape:
        """What lanes must have in common to share its next step."""

    @property
    def not_finite(self) -> NotFinite | None:
        """Set once a step is known to have made numbers that are not finite."""


class Engine(Protocol):
    """Makes images, one denoising step of several lanes at a time. Not safe for several threads."""

    def warm(self, report: Callable[[str], None]) -> None:
        """Load the model and compile everything that images of the default size need.

        Args:
            report: called with one readable line for each stage of the work.

        Raises:
            ValueError: the model or an option is wrong, or the model's numbers are not finite.
        """

    @property
    def capabilities(self) -> Capabilities:
        """What the engine can do. Complete after `warm`, except for sizes that are `coming`."""

    @property
    def adapter_sets(self) -> int:
        """How many different sets of LoRAs, besides none, images in flight may have."""

    def prepare(self, spec: ImageSpec, ready: Callable[[], None]) -> bool:
        """Do what takes long before an image can start, such as merging LoRAs, on another thread.

        Args:
            spec: has passed `easel_worker.specs.check`.
            ready: called on another thread when it is worth to ask again; always the same function,
                because only that of the call that begins the work is called.

        Returns:
            Whether nothing is left to do, so that `start` is quick. What went wrong, `start`
            raises.
        """

    def start(self, spec: ImageSpec) -> Lane:
        """Encode the prompt and draw the first latents.

        Args:
            spec: has passed `easel_worker.specs.check`.

        Raises:
            InvalidRequest: the spec breaks a limit that `Capabilities` does not contain.
            NotFinite: a text encoder's output is not finite.
        """

    def save(self, lane: Lane, most: int) -> LaneState | None:
        """The state of a lane, from which another engine continues without a difference.

        Args:
            lane: any lane; it stays as it is.
            most: the largest `data`, in bytes. Where a lane needs more, an earlier state of it may
                still fit.

        Returns:
            None if no state fits, or the lane's numbers are not finite.
        """

    def resume(self, spec: ImageSpec, state: LaneState) -> Lane:
        """Like `start`, and then continue from a state that `save` gave for an equal spec.

        Raises:
            BadState: the state does not fit the spec or this engine.
        """

    def step(self, lanes: Sequence[Lane]) -> None:
        """Run the UNet once for every lane, and return when the device is done.

        The lanes have one shape and together at most `capabilities.rows` rows. Their step counts,
        schedulers, guidance and seeds may differ. No lane's pixels depend on the other lanes.

        A lane whose last step made numbers that are not finite does not advance and has
        `Lane.not_finite` set; the others advance. This may become known one step late.
        """

    def finish(self, lane: Lane) -> Pixels:
        """Decode a lane that has no steps left into pixels [height, width, 3].

        Raises:
            NotFinite: the last step or the decoder made numbers that are not finite.
        """

    def latents(self, lane: Lane) -> Latents:
        """What `finish` would decode: the image of a lane whose spec has an `output_type`.

        Raises:
            NotFinite: the last step made numbers that are not finite.
        """

    def preview(self, lane: Lane) -> Pixels | None:
        """A small picture of an unfinished lane; None if its pixels are not finite.

        Raises:
            NotFinite: the last step made numbers that are not finite.
        """

    def clock(self) -> float:
        """Monotonic seconds, by which calls are charged to images: a clock's, or invented ones."""

    def rows_padded(self) -> int:
        """How many rows were computed since the start only to fill compiled programs."""

    def merges(self) -> Merges | None:
        """What LoRAs were merged into; None if the engine takes none."""

    def memory(self) -> tuple[DeviceMemory, ...]:
        """Memory in use on each device; empty if the backend does not report it."""
