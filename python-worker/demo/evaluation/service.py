"""Fetches pictures from a running gateway, as PNG over HTTP. Needs Pillow to decode them."""

import io
import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from demo.evaluation.report import Generate, Image

_CLIENTS = 4
_TIMEOUT_SECONDS = 120


def from_service(url: str) -> Generate:
    """Return a generator that requests four pictures at a time, with the server's defaults."""

    def ask(prompt: str, seed: int) -> Image:
        request = urllib.request.Request(
            f"{url.rstrip('/')}/generate",
            json.dumps({"prompt": prompt, "seed": seed}).encode(),
            {"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as answer:
                return decode_png(answer.read())
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace")
            raise RuntimeError(f"{url} answered {error.code} to {prompt!r}: {detail}") from error

    def generate(prompts: list[str], seeds: list[int]) -> list[Image]:
        with ThreadPoolExecutor(_CLIENTS) as pool:
            return list(pool.map(ask, prompts, seeds))

    return generate


def decode_png(data: bytes) -> Image:
    """Decode PNG bytes to an RGB picture [h, w, 3]."""
    return np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))


def save_png(image: Image, path: Path) -> None:
    """Write an RGB picture [h, w, 3] as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(image).save(path, optimize=True)
