"""Writes lines.json: the edges and lines of pictures by OpenCV 4.12.0 (opencv-python-headless 4.12.0.88, NumPy 2.2.6).

`canny` is cv2.Canny with its default arguments, as in diffusers' documents, without Intel's IPP; `lineart` is
lineart_standard of AUTOMATIC1111's ControlNet extension at the picture's own size.
https://github.com/Mikubill/sd-webui-controlnet/blob/e6789102ace10cd22fad5af1e9dd79fe677eab37/scripts/preprocessor/legacy/processor.py

pip install opencv-python-headless==4.12.0.88 && python test/pictures/golden/make_lines.py
"""

import base64
import json
from pathlib import Path

import cv2
import numpy as np

SIZES = [(64, 48), (75, 53), (1, 1), (1, 9), (30, 1), (2, 2), (3, 50)]
THRESHOLDS = [(100, 200), (200, 100), (0, 0), (37.5, 80.9), (50, 2040), (1000, 1000)]


def drawing(width: int, height: int, seed: int) -> np.ndarray:
    """Shapes with outlines over a gradient, blurred a little, with noise."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([x * 200 / max(1, width), y * 200 / max(1, height), (x + y) % 256], -1)
    for _ in range(6):
        centre = random.uniform(0, [width, height])
        radius = random.uniform(2, max(3, min(width, height) / 3))
        distance = np.hypot(x - centre[0], y - centre[1])
        picture[distance < radius] = random.uniform(0, 255, 3)
        picture[np.abs(distance - radius) < 1.2] = random.uniform(0, 60, 3)
    picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 0.7).reshape(height, width, 3)
    return (picture + random.normal(0, 3, picture.shape)).clip(0, 255).astype(np.uint8)


def noise(width: int, height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def lineart(picture: np.ndarray) -> np.ndarray:
    """Lines darker than what is around them, in units of the median of those above 8."""
    values = picture.astype(np.float32)
    blurred = cv2.GaussianBlur(values, (0, 0), 6.0).reshape(values.shape)
    darker = np.min(blurred - values, axis=2).clip(0, 255)
    with np.errstate(all="ignore"):
        darker /= max(16, np.median(darker[darker > 8]))
    darker *= 127
    return darker.clip(0, 255).astype(np.uint8)


def text(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def main() -> None:
    cv2.ipp.setUseIPP(False)
    cases = []
    for seed, size in enumerate(SIZES):
        for picture in (drawing(*size, seed), noise(*size, seed)):
            cases.append(
                {
                    "size": size,
                    "rgb": text(picture),
                    "canny": [
                        {"thresholds": pair, "edges": text(np.packbits(cv2.Canny(picture, *pair) > 0))}
                        for pair in THRESHOLDS
                    ],
                    "lineart": text(lineart(picture)),
                }
            )
    lines = ",\n".join(json.dumps(case) for case in cases)
    Path(__file__).with_name("lines.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
