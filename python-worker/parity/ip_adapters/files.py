"""Tiny IP-Adapters with their vision encoders, as h94/IP-Adapter lays them out. No torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from easel_worker.sdxl.folder.config_reader import ConfigFile
from easel_worker.sdxl.folder.config_unet import read_unet_config
from easel_worker.sdxl.folder.config_vision import read_vision_config
from easel_worker.sdxl.model.config import UNetConfig
from easel_worker.sdxl.model.ip_adapter import IpAdapter, PlainShape, ResamplerShape, Shape
from easel_worker.sdxl.model.params import declared
from easel_worker.sdxl.model.vision_encoder import VisionEncoder
from parity import cases, synthetic

Config = dict[str, Any]
Tensors = Mapping[str, NDArray[Any]]


def vision(hidden: int, layers: int, heads: int, **more: Any) -> Config:
    """Return a CLIP vision encoder's config with small pictures."""
    config = {
        "model_type": "clip_vision_model",
        "architectures": ["CLIPVisionModelWithProjection"],
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "image_size": 28,
        "patch_size": 7,
        "projection_dim": 24,
        "hidden_act": "gelu",
    }
    return config | more


@dataclass(frozen=True)
class AdapterFile:
    """An adapter to make: its name determines its values.

    Attributes:
        shape: of its projection.
        encoder: its vision encoder's config.
        stored: dtype of its own weights.
    """

    name: str
    shape: Shape
    encoder: Config
    stored: str = "float32"

    @property
    def file(self) -> str:
        """Return the file's name."""
        return f"ip-adapter-{self.name}.safetensors"

    def tensors(self, unet: UNetConfig, seed: int = 0) -> Tensors:
        """Return the adapter's tensors for a UNet."""
        return self._values(IpAdapter.declare(self.shape, unet), seed, self.stored)

    def encoder_tensors(self, seed: int = 0) -> Tensors:
        """Return the tensors of its encoder."""
        config = read_vision_config(ConfigFile(Path("config.json"), self.encoder))
        return self._values(VisionEncoder.declare(config), seed, "float32")

    def write(self, folder: Path, unet: UNetConfig, seed: int = 0) -> Path:
        """Write the adapter's folder, for a UNet, into a folder of adapters."""
        own = folder / self.name
        (own / "image_encoder").mkdir(parents=True)
        save_file(dict(self.tensors(unet, seed)), own / self.file)
        (own / "image_encoder/config.json").write_text(json.dumps(self.encoder))
        save_file(dict(self.encoder_tensors(seed)), own / "image_encoder/model.safetensors")
        return own

    def _values(self, tree: Any, seed: int, stored: str) -> Tensors:
        return {
            param.name: synthetic.weight(f"{self.name} {seed} {param.name}", param.stored, 1.0)
            .astype(stored)
            .copy()
            for param in declared(tree)
        }


def unet_of(model: cases.Case) -> UNetConfig:
    """Return the config of a model's UNet."""
    return read_unet_config(ConfigFile(Path("config.json"), model.unet))


PLAIN = AdapterFile("plain", PlainShape(tokens=4, features=24), vision(32, 3, 4))
PLUS = AdapterFile(
    "plus",
    ResamplerShape(tokens=6, features=40, hidden=48, heads=1, layers=4),
    vision(40, 2, 2, image_size=42, patch_size=14, hidden_act="quick_gelu", layer_norm_eps=1e-3),
    stored="float16",
)

FILES = (PLAIN, PLUS)


def picture(seed: int, *, width: int = 53, height: int = 37) -> NDArray[np.uint8]:
    """Return a picture to prompt with, [H, W, 3]: coarse colours with noise."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 216, (-(-height // 8), -(-width // 8), 3))
    fine = generator.integers(0, 40, (height, width, 3))
    large = coarse.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    return (large + fine).astype(np.uint8)
