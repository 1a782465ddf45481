"""Checks the autoencoder: the scorer must accept drawn pictures after encoding and decoding.

No UNet can draw better than the decoder. Its reconstructions, with and without noise on the
latents, must pass the scorer before a UNet is worth training.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from demo.evaluation.held_out import held_out_captions
from demo.evaluation.report import Report, evaluate
from demo.evaluation.service import save_png
from demo.scenes.drawing import draw_all
from demo.training import vae


def reconstruct(count: int, noise: float) -> Report:
    """Score reconstructions of held-out scenes; `noise` is relative to the latents' deviation."""
    model = vae.load_trained()
    captions = held_out_captions(count)
    generator = torch.Generator().manual_seed(0)
    images = []
    with torch.no_grad():
        for start in range(0, count, 20):
            drawn = draw_all([said.scene for said in captions[start : start + 20]])
            latents = model.encode(vae.to_tensor(drawn)).latent_dist.mean
            latents += noise * latents.std() * torch.randn(latents.shape, generator=generator)
            pixels = model.decode(latents).sample.clamp(-1, 1)
            images += list(((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    return evaluate(lambda _prompts, _seeds: [np.asarray(image) for image in images], captions)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--sheet", type=Path, default=Path("gate.png"))
    options = parser.parse_args()
    for noise in (0.0, 0.1, 0.2):
        report = reconstruct(options.count, noise)
        print(f"noise {noise}\n{report.table()}\n{report.mistakes()}")
        save_png(report.contact_sheet(), options.sheet.with_stem(f"{options.sheet.stem}-{noise}"))
