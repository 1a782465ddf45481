"""The pure functions that run on the devices: encode, project, begin, denoise, decode, preview.

A *lane* holds the arrays of one image in flight. They are separate values, not slots of a shared
buffer: the denoising program takes any lanes, stacks them, and returns them one by one.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import Mesh
from jax.typing import ArrayLike

from easel_worker.sdxl.folder.model import TextParams
from easel_worker.sdxl.model import vae, vae_tiles
from easel_worker.sdxl.model.additions import NO_ADDITIONS, Additions
from easel_worker.sdxl.model.config import SdxlConfig
from easel_worker.sdxl.model.text_encoder import TextEncoder, TextOutput, TextWithVectors
from easel_worker.sdxl.model.unet import PromptContext, UNet
from easel_worker.sdxl.samplers.table import Coefficients, advance
from easel_worker.sdxl.serving.sharding import (
    BY_LANE,
    BY_LANE_AND_ROW,
    BY_LANE_EVERYWHERE,
    PAIR,
    WHOLE,
)
from easel_worker.values import Size

GUIDED_ROWS = 2

PREVIEW_SIDE = 256
"""The least number of pixels along a preview's longer side, unless the image has fewer."""


class Prompt(NamedTuple):
    """An encoded prompt: context [tokens, features] and pooled [features]."""

    context: Array
    pooled: Array


class Encoded(NamedTuple):
    """An encoded prompt, and for each text encoder whether its output is finite: [2], bool."""

    prompt: Prompt
    finite: ArrayLike


class State(NamedTuple):
    """The sample and the last predicted images, [h, w, channels] each, float32.

    `older` is the image predicted before `image`; None in programs without samplers that use it.
    """

    sample: Array
    image: Array
    older: Array | None = None


class Conditions(NamedTuple):
    """The UNet's inputs made from prompts: one row, or two with guidance, the negative one first.

    `context` holds the keys and values of each cross attention [rows, ...], or the contexts that
    they are made from [rows, tokens, features]. `pooled` is [rows, features], and `time_ids` is
    [rows, 5 or 6], see the module `time_ids`. `picture` holds the keys and values of an
    IP-Adapter's picture; None in programs of images without one.
    """

    context: PromptContext | Array
    pooled: Array
    time_ids: Array
    picture: PromptContext | None = None


class LaneInput(NamedTuple):
    """A lane's arrays for one step.

    If `deep` holds the deep feature of an earlier step, [rows, h, w, channels], only the UNet's top
    level is computed; see `UNet.top`. `additions` are what the request's pictures add: residuals
    [rows, h, w, channels], and features [h, w, channels] for all rows. `inpainting` holds what an
    inpainting UNet takes besides the sample: the mask and the latents of the masked picture,
    [h, w, 1 + channels].
    """

    state: State
    conditions: Conditions
    deep: Array | None = None
    additions: Additions = NO_ADDITIONS
    inpainting: Array | None = None


class Kept(NamedTuple):
    """A lane after a full step: its state, and the deep feature of its rows, as in `LaneInput`."""

    state: State
    deep: Array


class Stepped(NamedTuple):
    """Lanes after a step, in order, and for each whether its numbers are finite: [lanes], bool."""

    lanes: "tuple[State | Kept, ...]"
    finite: Array


class Decoded(NamedTuple):
    """Pixels, uint8, and whether all numbers that they were made from are finite: bool."""

    pixels: Array
    finite: Array


class StepNumbers(NamedTuple):
    """The numbers that the host computes for a step of some lanes, [lanes] each."""

    timestep: ArrayLike
    guidance: ArrayLike
    rescale: ArrayLike
    seed: ArrayLike
    step: ArrayLike
    coefficients: Coefficients


