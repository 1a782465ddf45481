"""Prompts of several chunks with weights, as fragments of words for the tiny model. No torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from easel_worker.engine import ImageSpec, Tokens
from easel_worker.values import Weighting
from parity.pipeline.cases import BASE, PipelineCase

IMAGE = PipelineCase("weights", BASE, prompt="", steps=6)
"""The image that each case makes, with its own prompt."""

Fragment = tuple[str, float]


def _words(name: str, count: int) -> str:
    return " ".join(f"{name}{i}" for i in range(count))


@dataclass(frozen=True)
class WeightsCase:
    """A prompt as fragments with weights, for both encoders."""

    name: str
    weighting: Weighting
    fragments: tuple[Fragment, ...]


WEIGHTS_CASES = (
    WeightsCase("a1111", "a1111", (("a red", 1.0), ("circle", 1.4), ("on blue", 0.6))),
    WeightsCase(
        "a1111-two-chunks",
        "a1111",
        (("red", 1.2), (_words("plain", 80), 1.0), ("circle", -0.5)),
    ),
    WeightsCase("a1111-a-plain-chunk", "a1111", ((_words("plain", 76), 1.0), ("circle", 1.5))),
    WeightsCase("compel-up", "compel", (("a red", 1.0), ("circle", 1.5), ("on", 1.0))),
    WeightsCase("compel-down", "compel", (("a red", 1.3), ("circle", 0.5), ("on blue", 0.2))),
    WeightsCase("compel-to-nothing", "compel", (("a red", 0.0), ("circle on blue", 1.0))),
    WeightsCase(
        "compel-two-chunks",
        "compel",
        (("red", 0.7), (_words("plain", 70), 1.0), (_words("wide", 12), 0.4), ("circle", 1.2)),
    ),
)


def tokens_of(stored: dict[str, Any]) -> Tokens:
    """The prompt that a golden file holds: arrays by the names of `Tokens`."""

    def spans(name: str) -> tuple[tuple[int, int], ...]:
        return tuple((int(start), int(end)) for start, end in stored[name])

    def integers(name: str) -> tuple[int, ...]:
        return tuple(int(each) for each in stored[name])

    def weights(name: str) -> tuple[float, ...]:
        return tuple(float(each) for each in stored[name])

    masked = {name: spans(name) for name in ("masked", "masked_2") if name in stored}
    return Tokens(
        integers("ids"),
        integers("ids_2"),
        weights=weights("weights"),
        weights_2=weights("weights_2"),
        **masked,
    )


def spec_of(case: WeightsCase, tokens: Tokens, seed: int = IMAGE.seed) -> ImageSpec:
    """The image of a case, for our engine."""
    changes: dict[str, Any] = {"prompt": tokens, "weighting": case.weighting, "seed": seed}
    if case.weighting == "compel":
        changes["empty"] = IMAGE.tokens("")
    base = {name: value for name, value in vars(IMAGE.spec()).items() if name not in changes}
    return ImageSpec(**base, **changes)


def arrays_of(tokens: Tokens, case: WeightsCase) -> dict[str, NDArray[Any]]:
    """The inverse of `tokens_of`, for a golden file."""
    arrays: dict[str, NDArray[Any]] = {
        "ids": np.array(tokens.ids, np.int32),
        "ids_2": np.array(tokens.ids_2, np.int32),
        "weights": np.array(tokens.weights, np.float64),
        "weights_2": np.array(tokens.weights_2, np.float64),
    }
    if case.weighting == "compel":
        arrays["masked"] = np.array(tokens.masked, np.int32).reshape(-1, 2)
        arrays["masked_2"] = np.array(tokens.masked_2, np.int32).reshape(-1, 2)
    return arrays
