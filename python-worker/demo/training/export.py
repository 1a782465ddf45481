"""Stage 4: writes the trained parts as one standard diffusers folder, in half precision."""

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from demo.scenes.scene import IMAGE_SIZE
from demo.training import text, unet, vae
from demo.training.vocabulary import VOCABULARY_SIZE

DEFAULTS = {
    "defaults": {
        "width": IMAGE_SIZE,
        "height": IMAGE_SIZE,
        "num_inference_steps": 25,
        "guidance_scale": 1.5,
        "scheduler": "euler",
    },
    "sizes": [[IMAGE_SIZE, IMAGE_SIZE]],
}


@dataclass(frozen=True)
class Parts:
    """The parts of the model that have weights, and the scaling factor of its latents."""

    model: UNet2DConditionModel
    autoencoder: AutoencoderKL
    scale: float
    encoders: text.TextEncoders
    vocabulary: text.Vocabulary


def trained_parts(source: Path) -> Parts:
    """Load the latest checkpoints; `source` has the tokenizers."""
    model, scale = unet.load_trained()
    words = text.load_trained(source)
    return Parts(model, vae.load_trained(), scale, words.encoders, words.vocabulary)


def untrained_parts(source: Path) -> Parts:
    """Return the same parts with random weights, for tests that do not judge pictures."""
    torch.manual_seed(0)
    vocabulary = text.collect_vocabulary(text.load_tokenizer(source))
    model = unet.build()
    nn.init.normal_(model.conv_out.weight, std=0.02)
    return Parts(model, vae.build(), 0.5, text.TextEncoders(vocabulary.size), vocabulary)


def export(parts: Parts, source: Path, target: Path) -> None:
    """Write the model folder. Our tokenizer files replace what transformers would write."""
    parts.autoencoder.register_to_config(scaling_factor=round(parts.scale, 5))
    pipeline = StableDiffusionXLPipeline(
        vae=parts.autoencoder,
        text_encoder=_with_clip_ids(parts.encoders.first, parts.vocabulary, "quick_gelu"),
        text_encoder_2=_with_clip_ids(parts.encoders.second, parts.vocabulary, "gelu"),
        tokenizer=CLIPTokenizer.from_pretrained(source / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(source / "tokenizer_2"),
        unet=parts.model,
        scheduler=unet.scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    kept = {name: _read(source / name) for name in ("tokenizer", "tokenizer_2")}
    pipeline.to(torch.float16).save_pretrained(target)
    for name, files in kept.items():
        shutil.rmtree(target / name)
        (target / name).mkdir()
        for file, content in files.items():
            (target / name / file).write_bytes(content)
    _name_as_published(target / "text_encoder" / "model.safetensors")
    (target / "easel.json").write_text(json.dumps(DEFAULTS, indent=2) + "\n")


def _name_as_published(path: Path) -> None:
    """Give the first encoder's tensors the `text_model.` prefix of every published SDXL.

    transformers 5 omits the prefix when it saves and accepts both when it loads; older releases
    and strict loaders require it.
    """
    tensors = load_file(path)
    named = {f"text_model.{name.removeprefix('text_model.')}": t for name, t in tensors.items()}
    save_file(named, path, metadata={"format": "pt"})


def _read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _with_clip_ids(
    compact: CLIPTextModel | CLIPTextModelWithProjection, vocabulary: text.Vocabulary, act: str
) -> CLIPTextModel | CLIPTextModelWithProjection:
    """Return the encoder over CLIP's ids; tokens that no caption uses get the unknown row."""
    width = compact.config.hidden_size
    full = type(compact)(text.config(width, VOCABULARY_SIZE, act))
    state = compact.state_dict()
    (name,) = (key for key in state if key.endswith("token_embedding.weight"))
    rows = state[name][:1].repeat(VOCABULARY_SIZE, 1)
    rows[vocabulary.clip_ids] = state[name][1:]
    full.load_state_dict({**state, name: rows})
    return full.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("../models/demo"))
    parser.add_argument("--out", type=Path, default=Path("../models/demo"))
    parser.add_argument("--random", action="store_true", help="untrained weights")
    options = parser.parse_args()
    make = untrained_parts if options.random else trained_parts
    export(make(options.model), options.model, options.out)
