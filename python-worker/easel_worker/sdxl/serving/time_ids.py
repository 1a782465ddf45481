"""SDXL's micro-conditioning: the sizes that an image is conditioned on, and its score."""

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from easel_worker.engine import ImageSpec
from easel_worker.values import Size

TimeIds = NDArray[np.float32]


def time_ids(spec: ImageSpec) -> tuple[TimeIds, TimeIds]:
    """Original height and width, crop top and left, target height and width: [6] each, float32.

    The first ids are those of the negative prompt's row. They are the prompt's own unless both
    negative sizes are given.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl.py#L1132
    """
    size = (spec.height, spec.width)
    positive = _ids(
        size if spec.original_size is UNSET else spec.original_size,
        spec.crops_coords_top_left,
        size if spec.target_size is UNSET else spec.target_size,
    )
    if spec.negative_original_size is UNSET or spec.negative_target_size is UNSET:
        return positive, positive
    negative = _ids(
        spec.negative_original_size, spec.negative_crops_coords_top_left, spec.negative_target_size
    )
    return negative, positive


def time_ids_with_scores(spec: ImageSpec) -> tuple[TimeIds, TimeIds]:
    """Original height and width, crop top and left, aesthetic score: [5] each, float32.

    As `time_ids`, for models with `SdxlConfig.aesthetic_scores`. The negative prompt's original
    size is the prompt's own unless both negative sizes are given; its crop is not.

    https://github.com/huggingface/diffusers/blob/v0.42.1/src/diffusers/pipelines/stable_diffusion_xl/pipeline_stable_diffusion_xl_img2img.py#L845
    """
    original = (spec.height, spec.width) if spec.original_size is UNSET else spec.original_size
    negative = original if spec.negative_original_size is UNSET else spec.negative_original_size
    return (
        _ids(negative, spec.negative_crops_coords_top_left, (spec.negative_aesthetic_score,)),
        _ids(original, spec.crops_coords_top_left, (spec.aesthetic_score,)),
    )


def own_size(size: Size) -> TimeIds:
    """The ids of an image that is conditioned on its own size, [6]."""
    shape = (size.height, size.width)
    return _ids(shape, (0, 0), shape)


def _ids(original: tuple[int, int], crop: tuple[int, int], target: tuple[float, ...]) -> TimeIds:
    return np.array([*original, *crop, *target], np.float32)