def latent_shape(config: SdxlConfig, size: Size) -> tuple[int, int, int]:
    """The shape [h, w, channels] of an image's latents."""
    scale = config.vae_scale
    return (size.height // scale, size.width // scale, config.vae.latent_channels)


def encode(
    params: TextParams,
    ids: Array | TextWithVectors,
    ids_2: Array | TextWithVectors,
    skip: Array,
    seen: tuple[Array | None, Array | None] = (None, None),
) -> Encoded:
    """Run a prompt of one chunk through both text encoders.

    Args:
        params: the encoders; without a first one its ids do not matter.
        ids: [tokens], int32, for the first encoder; or also the vectors of embeddings.
        ids_2: the same for the second encoder.
        skip: the context comes from this many layers before the last but one.
        seen: for each encoder which tokens may be attended to, [tokens]; None for all.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py#L405
    """

    def before_last(states: Array) -> Array:
        layer = len(states) - 2 - skip
        chosen: Array = lax.dynamic_index_in_dim(states[:, 0], layer, keepdims=False)
        return chosen

    first = None
    if params.first is not None:
        with jax.named_scope("text_encoder"):
            first = _encode_text(params.first, ids, seen[0])
    with jax.named_scope("text_encoder_2"):
        second = _encode_text(params.second, ids_2, seen[1])
    outputs = (second,) if first is None else (first, second)
    states = [before_last(each.hidden_states) for each in outputs]
    finite = [is_finite(each) for each in states]
    finite[-1] = finite[-1] & is_finite(second.pooled)
    if first is None:
        finite.insert(0, jnp.array(True))
    prompt = Prompt(jnp.concatenate(states, axis=-1), second.pooled[0])
    return Encoded(prompt, jnp.stack(finite))


def _encode_text(
    encoder: TextEncoder, text: Array | TextWithVectors, seen: Array | None
) -> TextOutput:
    if isinstance(text, TextWithVectors):
        return encoder(text.ids[None], seen, text)
    return encoder(text[None], seen)


def project(
    params: UNet, prompts: tuple[Prompt, ...], time_ids: Array, *, ahead: bool
) -> Conditions:
    """Compute the UNet's inputs that are the same at all steps of an image.

    Args:
        params: the UNet.
        prompts: the prompt; with guidance the negative prompt before it.
        ahead: compute keys and values now, which at full size are 80 times as large as the
            contexts; otherwise each step computes them.
    """
    context = jnp.stack([prompt.context for prompt in prompts])
    pooled = jnp.stack([prompt.pooled for prompt in prompts])
    if not ahead:
        return Conditions(context, pooled, time_ids)
    return Conditions(params.project_context(context), pooled, time_ids)


def begin(
    seed: Array, initial: Array, *, shape: tuple[int, ...], keep_older: bool = False
) -> State:
    """The state before the first step: `initial` times the seed's noise.

    Args:
        seed: the image's.
        initial: see `Table`.
        shape: of the sample.
        keep_older: keep the older predicted image too, see `State`.
    """
    sample = initial * draw_noise(seed, 0, shape=shape)
    image = jnp.zeros(shape, jnp.float32)
    return State(sample, image, jnp.zeros(shape, jnp.float32) if keep_older else None)


def draw_noise(seed: ArrayLike, draw: ArrayLike, *, shape: tuple[int, ...]) -> Array:
    """Unit normal noise. Draw 0 is for the first sample, draw 1 + i is for step i.

    It depends on the seed alone: not on other lanes, and not on the devices or their number.
    """
    key = jax.random.fold_in(jax.random.key(seed), draw)
    return jax.random.normal(key, shape, jnp.float32)


def forecast(last: Array, before: Array, factor: Array) -> Array:
    """Continue the line through two deep features, [rows, h, w, channels], in float32.

    https://arxiv.org/abs/2503.06923, section 3.2, with m = 1

    Args:
        last: the feature of the last full evaluation.
        before: that of the full evaluation before it.
        factor: how far to go on, in distances between the two.
    """
    at = last.astype(jnp.float32)
    ahead = at + factor * (at - before.astype(jnp.float32))
    return ahead.astype(last.dtype)


def denoise(
    params: UNet,
    lanes: tuple[LaneInput, ...],
    numbers: StepNumbers,
    *,
    mesh: Mesh,
    keep: bool = False,
) -> Stepped:
    """Advance lanes of one size by one step, either all guided or none.

    Each device (or pair of devices, if the mesh has pairs) computes the same number of lanes by
    itself, so a lane's arithmetic depends neither on the device nor on the other lanes.

    Args:
        params: the UNet, a copy on each device.
        lanes: the lanes to advance; all have a deep feature, or none has.
        numbers: the step's numbers, [lanes] each.
        mesh: the devices; their number (for guided lanes that of pairs) divides that of the lanes.
        keep: return the deep features too, for later steps, if the lanes have none. They are split
            over the devices like the conditions.

    Returns:
        The lanes' new states.
    """
    guided = lanes[0].conditions.pooled.shape[0] == GUIDED_ROWS

    def on_each_device(
        params: UNet,
        arrays: tuple[State, Conditions, Array | None, Additions, Array | None],
        numbers: StepNumbers,
        predicted: tuple[Array, Array | None] | None,
    ) -> tuple[State, Array, Array | None]:
        lanes = LaneInput(*arrays)
        with jax.named_scope("unet"):
            output, deep = predicted or _predict(params, lanes, numbers)
            if guided:
                output = _guide(output, numbers)
        with jax.named_scope("advance"):
            state = _advance(lanes.state, output[:, 0], numbers)
        with jax.named_scope("finite"):
            # Without the barrier this check could change how the state is computed.
            barrier: Callable[[State], State] = lax.optimization_barrier
            made = barrier(state)
            finite = is_finite(made.sample, lanes=True) & is_finite(made.image, lanes=True)
        return made, finite, deep if keep else None

    stacked: LaneInput = jax.tree.map(lambda *arrays: jnp.stack(arrays), *lanes)
    each = BY_LANE if guided else BY_LANE_EVERYWHERE
    rows = BY_LANE_AND_ROW if guided else BY_LANE_EVERYWHERE
    added = Additions(rows, each)  # type: ignore[arg-type]
    arrays = (
        stacked.state,
        stacked.conditions,
        stacked.deep,
        stacked.additions,
        stacked.inpainting,
    )
    # jax refuses a shard_map within one over the same axes.
    predicted = _predict(params, LaneInput(*arrays), numbers) if params.maps_devices else None
    states, finite, deep = jax.shard_map(
        on_each_device,
        mesh=mesh,
        in_specs=(WHOLE, (each, rows, rows, added, each), each, rows),
        out_specs=(each, each, rows),
        check_vma=False,  # kernels' results do not declare over which axes they vary
    )(params, arrays, numbers, predicted)
    made = [_lane(states, i) for i in range(len(lanes))]
    if deep is None:
        return Stepped(tuple(made), finite)
    return Stepped(tuple(Kept(state, deep[i]) for i, state in enumerate(made)), finite)


def _lane(states: State, place: int) -> State:
    """One of stacked states."""
    older = None if states.older is None else states.older[place]
    return State(states.sample[place], states.image[place], older)


def _predict(params: UNet, lanes: LaneInput, numbers: StepNumbers) -> tuple[Array, Array | None]:
    """The UNet's output for this device's rows of each lane: [lanes, rows, ...], float32.

    For a full step also the deep feature [lanes, rows, h, w, channels], else None.
    """
    count, rows = lanes.conditions.pooled.shape[:2]
    conditions = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), lanes.conditions)
    sample = lanes.state.sample
    if lanes.inpainting is not None:
        sample = jnp.concatenate([sample, lanes.inpainting], axis=-1)
    arguments = (
        jnp.repeat(sample, rows, axis=0),
        jnp.repeat(jnp.asarray(numbers.timestep), rows),
        _context(params, conditions),
        conditions.pooled,
        conditions.time_ids,
    )

    guidance = None
    if params.config.guidance_features is not None:
        guidance = jnp.repeat(jnp.asarray(numbers.guidance), rows)

    def by_lane(array: Array) -> Array:
        return array.reshape(count, rows, *array.shape[1:])

    if lanes.deep is None:
        additions = _of_rows(lanes.additions, rows)
        whole = params.whole(*arguments, guidance=guidance, additions=additions)
        return by_lane(whole.output.astype(jnp.float32)), by_lane(whole.deep)
    deep = lanes.deep.reshape(-1, *lanes.deep.shape[2:])
    output = params.top(*arguments, deep=deep, guidance=guidance)
    return by_lane(output.astype(jnp.float32)), None


