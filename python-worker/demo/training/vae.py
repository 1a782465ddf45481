"""Stage 1: the autoencoder, 8x down to four latent channels, on drawn pictures.

Flat colours with sharp edges need no adversarial loss: absolute error with larger weights at
edges is enough. The KL term is far above SDXL's. It keeps the latents easy for a small UNet, and
its noise makes the decoder robust to small errors of that UNet.
"""

import argparse

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from demo.scenes.drawing import draw_all
from demo.scenes.sampling import training_scene
from demo.scenes.scene import IMAGE_SIZE, Scene
from demo.training import run
from demo.training.parallel import Team, train_together

CHECKPOINT = "vae.pt"
_CROP = 64
_LEARNING_RATE = 1.5e-3
_KL_WEIGHT = 1.0e-3
_EDGE_WEIGHT = 3.0


def build() -> AutoencoderKL:
    """Return the untrained autoencoder."""
    model = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
        force_upcast=False,
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("conv2.weight"):  # residual branches start small
                parameter.mul_(0.3)
        model.quant_conv.bias[4:].fill_(-5.0)  # start with little noise on the latents
    return model


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Convert RGB bytes [n, h, w, 3] to floats in -1..1, [n, 3, h, w], channels last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def train(minutes: float) -> None:
    """Train for `minutes` of work, resuming a checkpoint if one exists."""
    train_together(_work, minutes)


def _work(team: Team, minutes: float) -> None:
    torch.manual_seed(1)
    model = build().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), _LEARNING_RATE, (0.9, 0.99), weight_decay=0)
    clock = run.Clock("vae", minutes)
    if saved := run.load(CHECKPOINT):
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        clock.restore(saved["clock"])
    factor = run.flat_then_linear(0.4, 0.01)
    rng = np.random.default_rng([clock.step, team.rank])
    torch.manual_seed(10 * clock.step + team.rank)
    while clock.progress < 1.0:
        rate = _LEARNING_RATE * factor(clock.progress) * min(1.0, (clock.step + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, parts = _loss(model, _pictures(rng, clock.progress, team.size))
        optimizer.zero_grad()
        loss.backward()
        team.average(model, loss, clock)
        optimizer.step()
        if team.leads:
            clock.tell(**parts)
            if clock.checkpoint_due():
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                run.save(CHECKPOINT, {**state, "clock": clock.state()})


def load_trained() -> AutoencoderKL:
    """Load the model of the latest checkpoint."""
    saved = run.load(CHECKPOINT)
    if saved is None:
        raise FileNotFoundError("no autoencoder yet: run `python -m demo.training.vae` first")
    model = build()
    model.load_state_dict(saved["model"])
    return model.eval()


def _pictures(rng: np.random.Generator, progress: float, share: int) -> torch.Tensor:
    """Return crops around objects at first, later whole pictures."""
    crops = progress < 0.7
    scenes = [training_scene(rng, pair_share=0.5) for _ in range((16 if crops else 8) // share)]
    images = draw_all(scenes)
    if crops:
        images = np.stack([_crop(rng, s, i) for s, i in zip(scenes, images, strict=True)])
    return to_tensor(images)


def _crop(rng: np.random.Generator, scene: Scene, image: np.ndarray) -> np.ndarray:
    """Cut out 64x64 pixels that contain an object's outline, on the latent grid of 8 pixels."""
    item = scene.objects[rng.integers(len(scene.objects))]
    corner = []
    for centre in (item.cy, item.cx):
        around = centre + rng.integers(-item.half, item.half + 1) - _CROP // 2
        corner.append(int(np.clip(round(around / 8) * 8, 0, IMAGE_SIZE - _CROP)))
    y, x = corner
    return image[y : y + _CROP, x : x + _CROP]


def _loss(model: AutoencoderKL, images: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
    with torch.autocast("cpu", torch.bfloat16):
        posterior = model.encode(images).latent_dist
        output = model.decode(posterior.sample()).sample
    error = output.float() - images
    weight = 1.0 + _EDGE_WEIGHT * edges(images)
    pixel = (weight * (error.abs() + error.square())).mean()
    mean, logvar = posterior.mean.float(), posterior.logvar.float()
    kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
    with torch.no_grad():
        decibel = -10.0 * torch.log10(error.square().mean() / 4.0)
    return pixel + _KL_WEIGHT * kl, {
        "loss": float(pixel.detach()),
        "kl": float(kl.detach()),
        "std": float(mean.detach().std()),
        "noise": float((0.5 * logvar.detach()).exp().mean()),
        "dB": float(decibel),
    }


def edges(images: torch.Tensor) -> torch.Tensor:
    """Return 1 within two pixels of a change of colour, else 0: [n, 1, h, w]."""
    highest = functional.max_pool2d(images, 5, 1, 2)
    lowest = -functional.max_pool2d(-images, 5, 1, 2)
    return ((highest - lowest).amax(1, keepdim=True) > 0.1).float()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    train(parser.parse_args().minutes)
