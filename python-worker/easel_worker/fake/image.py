"""Draws the fake engine's picture, which is easy to compute in any language.

`text` contains the whole spec; `d` is its SHA-256, 32 bytes. Channel c of the pixel (x, y) is

    i     = 3·x + c
    noise = ((i·i·(d[0] | 1) + 257·d[1]) · (y·y·(d[2] | 1) + 257·d[3] + 1) mod 65536) >> 13
    value = d[4 + c] + ((x·(1 + d[7 + c] mod 4)) >> 2) + ((y·(1 + d[10] mod 4)) >> 2) + noise

modulo 256. (Either factor of the product may be reduced mod 65536 first.) Finally `d` replaces the
first 32 bytes of the picture, so that a test can tell which spec a picture belongs to. Slow
gradients with three bits of noise compress about as well as a photo.
"""

import hashlib
import math
from collections.abc import Iterable

import numpy as np
from msgspec import UNSET

from easel_worker.engine import (
    FEATURES,
    MICRO_CONDITIONING,
    ControlUse,
    ImageSpec,
    Latents,
    Pixels,
    Tokens,
)
from easel_worker.pictures import LATENT_BYTES, ROLES


def canonical_text(spec: ImageSpec) -> str:
    """The spec as text: eleven fields joined by `|`, lists of token ids joined by `,`.

    The fields are prompt.ids, prompt.ids_2, negative.ids, negative.ids_2 (both `-` without a
    negative prompt), seed, steps, guidance in thousandths (floor(1000·g + 0.5)), scheduler, width,
    height, clip_skip. If any of them is not its default, three more fields follow: guidance_start
    and guidance_end in thousandths, and cache_interval. If the request has a weighting, these three
    and one more always follow: see `_weighting`. If it has a schedule, one more field follows: see
    `_schedule`. The last fields are optional too: see `_conditions`,
    `_refiner`, `_loras`, `_embeddings`, `_schedule_steps`, `_controls`, `_latents` and `_pictures`.
    """
    negative = ("-", "-") if spec.negative is None else _lists(spec.negative)
    fields = (
        *_lists(spec.prompt),
        *negative,
        spec.seed,
        spec.steps,
        _thousandths(spec.guidance),
        spec.scheduler,
        spec.width,
        spec.height,
        spec.clip_skip,
        *_refinements(spec),
        *_weighting(spec),
        *_schedule(spec),
        *_conditions(spec),
        *_cache_order(spec),
        *_scores(spec),
        *_refiner(spec),
        *_loras(spec),
        *_embeddings(spec),
        *_schedule_steps(spec),
        *_controls(spec),
        *_latents(spec),
        *_pictures(spec),
    )
    return "|".join(map(str, fields))


def picture(text: str, width: int, height: int) -> Pixels:
    """The picture of a text, [height, width, 3]."""
    digest = hashlib.sha256(text.encode()).digest()
    d = [int(byte) for byte in digest]
    x = np.arange(width, dtype=np.uint32)
    y = np.arange(height, dtype=np.uint32)
    i = np.arange(width * 3, dtype=np.uint32)
    by_column = (i * i * (d[0] | 1) + 257 * d[1]).astype(np.uint16)
    by_row = (y * y * (d[2] | 1) + 257 * d[3] + 1).astype(np.uint16)
    slopes = np.array([1 + d[7 + c] % 4 for c in range(3)], dtype=np.uint32)
    starts = np.array(d[4:7], dtype=np.uint32)
    across = (starts + ((x[:, None] * slopes) >> 2)).astype(np.uint8).reshape(-1)
    down = ((y * (1 + d[10] % 4)) >> 2).astype(np.uint8)

    noise = by_row[:, None] * by_column
    noise >>= 13
    pixels = noise.astype(np.uint8)
    pixels += across
    pixels += down[:, None]
    pixels.reshape(-1)[: len(d)] = d[: pixels.size]
    return pixels.reshape(height, width, 3)


