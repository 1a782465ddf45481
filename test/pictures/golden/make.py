"""Writes the golden files of this folder: what diffusers 0.42.1 and Pillow do with pictures and masks.

From the root of the repository, with the environment of `npm run test:parity`:
python-worker/.venv-torch/bin/python test/pictures/golden/make.py
"""

import base64
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

IMAGES = VaeImageProcessor(vae_scale_factor=8)
MASKS = VaeImageProcessor(vae_scale_factor=8, do_normalize=False, do_binarize=True, do_convert_grayscale=True)
TARGETS = [(1024, 1024), (1216, 832), (832, 1216), (64, 64), (640, 1536)]


def smooth(width: int, height: int, shift: float) -> np.ndarray:
    """A picture without edges, of which all filters make much the same."""
    y, x = np.mgrid[0:height, 0:width]
    red = 128 + 100 * np.sin(x / 9 + shift) * np.cos(y / 7)
    green = 128 + 90 * np.cos((x + y) / 11 + shift)
    return np.stack([red, green, x * 255 / width + y * 0], -1).clip(0, 255).astype(np.uint8)


def text(array: np.ndarray) -> str:
    return base64.b64encode(array.astype(np.uint8).tobytes()).decode()


def resized(picture: tuple[int, int], target: tuple[int, int], mode: str) -> dict[str, Any]:
    image = Image.fromarray(smooth(*picture, 1.0))
    made = np.asarray(IMAGES.resize(image, target[1], target[0], mode))
    return {"picture": picture, "target": target, "mode": mode, "rgb": text(np.asarray(image)), "resized": text(made)}


def mask(picture: tuple[int, int], target: tuple[int, int], mode: str) -> dict[str, Any]:
    image = Image.fromarray(smooth(*picture, 0.5))
    made = MASKS.preprocess(image, height=target[1], width=target[0], resize_mode=mode)[0, 0].numpy() * 255
    return {"picture": picture, "target": target, "mode": mode, "rgb": text(np.asarray(image)), "mask": text(made)}


def crop_region() -> dict[str, Any]:
    width, height = random.randint(1, 90), random.randint(1, 90)
    left, top = random.randint(0, width - 1), random.randint(0, height - 1)
    right, bottom = random.randint(left + 1, width), random.randint(top + 1, height)
    array = np.zeros((height, width), np.uint8)
    array[top:bottom, left:right] = random.choice([1, 128, 255])
    target, padding = random.choice(TARGETS), random.choice([0, 1, 5, 32])
    region = MASKS.get_crop_region(Image.fromarray(array), *target, pad=padding)
    return {
        "mask": [width, height],
        "white": [left, top, right, bottom],
        "target": target,
        "padding": padding,
        "region": [int(value) for value in region],
    }


def overlaid(
    picture: tuple[int, int], made: tuple[int, int], white: tuple[int, int, int, int], padding: int
) -> dict[str, Any]:
    left, top, right, bottom = white
    array = np.zeros((picture[1], picture[0]), np.uint8)
    array[top:bottom, left:right] = 255
    array[top, left:right] = 100
    original, image = smooth(*picture, 1.0), smooth(*made, 2.0)
    region = MASKS.get_crop_region(Image.fromarray(array), *made, pad=padding)
    result = IMAGES.apply_overlay(
        Image.fromarray(array), Image.fromarray(original), Image.fromarray(image), region
    )
    return {
        "picture": picture,
        "made": made,
        "region": [int(value) for value in region],
        "original": text(original),
        "mask": text(array),
        "image": text(image),
        "overlaid": text(np.asarray(result)),
    }


def main() -> None:
    random.seed(1)
    golden = {
        "crop-regions": [crop_region() for _ in range(120)],
        "resized": [
            resized(picture, target, mode)
            for picture, target, modes in [
                ((50, 30), (32, 32), ("default", "fill", "crop")),
                ((15, 25), (24, 16), ("fill", "crop")),
                ((16, 16), (40, 24), ("default", "fill", "crop")),
                ((90, 70), (24, 32), ("default",)),
            ]
            for mode in modes
        ],
        "masks": [
            mask((50, 30), (32, 32), "default"),
            mask((50, 30), (32, 32), "fill"),
            mask((30, 50), (48, 32), "crop"),
        ],
        "overlaid": [
            overlaid((40, 30), (32, 32), (10, 8, 30, 20), 4),
            overlaid((40, 30), (32, 16), (0, 0, 10, 30), 2),
        ],
    }
    for name, cases in golden.items():
        lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
        Path(__file__).with_name(f"{name}.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
