"""The operator's nets are loaded and compiled after the worker is ready."""

from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from msgspec import UNSET

from easel_worker.engine import ControlUse, InvalidRequest
from easel_worker.news import News
from easel_worker.sdxl.serving.engine import SdxlEngine
from easel_worker.sdxl.serving.options import Options
from easel_worker.specs import specs
from easel_worker.vitals import Vitals
from tests.sdxl import tiny_nets
from tests.sdxl.test_start import failing_at, held, until
from tests.sdxl.tiny_model import tokens, write
from tests.support.samples import generate, with_pictures

OF_TWO_LEVELS = tiny_nets.CONTROLNET | {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "attention_head_dim": [1, 2],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has a model and a folder of nets."""
    folder = tmp_path_factory.mktemp("behind")
    write(folder / "model")
    tiny_nets.write_net(folder / "nets", "canny", OF_TWO_LEVELS)
    return folder


def cold(folder: Path) -> SdxlEngine:
    options = Options(
        devices=jax.devices()[:1],
        sizes=[],
        compile_behind=True,
        max_prompt_chunks=1,
        image_inputs=False,
        controlnets=folder / "nets",
    )
    return SdxlEngine(folder / "model", options)


def test_nets_are_offered_when_their_programs_are_compiled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = held("denoise 16x8 guided conditioned x1", monkeypatch)
    engine = cold(folder)
    engine.warm(lambda _: None)
    until(lambda: engine.capabilities.coming_features == ("controls",))
    news = News(engine, Vitals(), "w")
    hello = news.hello()
    # Heartbeats tell the nets later, and of the limits only max_chunks.
    assert (hello.controls, hello.limits.max_controls) == ((), 2)
    assert news.heartbeat("s").controls is UNSET
    size = {"width": 16, "height": 8, "prompt": tokens("x")}
    plain = generate("r", **size)
    before = [program.name for program in engine.capabilities.programs]
    assert specs(plain, engine.capabilities)
    go_on.set()
    until(lambda: not engine.capabilities.coming_features)
    (listed,) = news.heartbeat("s").controls
    assert (listed.name, listed.kind) == ("canny", "controlnet")
    use = ControlUse(listed.name, listed.digest, 1.0)
    request = with_pictures(generate("r", controls=(use,), **size), "control")
    assert specs(request, engine.capabilities)[0].conditioned
    with pytest.raises(InvalidRequest, match=r"the control canny with digest .* its digest is"):
        specs(replace(request, controls=(replace(use, digest="0" * 64),)), engine.capabilities)
    after = [program.name for program in engine.capabilities.programs]
    assert after[: len(before)] == before


def test_nets_whose_programs_cannot_be_compiled_are_not_offered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing_at("denoise 16x8 guided conditioned x1", monkeypatch)
    said: list[str] = []
    engine = cold(folder)
    engine.warm(said.append)
    until(lambda: not engine.capabilities.coming_features)
    can = engine.capabilities
    assert ("controls" in can.features, can.controls) == (False, ())
    assert any(line.startswith("controls is not offered: RESOURCE_EXHAUSTED") for line in said)


def test_a_net_whose_numbers_are_not_finite_is_not_offered(tmp_path: Path) -> None:
    write(tmp_path / "model")
    tiny_nets.write_net(tmp_path / "nets", "broken", OF_TWO_LEVELS)
    weights = tiny_nets.tensors("broken", OF_TWO_LEVELS)
    weights["controlnet_mid_block.bias"] = np.full_like(
        weights["controlnet_mid_block.bias"], np.nan
    )
    tiny_nets.save(weights, tmp_path / "nets" / "broken")
    said: list[str] = []
    engine = cold(tmp_path)
    engine.warm(said.append)
    until(lambda: not engine.capabilities.coming_features)
    assert engine.capabilities.controls == ()
    assert any("the control broken" in line for line in said)