def _context(params: UNet, conditions: Conditions) -> PromptContext:
    """The keys and values of each cross attention for this device's rows."""
    given = conditions.context
    context = given if isinstance(given, PromptContext) else params.project_context(given)
    return context if conditions.picture is None else context.with_picture(conditions.picture)


def _of_rows(additions: Additions, rows: int) -> Additions:
    """The additions of this device's lanes, [lanes, ...], by row."""
    residuals = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), additions.residuals)
    features = jax.tree.map(lambda a: jnp.repeat(a, rows, axis=0), additions.features)
    return Additions(residuals, features)


def _guide(output: Array, numbers: StepNumbers) -> Array:
    """Apply guidance to the outputs of a pair's devices: [lanes, rows, ...] to [lanes, 1, ...].

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py#L1199
    """
    both = lax.all_gather(output, PAIR, axis=1, tiled=True)
    uncond, cond = both[:, :1], both[:, 1:]
    guided = uncond + _per_lane(numbers.guidance)[..., None] * (cond - uncond)
    return _rescale(guided, cond, _per_lane(numbers.rescale)[..., None])


def _rescale(guided: Array, cond: Array, share: Array) -> Array:
    """Move the standard deviation of guided outputs [lanes, 1, ...] to that of `cond`, by a share.

    A lane with a share of 0 keeps its output unchanged.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py#L84
    """
    rescaled = guided * (_deviation(cond) / _deviation(guided))
    return jnp.where(share > 0, share * rescaled + (1 - share) * guided, guided)


