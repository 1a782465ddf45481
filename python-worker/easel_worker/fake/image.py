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

import numpy as np

from easel_worker.engine import ImageSpec, Pixels, Tokens


def canonical_text(spec: ImageSpec) -> str:
    """The spec as text: eleven fields joined by `|`, lists of token ids joined by `,`.

    The fields are prompt.ids, prompt.ids_2, negative.ids, negative.ids_2 (both `-` without a
    negative prompt), seed, steps, guidance in thousandths (floor(1000·g + 0.5)), scheduler, width,
    height, clip_skip. If any of them is not its default, three more fields follow: guidance_start
    and guidance_end in thousandths, and cache_interval.
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
        *_savings(spec),
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


def _savings(spec: ImageSpec) -> tuple[int, ...]:
    interval = _thousandths(spec.guidance_start), _thousandths(spec.guidance_end)
    savings = (*interval, spec.cache_interval)
    return () if savings == (0, 1000, 1) else savings


def _thousandths(value: float) -> int:
    return int(value * 1000 + 0.5)


def _lists(tokens: Tokens) -> tuple[str, str]:
    return ",".join(map(str, tokens.ids)), ",".join(map(str, tokens.ids_2))
