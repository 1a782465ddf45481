"""Scales latents to another size, on the host: the sizes of both passes need no program together.

The arithmetic is numpy's, one product and one sum at a time, so a result depends on its inputs
alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from easel_worker.values import Upscaler


class _Taps(NamedTuple):
    """What each place of the result is the sum of, along one axis: [places, taps]."""

    places: NDArray[np.intp]
    weights: NDArray[np.float32]


def scaled(
    latents: NDArray[np.float32], height: int, width: int, upscaler: Upscaler
) -> NDArray[np.float32]:
    """Latents [h, w, channels] at another size, [height, width, channels].

    Args:
        latents: of an image.
        height: of the result.
        width: of the result.
        upscaler: one of AUTOMATIC1111's modes for its second pass.

    https://github.com/AUTOMATIC1111/stable-diffusion-webui/blob/v1.10.1/modules/shared.py
    https://pytorch.org/docs/stable/generated/torch.nn.functional.interpolate.html
    """
    taps = _TAPS[upscaler]
    rows = _along(latents, taps(latents.shape[0], height))
    return _along(rows.swapaxes(0, 1), taps(latents.shape[1], width)).swapaxes(0, 1)


def _along(latents: NDArray[np.float32], taps: _Taps) -> NDArray[np.float32]:
    """The first axis at another length."""
    made = np.zeros((len(taps.places), *latents.shape[1:]), np.float32)
    for places, weights in zip(taps.places.T, taps.weights.T, strict=True):
        made += weights[:, None, None] * latents[places]
    return made


def _nearest(shift: float) -> Callable[[int, int], _Taps]:
    """https://github.com/pytorch/pytorch/blob/v2.13.0/aten/src/ATen/native/UpSample.h#L319"""

    def taps(old: int, new: int) -> _Taps:
        # Rounded to float32 where torch does it, because that decides which place is the nearest.
        at = (np.arange(new) + shift) * float(np.float32(old) / np.float32(new))
        places = np.minimum(at.astype(np.float32).astype(np.intp), old - 1)
        return _Taps(places[:, None], np.ones((new, 1), np.float32))

    return taps


def _linear(old: int, new: int) -> _Taps:
    """https://github.com/pytorch/pytorch/blob/v2.13.0/aten/src/ATen/native/UpSample.h#L292"""
    at = np.maximum(_centres(old, new) - 0.5, 0.0)
    first = at.astype(np.intp)
    share = at - first
    places = np.stack([first, first + 1], axis=1)
    return _taps(places, np.stack([1 - share, share], axis=1), old)


def _cubic(old: int, new: int) -> _Taps:
    """https://github.com/pytorch/pytorch/blob/v2.13.0/aten/src/ATen/native/UpSample.h#L403"""
    at = _centres(old, new) - 0.5
    places = np.floor(at).astype(np.intp)[:, None] + np.arange(-1, 3)
    return _taps(places, _cubic_filter(at[:, None] - places, -0.75), old)


def _smooth(
    radius: float, curve: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Callable[[int, int], _Taps]:
    """Taps that widen where the result is smaller, and that end at the edges.

    https://github.com/pytorch/pytorch/blob/v2.13.0/aten/src/ATen/native/cpu/UpSampleKernel.cpp
    """

    def taps(old: int, new: int) -> _Taps:
        wide = max(old / new, 1.0)
        centres = _centres(old, new)
        first = np.maximum((centres - radius * wide + 0.5).astype(np.intp), 0)
        end = np.minimum((centres + radius * wide + 0.5).astype(np.intp), old)
        places = first[:, None] + np.arange((end - first).max())
        weights = curve((places + 0.5 - centres[:, None]) / wide)
        weights = np.where(places < end[:, None], weights, 0.0)
        return _taps(places, weights / weights.sum(axis=1, keepdims=True), old)

    return taps


def _centres(old: int, new: int) -> NDArray[np.float64]:
    """Where the centres of the new places are among the old ones."""
    return (np.arange(new, dtype=np.float64) + 0.5) * (old / new)


def _taps(places: NDArray[np.intp], weights: NDArray[np.float64], old: int) -> _Taps:
    return _Taps(np.clip(places, 0, old - 1), weights.astype(np.float32))


def _triangle(at: NDArray[np.float64]) -> NDArray[np.float64]:
    made: NDArray[np.float64] = np.maximum(1.0 - np.abs(at), 0.0)
    return made


def _cubic_filter(at: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Keys' cubic convolution with the free parameter `a`."""
    x = np.abs(at)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    made: NDArray[np.float64] = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    return made


_TAPS: dict[Upscaler, Callable[[int, int], _Taps]] = {
    "latent": _linear,
    "latent-antialiased": _smooth(1.0, _triangle),
    "latent-bicubic": _cubic,
    "latent-bicubic-antialiased": _smooth(2.0, lambda at: _cubic_filter(at, -0.5)),
    "latent-nearest": _nearest(0.0),
    "latent-nearest-exact": _nearest(0.5),
}
