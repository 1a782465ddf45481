"""Stage 3: a small UNet of SDXL's structure, trained for v-prediction with zero terminal SNR.

With SDXL's own betas the noisiest step still contains the picture's mean, so the model reads the
background from the noise instead of the caption. Betas rescaled to zero terminal SNR
(https://arxiv.org/abs/2305.08891), v-prediction and trailing spacing prevent that.
"""

import argparse
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler, UNet2DConditionModel
from torch import nn

from demo.scenes.captions import caption
from demo.scenes.scene import IMAGE_SIZE
from demo.training import run, text, vae
from demo.training.latents import LATENT_SIZE, Pool, encode
from demo.training.parallel import Team, train_together

CHECKPOINT = "unet.pt"
_TIME_ID_DIM = 32
_LEARNING_RATE = 8e-4
_BATCH = 16
_DROP_CAPTION = 0.1
_EMA = 0.997
_SINGLES_ONLY_UNTIL = 0.15
_PAIR_SHARE = 0.55
_POOL_START, _POOL_LIMIT, _POOL_GROWTH = 1024, 20_000, 2


def build() -> UNet2DConditionModel:
    """Return the untrained UNet."""
    channels = (96, 128, 128)
    model = UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=channels,
        layers_per_block=1,
        transformer_layers_per_block=[1, 1, 1],
        attention_head_dim=[width // 32 for width in channels],
        cross_attention_dim=sum(text.WIDTHS),
        use_linear_projection=True,
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=_TIME_ID_DIM,
        projection_class_embeddings_input_dim=6 * _TIME_ID_DIM + text.PROJECTION,
    )
    nn.init.zeros_(model.conv_out.weight)
    nn.init.zeros_(model.conv_out.bias)
    return model


def scheduler() -> EulerDiscreteScheduler:
    """Return SDXL's noise levels, rescaled to zero terminal SNR, for v-prediction."""
    return EulerDiscreteScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        interpolation_type="linear",
        use_karras_sigmas=False,
        steps_offset=1,
    )


@dataclass
class Batch:
    """The training data of one step of one process."""

    latents: torch.Tensor  # [n, 4, 16, 16], unit variance
    weights: torch.Tensor  # [n, 1, 16, 16]
    states: torch.Tensor  # [n, 77, 96]
    pooled: torch.Tensor  # [n, 64]


def measure_scale(model: vae.AutoencoderKL) -> float:
    """Return the factor that gives the latents of drawn scenes unit variance."""
    rng = np.random.default_rng(3)
    scenes = [vae.training_scene(rng, 0.5) for _ in range(256)]
    return float(1.0 / encode(model, scenes).std())


def train(minutes: float, model_folder: Path) -> None:
    """Train for `minutes` of work, resuming a checkpoint if one exists."""
    train_together(_work, minutes, model_folder)


def load_trained() -> tuple[UNet2DConditionModel, float]:
    """Load the latest checkpoint: the averaged model and the scaling factor of its latents."""
    saved = run.load(CHECKPOINT)
    if saved is None:
        raise FileNotFoundError("no UNet yet: run `python -m demo.training.unet` first")
    model = build()
    model.load_state_dict(saved["ema"])
    return model.eval(), float(saved["scale"])


