"""All four models against outputs of diffusers and transformers (tests/goldens/sdxl)."""

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import pytest
from jax.typing import DTypeLike

from parity import ours
from parity.cases import CASES, Case
from parity.golden import Golden
from parity.report import relative_difference

FLOAT32_LIMIT = 1e-4
# bfloat16 has 8 significant bits, so each rounding is off by up to 2⁻⁹. The errors of a few dozen
# layers add up like a random walk.
BFLOAT16_LIMIT = 0.04

OUTPUTS = {
    "text_encoder.hidden_states",
    "text_encoder.pooled",
    "text_encoder_2.hidden_states",
    "text_encoder_2.pooled",
    "unet",
    "vae.decode",
    "vae.encode.mean",
    "vae.encode.logvar",
}


FolderMaker = Callable[[str], tuple[Golden, Path]]


def differences(golden: Golden, folder: Path, dtype: DTypeLike) -> dict[str, float]:
    """The maximum error of each output, relative to its largest value."""
    outputs = ours.run(ours.load(folder, dtype), golden.inputs)
    return {
        name: relative_difference(outputs[name], value) for name, value in golden.outputs.items()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_float32_equals_diffusers(case: Case, golden_folder: FolderMaker) -> None:
    found = differences(*golden_folder(case.name), jnp.float32)
    absent = {"text_encoder.hidden_states", "text_encoder.pooled"}
    assert set(found) == OUTPUTS - (absent if case.text_encoder is None else set())
    assert max(found.values()) <= FLOAT32_LIMIT, found


def test_bfloat16_is_close_to_diffusers(golden_folder: FolderMaker) -> None:
    found = differences(*golden_folder("conv-projection"), jnp.bfloat16)
    assert set(found) == OUTPUTS
    assert max(found.values()) <= BFLOAT16_LIMIT, found
