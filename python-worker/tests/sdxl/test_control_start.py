"""The operator's nets are loaded and compiled after the worker is ready."""

import shutil
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
from parity.controls import files
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
    files.write_net(folder / "nets", "canny", OF_TWO_LEVELS)
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


def write_broken(nets: Path) -> None:
    """Write a net whose numbers are not finite."""
    files.write_net(nets, "broken", OF_TWO_LEVELS)
    weights = files.tensors("broken", OF_TWO_LEVELS)
    weights["controlnet_mid_block.bias"] = np.full_like(
        weights["controlnet_mid_block.bias"], np.nan
    )
    files.save(weights, nets / "broken")


def test_a_net_whose_numbers_are_not_finite_withholds_only_itself(
    folder: Path, tmp_path: Path
) -> None:
    write_broken(tmp_path / "nets")
    files.write_net(tmp_path / "nets", "canny", OF_TWO_LEVELS)
    shutil.copytree(folder / "model", tmp_path / "model")
    said: list[str] = []
    engine = cold(tmp_path)
    engine.warm(said.append)
    until(lambda: not engine.capabilities.coming_features)
    can = engine.capabilities
    assert "controls" in can.features
    assert [each.name for each in can.controls] == ["canny"]
    (line,) = (line for line in said if "not offered" in line)
    assert line.startswith(
        "warning: the control broken is not offered: it makes numbers that are not finite (NaN or "
        "infinite) in float32 at 16x8"
    )
    (canny,) = can.controls
    size = {"width": 16, "height": 8, "prompt": tokens("x")}
    request = generate("r", controls=(ControlUse("canny", canny.digest, 1.0),), **size)
    (spec,) = specs(with_pictures(request, "control"), can)
    lane = engine.start(spec)
    for _ in range(spec.steps):
        engine.step([lane])
    assert engine.finish(lane).shape == (8, 16, 3)


def test_a_net_whose_weights_went_withholds_only_itself(folder: Path, tmp_path: Path) -> None:
    for name in ("canny", "gone"):
        files.write_net(tmp_path / "nets", name, OF_TWO_LEVELS)
    shutil.copytree(folder / "model", tmp_path / "model")
    said: list[str] = []
    engine = cold(tmp_path)
    (tmp_path / "nets/gone/diffusion_pytorch_model.safetensors").unlink()
    engine.warm(said.append)
    until(lambda: not engine.capabilities.coming_features)
    assert [each.name for each in engine.capabilities.controls] == ["canny"]
    assert any(line.startswith("warning: the control gone is not offered: ") for line in said)


def test_controls_are_not_offered_where_no_net_works(folder: Path, tmp_path: Path) -> None:
    write_broken(tmp_path / "nets")
    shutil.copytree(folder / "model", tmp_path / "model")
    engine = cold(tmp_path)
    engine.warm(lambda _: None)
    until(lambda: not engine.capabilities.coming_features)
    can = engine.capabilities
    assert ("controls" in can.features, can.controls) == (False, ())