def _work(team: Team, minutes: float, model_folder: Path) -> None:
    torch.manual_seed(4)
    model = build().to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), _LEARNING_RATE, weight_decay=0.01, fused=True)
    clock = run.Clock("unet", minutes)
    autoencoder = vae.load_trained().to(memory_format=torch.channels_last)
    saved = run.load(CHECKPOINT)
    if saved:
        model.load_state_dict(saved["model"])
        average.load_state_dict(saved["ema"])
        optimizer.load_state_dict(saved["optimizer"])
        clock.restore(saved["clock"])
    scale = float(saved["scale"]) if saved else measure_scale(autoencoder)
    torch.manual_seed(100 * clock.step + team.rank)
    batches = _batches(autoencoder, scale, model_folder, team, clock)
    alphas = scheduler().alphas_cumprod.float()
    factor = run.flat_then_linear(0.4, 0.01)
    for batch in batches:
        rate = _LEARNING_RATE * factor(clock.progress) * min(1.0, (clock.step + 1) / 200)
        for group in optimizer.param_groups:
            group["lr"], group["fused"], group["foreach"] = rate, True, None
        loss = _loss(model, batch, alphas)
        optimizer.zero_grad()
        loss.backward()
        mean_loss, norm = team.average(model, loss, clock)
        optimizer.step()
        _follow(average, model, min(_EMA, (1 + clock.step) / (10 + clock.step)))
        if team.leads:
            clock.tell(loss=mean_loss, norm=norm, rate=1e3 * rate)
            if clock.checkpoint_due():
                state = {"model": model.state_dict(), "ema": average.state_dict()}
                state |= {"optimizer": optimizer.state_dict(), "scale": scale}
                run.save(CHECKPOINT, {**state, "clock": clock.state()})


def _batches(
    autoencoder: vae.AutoencoderKL,
    scale: float,
    model_folder: Path,
    team: Team,
    clock: run.Clock,
) -> Iterator[Batch]:
    """Yield batches until the planned time is over: single objects first, later pairs too."""
    size = _BATCH // team.size
    words = text.load_trained(model_folder)
    seed = 10_000 + 1_000 * team.rank + clock.step
    rng = np.random.default_rng(seed)
    pools = [Pool(autoencoder, scale, share, _POOL_LIMIT, seed + 1) for share in (0.0, 1.0)]
    pools[0].grow(_POOL_START)
    while clock.progress < 1.0:
        wants_pair = clock.progress > _SINGLES_ONLY_UNTIL and rng.random() < _PAIR_SHARE
        pool = pools[wants_pair]
        pool.grow(_POOL_GROWTH if pool.scenes else _POOL_START)
        scenes, latents, weights = pool.batch(rng, size)
        states, pooled = words.encode([caption(scene, rng).text for scene in scenes])
        # a dropped caption is all zeros, like SDXL's empty negative prompt
        kept = (torch.rand(size) >= _DROP_CAPTION).float()[:, None]
        yield Batch(latents, weights, states * kept[..., None], pooled * kept)


def _loss(model: UNet2DConditionModel, batch: Batch, alphas: torch.Tensor) -> torch.Tensor:
    """Return the weighted squared error of v at stratified timesteps, denser at high noise."""
    size = len(batch.latents)
    quantile = (torch.arange(size) + torch.rand(size)) / size
    timesteps = (999.999 * quantile.pow(0.5)).long()
    signal = alphas[timesteps].sqrt().view(-1, 1, 1, 1)
    spread = (1.0 - alphas[timesteps]).sqrt().view(-1, 1, 1, 1)
    noise = torch.randn_like(batch.latents)
    noisy = signal * batch.latents + spread * noise
    target = signal * noise - spread * batch.latents
    time_ids = torch.tensor([[IMAGE_SIZE, IMAGE_SIZE, 0, 0, IMAGE_SIZE, IMAGE_SIZE]] * size)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(
            noisy.contiguous(memory_format=torch.channels_last),
            timesteps,
            batch.states,
            added_cond_kwargs={"text_embeds": batch.pooled, "time_ids": time_ids},
        ).sample
    # The weights depend on the picture. At high noise they would bias the prediction towards
    # objects everywhere (E[wx]/E[w] instead of E[x]), so they grow as the noise falls.
    shown = signal.pow(4)
    weights = 1.0 + shown * (batch.weights - 1.0)
    return (weights * (output.float() - target).square()).mean()


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    targets, sources = list(average.parameters()), list(model.parameters())
    torch._foreach_lerp_(targets, sources, 1.0 - decay)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=75.0)
    parser.add_argument("--model", type=Path, default=Path("../models/demo"))
    options = parser.parse_args()
    train(options.minutes, options.model)