def _deviation(output: Array) -> Array:
    """The standard deviation of each lane of [lanes, 1, h, w, channels], as torch defines it."""
    return jnp.std(output, axis=(2, 3, 4), ddof=1, keepdims=True)


def _advance(state: State, output: Array, numbers: StepNumbers) -> State:
    """Apply the sampler's step, with new noise for each lane."""

    def draw(seed: Array, step: Array) -> Array:
        return draw_noise(seed, 1 + step, shape=state.sample.shape[1:])

    noise = jax.vmap(draw)(jnp.asarray(numbers.seed), jnp.asarray(numbers.step))
    at: Coefficients = jax.tree.map(_per_lane, numbers.coefficients)
    return next_state(at, state, output, noise)


def next_state(at: Coefficients, state: State, output: Array, noise: Array) -> State:
    """Apply a step's coefficients to one state, or to several with broadcast coefficients.

    Args:
        at: the step's coefficients.
        state: the state before the step.
        output: the UNet's output after guidance.
        noise: fresh unit normal noise.
    """
    sample, image = advance(at, state.sample, output, state.image, noise, older=state.older)
    return State(sample, image, None if state.older is None else state.image)


def is_finite(array: Array, *, lanes: bool = False) -> Array:
    """Whether no number is NaN or infinite, in a whole array or in each lane [lanes, ...]."""
    return jnp.all(jnp.isfinite(array), axis=tuple(range(1 if lanes else 0, array.ndim)))


def _per_lane(numbers: ArrayLike) -> Array:
    """[lanes] → [lanes, 1, 1, 1]."""
    return jnp.asarray(numbers)[:, None, None, None]


def decode(decoder: vae.Decoder, sample: Array, *, tile: int | None = None) -> Decoded:
    """Latents [h, w, channels] → pixels [H, W, 3], uint8, rounded as diffusers does.

    Args:
        decoder: the VAE's decoder.
        sample: latents in the UNet's scale.
        tile: decode tiles of this many latents a side, see `vae_tiles`; None to decode the whole.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/image_processor.py#L143
    """
    latents = vae.unscale(decoder.config, sample[None])
    whole = decoder if tile is None else partial(vae_tiles.decode, decoder, tile=tile)
    image = whole(latents)[0].astype(jnp.float32)
    pixels = jnp.round(jnp.clip(image * 0.5 + 0.5, 0.0, 1.0) * 255.0).astype(jnp.uint8)
    return Decoded(pixels, is_finite(image))


def preview(decoder: vae.Decoder, image: Array, *, shrink: int) -> Decoded:
    """Decode a predicted image [h, w, channels], `shrink` times smaller along each side.

    Downscaled latents resemble the latents of a downscaled image, and decode faster.
    """
    height, width, channels = image.shape
    blocks = image.reshape(height // shrink, shrink, width // shrink, shrink, channels)
    return decode(decoder, blocks.mean(axis=(1, 3)))


def preview_shrink(config: SdxlConfig, size: Size) -> int:
    """The largest power of two that leaves a preview's longer side PREVIEW_SIDE pixels or more."""
    height, width, _ = latent_shape(config, size)
    shrink = 1
    while (
        max(size) >= 2 * shrink * PREVIEW_SIDE
        and height % (2 * shrink) == 0
        and width % (2 * shrink) == 0
    ):
        shrink *= 2
    return shrink