def latents(text: str, width: int, height: int) -> Latents:
    """The latents of a text, [height / 8, width / 8, 4]: their bytes are its digest, repeated."""
    digest = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    return np.resize(digest, (height // 8, width // 8, LATENT_BYTES)).view("<f4")


def _refinements(spec: ImageSpec) -> tuple[int, ...]:
    interval = _thousandths(spec.guidance_start), _thousandths(spec.guidance_end)
    refinements = (*interval, spec.cache_interval)
    neutral = refinements == (0, 1000, 1) and spec.weighting is UNSET
    return () if neutral else refinements


def _cache_order(spec: ImageSpec) -> tuple[str, ...]:
    return (f"cache_order={spec.cache_order}",) if spec.cache_order else ()


def _weighting(spec: ImageSpec) -> tuple[str, ...]:
    """The weighting and what it needs, joined by `;`; nothing without a weighting.

    After the weighting's name come, for the prompt and then for the negative one, weights and
    weights_2 in thousandths, joined by `,`; masked and masked_2 as `start-end`, joined by `,`; and
    pooled_ids_2. An absent list is `-`, and so is each list of an absent negative prompt. The last
    two parts are the ids and ids_2 of `empty`.
    """
    if spec.weighting is UNSET:
        return ()
    parts: list[str] = [spec.weighting]
    for tokens in (spec.prompt, spec.negative):
        for name in ("weights", "weights_2"):
            weights = getattr(tokens, name, UNSET)
            parts.append("-" if weights is UNSET else _joined(map(_thousandths, weights)))
        for name in ("masked", "masked_2"):
            masked = getattr(tokens, name, UNSET)
            spans = "-" if masked is UNSET else _joined(f"{start}-{end}" for start, end in masked)
            parts.append(spans)
        pooled = getattr(tokens, "pooled_ids_2", UNSET)
        parts.append("-" if pooled is UNSET else _joined(pooled))
    parts += ("-", "-") if spec.empty is UNSET else _lists(spec.empty)
    return (";".join(parts),)


def _schedule(spec: ImageSpec) -> tuple[str, ...]:
    """`schedule`, then timestep_spacing, timesteps, and sigmas and eta in thousandths, with `;`.

    Absent ones are `-`; lists are joined by `,`. Nothing without any of them.
    """
    given = spec.timestep_spacing, spec.timesteps, spec.sigmas
    eta = 0.0 if spec.eta is UNSET else spec.eta
    if all(each is UNSET for each in given) and eta == 0.0:
        return ()
    spacing = "-" if spec.timestep_spacing is UNSET else spec.timestep_spacing
    timesteps = "-" if spec.timesteps is UNSET else _joined(spec.timesteps)
    sigmas = "-" if spec.sigmas is UNSET else _joined(map(_thousandths, spec.sigmas))
    return (";".join(("schedule", spacing, timesteps, sigmas, str(_thousandths(eta)))),)


def _conditions(spec: ImageSpec) -> tuple[str, ...]:
    """`conditions=` and seven parts joined by `;`; nothing if all have their defaults.

    They are guidance_rescale in thousandths, then original_size, crops_coords_top_left and
    target_size, and then the negative ones. A pair is joined by `,`; an absent size is `-`.
    """
    pairs = [getattr(spec, name) for name in FEATURES[MICRO_CONDITIONING]]
    texts = ["-" if pair is UNSET else _joined(pair) for pair in pairs]
    parts = [str(_thousandths(spec.guidance_rescale)), *texts]
    neutral = parts == ["0", "-", "0,0", "-", "-", "0,0", "-"]
    return () if neutral else (f"conditions={';'.join(parts)}",)


def _scores(spec: ImageSpec) -> tuple[str, ...]:
    """`scores=` and the aesthetic scores in thousandths, joined by `;`; nothing for the defaults.

    The negative prompt's is the second.
    """
    scores = [_thousandths(each) for each in (spec.aesthetic_score, spec.negative_aesthetic_score)]
    return () if scores == [6000, 2500] else (f"scores={';'.join(map(str, scores))}",)


def _refiner(spec: ImageSpec) -> tuple[str, ...]:
    """`denoising_end=` and it in thousandths, if the refiner does the last steps."""
    share = spec.refined_from
    return () if share is None else (f"denoising_end={_thousandths(share)}",)


def _loras(spec: ImageSpec) -> tuple[str, ...]:
    """`loras=` and the LoRAs by name, joined by `;`; nothing without LoRAs.

    Each is `name,digest,unet_weight,text_weight`, the weights in thousandths.
    """
    if spec.loras is UNSET:
        return ()
    parts = (
        _joined((lora.name, lora.digest, *map(_thousandths, (lora.unet_weight, lora.text_weight))))
        for lora in sorted(spec.loras)
    )
    return (f"loras={';'.join(parts)}",)


def _embeddings(spec: ImageSpec) -> tuple[str, ...]:
    """`embeddings=` and `name,digest,first_id` of each by name, joined by `;`; nothing without any.

    With `pooled_at_end` one field more is that name.
    """
    if spec.embeddings is UNSET:
        return ()
    parts = (_joined((use.name, use.digest, use.first_id)) for use in sorted(spec.embeddings))
    end = ("pooled_at_end",) if spec.pooled_at_end else ()
    return (f"embeddings={';'.join(parts)}", *end)


def _schedule_steps(spec: ImageSpec) -> tuple[str, ...]:
    """`schedule_steps=` and their number, if they are not the steps."""
    return (f"schedule_steps={spec.schedule_steps}",) if spec.skipped_steps else ()


def _controls(spec: ImageSpec) -> tuple[str, ...]:
    """`controls=` and `ip_adapters=`, each with its entries in order, joined by `;`, if any.

    An entry is `name,digest,scale`, and of a control also `start,end`, numbers in thousandths.
    """
    named: list[str] = []
    for field in ("controls", "ip_adapters"):
        uses = getattr(spec, field)
        if uses is UNSET:
            continue
        parts = []
        for use in uses:
            numbers = [use.scale, *([use.start, use.end] if isinstance(use, ControlUse) else [])]
            parts.append(_joined((use.name, use.digest, *map(_thousandths, numbers))))
        named.append(f"{field}={';'.join(parts)}")
    return tuple(named)


def _latents(spec: ImageSpec) -> tuple[str, ...]:
    """`output_type=` and `latents_upscaler=`, each if the spec has it."""
    named = {"output_type": spec.output_type, "latents_upscaler": spec.latents_upscaler}
    return tuple(f"{name}={value}" for name, value in named.items() if value is not UNSET)


def _pictures(spec: ImageSpec) -> tuple[str, ...]:
    """`pictures=` and `role:digest` of each in the order of `ROLES`, joined by `;`, if any."""
    parts: list[str] = []
    for name, role in ROLES.items():
        found = getattr(spec, role.field)
        each = found if isinstance(found, tuple) else () if found is None else (found,)
        parts += [f"{name}:{picture.digest}" for picture in each]
    return (f"pictures={';'.join(parts)}",) if parts else ()


def _joined(items: Iterable[object]) -> str:
    return ",".join(map(str, items))


def _thousandths(value: float) -> int:
    return math.floor(value * 1000 + 0.5)


def _lists(tokens: Tokens) -> tuple[str, str]:
    return _joined(tokens.ids), _joined(tokens.ids_2)
