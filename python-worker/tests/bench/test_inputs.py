"""The engine reads the nets that the benchmark of inputs writes, and its kinds use all of them."""

from pathlib import Path

import jax

from bench.inputs.kinds import IP_ADAPTER, KINDS, LORAS, folders, write_files
from bench.inputs.work import counted
from easel_worker.sdxl.serving.describe import describe
from easel_worker.sdxl.serving.options import Options

DEMO = Path(__file__).parents[3] / "models" / "demo"


def test_the_files_fit_the_demo_model_and_each_has_a_kind(tmp_path: Path) -> None:
    write_files(DEMO, tmp_path)
    loras, nets, ip_adapters = folders(tmp_path)
    options = Options(devices=jax.devices()[:1], controlnets=nets, ip_adapters=ip_adapters)
    model = describe(DEMO, options)
    assert not model.warnings
    assert {each.name for each in model.controls} == {
        each.net for each in KINDS.values() if each.net is not None
    }
    assert [each.name for each in model.ip_adapters] == [IP_ADAPTER.name]
    assert {each.stem for each in loras.iterdir()} == {each.name for each in LORAS}
    assert {each.lora for each in KINDS.values()} == {None, *(each.name for each in LORAS)}


def test_only_nets_and_image_prompts_add_to_a_step_and_a_controlnet_the_most() -> None:
    text, picture, net, adapter, prompt = counted(DEMO, 256).values()
    assert picture["step"] == 0 < picture["start"]
    assert 0 < adapter["step"] < prompt["step"] < net["step"] < text["step"]
