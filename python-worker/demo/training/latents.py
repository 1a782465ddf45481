"""Scenes with their latents, in a pool that grows while the UNet trains."""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from demo.scenes.drawing import coverage, draw_all
from demo.scenes.sampling import training_scene
from demo.scenes.scene import IMAGE_SIZE, Scene
from demo.training.vae import to_tensor

LATENT_SIZE = IMAGE_SIZE // 8
_INSIDE_WEIGHT = 2.0
_EDGE_WEIGHT = 3.0


class Pool:
    """Up to `limit` scenes of one kind, with their scaled latents and loss weights."""

    def __init__(
        self, vae: AutoencoderKL, scale: float, pair_share: float, limit: int, seed: int
    ) -> None:
        self._vae, self._scale, self._pair_share = vae, scale, pair_share
        self._rng = np.random.default_rng(seed)
        self.scenes: list[Scene] = []
        self._latents = torch.empty(limit, 4, LATENT_SIZE, LATENT_SIZE, dtype=torch.bfloat16)
        self._weights = torch.empty(limit, 1, LATENT_SIZE, LATENT_SIZE, dtype=torch.bfloat16)

    def grow(self, count: int) -> None:
        """Draw and encode up to `count` more scenes, until the pool is full."""
        start = len(self.scenes)
        count = min(count, len(self._latents) - start)
        for first in range(start, start + count, 32):
            size = min(32, start + count - first)
            scenes = [training_scene(self._rng, self._pair_share) for _ in range(size)]
            self._latents[first : first + size] = encode(self._vae, scenes) * self._scale
            self._weights[first : first + size] = loss_weights(scenes)
            self.scenes += scenes

    def batch(
        self, rng: np.random.Generator, size: int
    ) -> tuple[list[Scene], torch.Tensor, torch.Tensor]:
        """Random scenes with latents [n, 4, 16, 16] and loss weights [n, 1, 16, 16]."""
        chosen = rng.integers(len(self.scenes), size=size)
        at = torch.from_numpy(chosen)
        scenes = [self.scenes[i] for i in chosen]
        return scenes, self._latents[at].float(), self._weights[at].float()


@torch.no_grad()
def encode(vae: AutoencoderKL, scenes: Sequence[Scene]) -> torch.Tensor:
    """Encode scenes to the means of their latents, unscaled: [n, 4, 16, 16]."""
    with torch.autocast("cpu", torch.bfloat16):
        images = to_tensor(draw_all(scenes)).contiguous(memory_format=torch.channels_last)
        return vae.encode(images).latent_dist.mean.float()


def loss_weights(scenes: Sequence[Scene]) -> torch.Tensor:
    """Return weights of mean 1, higher in objects and highest at outlines: [n, 1, 16, 16].

    An object covers a small part of the latents and its outline even less, so a uniform loss
    hardly depends on its shape.
    """
    covered = np.stack(
        [np.max([coverage(item) for item in scene.objects], axis=0) for scene in scenes]
    )
    mask = torch.from_numpy(covered)[:, None]
    highest = functional.max_pool2d(functional.max_pool2d(mask, 8), 3, 1, 1)
    lowest = -functional.max_pool2d(functional.max_pool2d(-mask, 8), 3, 1, 1)
    weight = 1.0 + _INSIDE_WEIGHT * highest + _EDGE_WEIGHT * (highest - lowest)
    return weight / weight.mean((1, 2, 3), keepdim=True)
